"""One objective and the optimizer of the one network that it moves: AdamW, and Muon inside it.

Muon is momentum whose update is made orthogonal, for the matrices inside a network. In a short
training it is worth far more than its cost (docs/decisions.md). PyTorch's own version takes
matrices alone; this one also takes convolutions, as (outputs, inputs * area).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from triptych.config import OptimizerConfig
from triptych.distributed import ALONE, Group
from triptych.families.protocol import Batch, Objective
from triptych.hardware import Machine

# What an optimizer keeps of each parameter.
MOMENTS = {"adamw": ("step", "exp_avg", "exp_avg_sq"), "muon": ("momentum",)}
# Of the loss in float16. It begins lower than PyTorch's: VAEs' losses are thousands of nats.
FIRST_SCALE, LEAST_SCALE, LARGEST_SCALE = 2.0**12, 2.0**-14, 2.0**24
DOUBLING_STEPS = 2000
# Devices whose fused AdamW leaves out a step that is masked. Others are asked before each step.
HEED_FOUND_INF = ("cpu", "cuda")
ITERATIONS = 5  # of Newton-Schulz
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # chosen by its author to converge fast near zero


def orthogonalise(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Nearly the orthogonal factor U V^T of each matrix U S V^T, each [m,n], of any shapes.

    Newton-Schulz iteration with a quintic (Jordan et al. 2024, "Muon: an optimizer for hidden
    layers in neural networks"): singular values end between about 0.7 and 1.2.
    """
    wide = [x if x.shape[0] <= x.shape[1] else x.mT for x in matrices]
    scaled = [x / (norm + 1e-7) for x, norm in zip(wide, torch._foreach_norm(wide), strict=True)]
    by_side: dict[int, list[int]] = {}
    for index, x in enumerate(scaled):
        by_side.setdefault(len(x), []).append(index)
    for indices in by_side.values():
        factors = left_factors(torch.stack([scaled[i] @ scaled[i].mT for i in indices]))
        for i, factor in zip(indices, factors, strict=True):
            scaled[i] = factor @ scaled[i]
    return [
        x if like.shape[0] <= like.shape[1] else x.mT
        for x, like in zip(scaled, matrices, strict=True)
    ]


def left_factors(gram: Tensor) -> Tensor:
    """Q with Q X as the iteration leaves X, from X X^T alone: [N,m,m] -> [N,m,m].

    Each iteration multiplies X by P = a + b X X^T + c (X X^T)^2, and so X X^T by P twice; all of
    them commute. So only small square matrices are iterated, all of one side together. They need
    float32: half precision would make eigenvalues near zero negative, and those grow.
    """
    a, b, c = COEFFICIENTS
    product = None
    for left in reversed(range(ITERATIONS)):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if left:
            gram = factor @ gram @ factor
    assert product is not None
    return product


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, scaled by the matrix's shape.

    Like PyTorch's fused optimizers it leaves everything as it was where `found_inf` is 1.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.found_inf = torch.zeros(())

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all matrices once, unless `found_inf` masks the step."""
        masked = self.found_inf > 0
        for group in self.param_groups:
            parameters, keep = group["params"], group["momentum"]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            momenta = [self.state[p]["momentum"] for p in parameters]
            # Where masked the momentum stands for the gradient, and so stays as it was.
            gradients = [
                torch.where(masked, m, p.grad) for m, p in zip(momenta, parameters, strict=True)
            ]
            torch._foreach_lerp_(momenta, gradients, 1 - keep)
            updates = torch._foreach_lerp(gradients, momenta, keep)
            changes = orthogonalise([update.flatten(1) for update in updates])
            rate = torch.where(masked, 0.0, group["lr"])
            for parameter, change in zip(parameters, changes, strict=True):
                rows, columns = change.shape
                stretched = rate * max(1.0, rows / columns) ** 0.5
                parameter.addcmul_(change.view_as(parameter), stretched, value=-1)


def rate_factor(settings: OptimizerConfig, share: float) -> float:
    """What the learning rate is multiplied by at a share of the planned images.

    >>> rate_factor(OptimizerConfig(learning_rate=1.0, warmup=0.1, decay="linear"), 0.05)
    0.5
    """
    if share < settings.warmup:
        return share / settings.warmup
    progress = min(1.0, (share - settings.warmup) / max(1 - settings.warmup, 1e-9))
    if settings.decay == "linear":
        return 1 - progress
    if settings.decay == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


def shared(objective: Objective) -> DistributedDataParallel:
    """The objective with gradients that are means over all processes.

    Buffers are not exchanged: batch statistics are each process's own, the rest is alike.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the newer name is unknown before 2.13
        return DistributedDataParallel(
            objective, broadcast_buffers=False, gradient_as_bucket_view=True
        )


def total_norm(gradients: list[Tensor]) -> Tensor:
    """Square root of the sum of all squares, not finite where any of them is not.

    On CPUs a dot product per tensor takes 0.7 of the time of `get_total_norm`, which on GPUs
    needs one call for many tensors.
    """
    if any(gradient.is_cuda for gradient in gradients):
        return torch.nn.utils.get_total_norm(gradients, foreach=True)
    flat = [gradient.as_strided((gradient.numel(),), (1,)) for gradient in gradients]
    return torch.stack([torch.dot(g, g) for g in flat]).sum().sqrt()


class LossScale:
    """What the loss is multiplied by where gradients are computed in float16.

    Small gradients would vanish there (Micikevicius et al. 2018, "Mixed precision training",
    section 3.2). It is halved after a step that overflows and doubled after many that did not.
    PyTorch's GradScaler does much the same; this one is made of tensors alone, so that rounds with
    it can be CUDA graphs, be repeated and be resumed.
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), FIRST_SCALE, device=device)
        self.finite_steps = torch.zeros((), device=device)  # since it last changed
        self.was_large = torch.zeros((), device=device, dtype=torch.bool)  # in the latest step

    def tensors(self) -> dict[str, Tensor]:
        """All that lasts from step to step, flat."""
        return {"loss_scale/scale": self.scale, "loss_scale/finite_steps": self.finite_steps}

    def unscale(self, gradients: list[Tensor]) -> None:
        """Bring gradients of a scaled loss to those of the loss."""
        torch._foreach_mul_(gradients, 1 / self.scale)

    def update(self, masked: Tensor) -> None:
        """Take account of a step; `masked` is 1 where its gradients were not finite, else 0."""
        overflowed, self.was_large = masked > 0, self.scale > LEAST_SCALE
        self.finite_steps.add_(1).mul_(~overflowed)
        doubled = self.finite_steps >= DOUBLING_STEPS
        self.finite_steps.mul_(~doubled)
        factor = torch.where(overflowed, 0.5, torch.where(doubled, 2.0, 1.0))
        self.scale.mul_(factor).clamp_(LEAST_SCALE, LARGEST_SCALE)


class ObjectiveOptimizer:
    """Forward and backward pass, then a masked step; nothing here waits for a CPU or NVIDIA's GPU.

    AdamW moves everything but the matrices that the objective leaves to Muon. A step whose loss
    or gradient is not finite leaves weights and moments as they were. With several processes
    the gradient is the mean over all of theirs.

    precision: that of the machine
    """

    def __init__(self, objective: Objective, group: Group = ALONE, precision: str = "fp32") -> None:
        self.objective = objective
        settings = objective.optimizer
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        matrices = list(objective.matrices)
        apart = {id(p) for p in matrices}
        adamw = torch.optim.AdamW(
            [p for p in self.parameters if id(p) not in apart],
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
            capturable=self.parameters[0].is_cuda,  # training/graph.py
        )
        adamw._warned_capturable_if_run_uncaptured = True  # the first rounds are eager
        self.optimizers: dict[str, torch.optim.Optimizer] = {"adamw": adamw}
        self.rates = {"adamw": settings.learning_rate}
        if settings.muon_lr is not None and not matrices:
            raise ValueError(f"the {objective.name} has no matrices for a muon_lr")
        if matrices:
            assert settings.muon_lr is not None
            self.optimizers["muon"] = Muon(matrices, settings.muon_lr)
            self.rates["muon"] = settings.muon_lr
        self.shared = shared(objective) if group.size > 1 else None
        device = self.parameters[0].device
        self.loss_scale = LossScale(device) if precision == "fp16" else None

    def gradients(self, batch: Batch, machine: Machine) -> dict[str, Tensor]:
        """Mean loss terms of a batch, whose gradients are left on the parameters.

        At most `machine.microbatch` images are in the networks at once.
        """
        self.objective.prepare()
        count = len(batch.images)
        parts = batch.parts(machine.microbatch or count)
        means: dict[str, Tensor] = {}
        for number, part in enumerate(parts, start=1):
            weight = len(part.images) / count
            with self.exchanging(number == len(parts)):
                losses = self.forward(part, machine)
                self.backward(losses["total"] * weight)
            if len(parts) == 1:
                return {name: value.detach() for name, value in losses.items()}
            for name, value in losses.items():
                term = value.detach() * weight
                means[name] = means[name] + term if name in means else term
        return means

    def forward(self, batch: Batch, machine: Machine) -> dict[str, Tensor]:
        """Loss terms, in the machine's precision."""
        with machine.autocast():
            return (self.shared or self.objective)(batch)

    def exchanging(self, last: bool) -> AbstractContextManager[None]:
        """Gradients meet those of other processes once, in the last part's backward pass."""
        if self.shared is None or last:
            return nullcontext()
        return self.shared.no_sync()

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradient, which is not finite where the loss is not.

        So a loss that is lost in one process is seen in the gradients of all.
        """
        if self.loss_scale is not None:
            loss = loss * self.loss_scale.scale
        (loss / loss.isfinite()).backward()  # type: ignore[no-untyped-call] # by 1, else by 0

    def rates_at(self, share: float, caution: float = 1.0) -> dict[str, float]:
        """Learning rates by optimizer.

        share:   of the planned images seen so far, which they follow
        caution: multiplies them
        """
        factor = caution * rate_factor(self.objective.optimizer, share)
        return {name: rate * factor for name, rate in self.rates.items()}

    def step(self, rates: Mapping[str, float | Tensor]) -> Tensor:
        """Step along the gradient; returns 1.0 where that was masked, else 0.0."""
        settings = self.objective.optimizer
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.loss_scale is not None:
            self.loss_scale.unscale(gradients)
        norm = total_norm(gradients)
        if settings.clip_norm is not None:
            # All at once where the device can, as Apple's cannot.
            torch.nn.utils.clip_grads_with_norm_(self.parameters, settings.clip_norm, norm)
        masked = (~norm.isfinite()).float()
        if self.loss_scale is not None:
            self.loss_scale.update(masked)
        if masked.device.type not in HEED_FOUND_INF and masked:
            self.drop_gradients()
            return masked
        for name, optimizer in self.optimizers.items():
            optimizer.found_inf = masked  # type: ignore[attr-defined] # 1 makes it skip
            for group in optimizer.param_groups:
                group["lr"] = rates[name]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return masked

    def trouble(self, loss: Tensor, masked: Tensor) -> Tensor:
        """`masked`, but 0.0 where the loss was finite and merely scaled too much."""
        if self.loss_scale is None:
            return masked
        return torch.where(loss.isfinite() & self.loss_scale.was_large, 0.0, masked)

    def drop_gradients(self) -> None:
        """Forget those of a step that was not taken."""
        for parameter in self.parameters:
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The optimizers' state, flat: `optimizer/index/name` -> tensor; and the loss's scale."""
        moments = {
            f"{kind}/{index}/{name}": tensor
            for kind, optimizer in self.optimizers.items()
            for index, entries in optimizer.state_dict()["state"].items()
            for name, tensor in entries.items()
        }
        return moments | self.scale_tensors()

    def scale_tensors(self) -> dict[str, Tensor]:
        """Of the loss's scale; none but in float16."""
        return {} if self.loss_scale is None else self.loss_scale.tensors()

    def expected(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors like those that `tensors` gives once this has moved; no moments before that."""
        scale = self.scale_tensors()
        if saved.keys() == scale.keys():
            return scale
        return scale | {
            f"{kind}/{index}/{name}": torch.empty((), device="meta")
            if name == "step"
            else parameter
            for kind, optimizer in self.optimizers.items()
            for index, parameter in enumerate(optimizer.param_groups[0]["params"])
            for name in MOMENTS[kind]
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """What `tensors` gave, each laid out in memory as its parameter, as fused steps want it."""
        scale = self.scale_tensors()
        states: dict[str, dict[int, dict[str, Tensor]]] = {kind: {} for kind in self.optimizers}
        for key, tensor in tensors.items():
            if key in scale:
                scale[key].copy_(tensor)
                continue
            kind, index, name = key.split("/")
            parameter = self.optimizers[kind].param_groups[0]["params"][int(index)]
            if tensor.shape == parameter.shape:
                tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
            states[kind].setdefault(int(index), {})[name] = tensor
        for kind, optimizer in self.optimizers.items():
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": states[kind], "param_groups": groups})
