"""What of a trained model becomes a program of its own: tensors in, tensors out, nothing drawn.

draw:    random numbers -> latents
sample:  latents, and the noise that the sampler adds -> images
encode:  images -> latents
denoise: noisy images and their noise levels -> clean images

A program is traced, and what is traced cannot draw: all random numbers come in as tensors. Which
ones these are is found by a first call, whose streams keep what was drawn from them. Sizes that are
read by `tensor.shape`, not by `len`, stay free: a program takes any number of images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import starmap
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from triptych import seeding
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.capabilities import Encodes, Refines, why_not
from triptych.families.diffusion.model import NoiseToImage
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.families.registry import ModelName
from triptych.records import Holds, Note, ProgramRecord, TensorRecord
from triptych.run import Run
from triptych.seeding import ImageStreams

EXAMPLES = 3  # images with which a program is traced and compared
MOST_CALLS = 200  # network calls of a sampler that is traced: a program holds each of them
SIGMAS = (0.2, 2.0)  # noise levels of the examples of denoising, the first and the last
NAME = "export"  # of the random streams of the examples


class KeptStreams(ImageStreams):
    """Streams that keep the numbers drawn from them, each under normal or uniform."""

    def __init__(self, count: int) -> None:
        super().__init__(0, NAME, range(count))
        self.numbers: list[tuple[Holds, Tensor]] = []

    def normal(self, *shape: int) -> Tensor:
        """The next standard normal numbers, which are kept."""
        self.numbers.append(("normal", super().normal(*shape)))
        return self.numbers[-1][1]

    def uniform(self, *shape: int) -> Tensor:
        """The next uniform numbers, which are kept."""
        self.numbers.append(("uniform", super().uniform(*shape)))
        return self.numbers[-1][1]


class GivenStreams(ImageStreams):
    """Streams of numbers that are given, in the order in which they will be asked for."""

    def __init__(self, numbers: Sequence[Tensor]) -> None:
        super().__init__(0, "given", ())
        self.numbers = iter(numbers)

    def normal(self, *shape: int) -> Tensor:
        """The next of the given numbers, [N, *shape]."""
        return next(self.numbers)

    uniform = normal


class UsedTensors(TorchFunctionMode):
    """Inside, every tensor that a function of torch meets is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.identities: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function."""
        given = args, kwargs or {}
        self.identities |= {id(each) for each in tree_leaves(given) if isinstance(each, Tensor)}
        return func(*given[0], **given[1])


Function = Callable[..., Tensor | tuple[Tensor, ...]]  # of a model and tensors


class Traced(nn.Module):
    """A function of a model and of tensors as a module that holds the model's weights."""

    def __init__(self, model: GenerativeModel, function: Function) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the function gives."""
        return self.function(self.model, *inputs)


@dataclass(frozen=True)
class Program:
    """A function that is to be traced.

    module:  it, with the weights that it uses and no others
    inputs:  an example of them, [EXAMPLES, ...] each
    outputs: what the model itself gives of these
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    record: ProgramRecord

    def compared(self, outputs: Tensor | Sequence[Tensor]) -> ProgramRecord:
        """The record with the largest difference of these outputs from the model's own."""
        several = [outputs] if isinstance(outputs, Tensor) else outputs
        pairs = zip(several, self.outputs, strict=True)
        largest = max((a.double() - b.double()).abs().max().item() for a, b in pairs)
        return replace(self.record, difference=largest)


Named = tuple[str, Holds, Tensor]  # a tensor with its name and what it holds


@dataclass(frozen=True)
class Programs:
    """All of a run.

    model:  what they were made of: the run's, perhaps with another sampler
    absent: why others are not there, by name
    notes:  what their user must know
    """

    model: GenerativeModel
    programs: tuple[Program, ...]
    absent: dict[str, Note]
    notes: tuple[Note, ...]


@torch.no_grad()
def programs_of(run: Run) -> Programs:
    """The programs of a run that is on the processor, in float32."""
    model, notes = affordable(run)
    if isinstance(model, NoiseToImage):  # while it is traced, levels must be there as numbers
        model = copy.copy(model)
        model.process = replace(model.process, levels=cache(model.process.levels))
    classes = None if run.labels is None else run.labels.draw(0, range(EXAMPLES))
    streams = KeptStreams(EXAMPLES)
    latent = model.draw_latent(EXAMPLES, streams, classes)
    made = [drawing(model, latent, streams, classes), sampling(model, latent)]
    images = 2 * torch.rand(EXAMPLES, *model.shape.size, generator=seeding.generator(0, NAME)) - 1
    absent: dict[str, Note] = {}
    if not isinstance(model, Encodes):
        absent["encode"] = why_not(model, "encode")
    elif isinstance(model, Refines) and model.refining_steps:
        notes = (*notes, Note("exported_unrefined"))
        made.append(encoding(model.with_refinement(0), images))
    else:
        made.append(encoding(model, images))
    if isinstance(model, NoiseToImage):
        made.append(denoising(model, images))
    return Programs(model, tuple(made), absent, notes)


def affordable(run: Run) -> tuple[GenerativeModel, tuple[Note, ...]]:
    """The run's model, or the same with the sampler by which its recipe is measured, and a note.

    InputError where its sampler takes too many calls for a program and the recipe has no other.
    """
    model, calls = run.model, run.model.network_calls
    if calls <= MOST_CALLS or not isinstance(model, NoiseToImage):
        return model, ()
    quick = registry.recipe(ModelName.parse(run.record.model)).quick_sampling
    if quick is None:
        wrong = f"the sampler calls the network {calls} times, and a program holds every call"
        raise InputError(wrong, f"give --steps, so that it does so at most {MOST_CALLS} times")
    sampler, steps = quick
    values: dict[str, str | int | float] = {"calls": calls, "sampler": sampler, "steps": steps}
    return model.with_sampler(sampler, steps), (Note("exported_quick_sampler", values),)


def drawing(
    model: GenerativeModel, latent: Latent, streams: KeptStreams, classes: Tensor | None
) -> Program:
    """Random numbers, and class numbers where the model is told some -> latents."""
    count = len(streams.numbers)

    def draw(model: GenerativeModel, *inputs: Tensor) -> tuple[Tensor, ...]:
        labels = None if len(inputs) == count else inputs[count]
        drawn = model.draw_latent(inputs[0].shape[0], GivenStreams(inputs[:count]), labels)
        return tuple(each for _, _, each in named(drawn))

    inputs: list[Named] = [
        (f"{holds}_{number}", holds, each)
        for number, (holds, each) in enumerate(streams.numbers, start=1)
    ]
    if classes is not None:
        inputs.append(("class_number", "class", classes))
    return make("draw", model, draw, inputs, named(latent))


def sampling(model: GenerativeModel, latent: Latent) -> Program:
    """Latents, and the noise of all steps [N,steps,C,H,W] where the sampler adds some -> images."""
    streams, inputs = KeptStreams(EXAMPLES), named(latent)
    images = model.decode(latent, streams)
    own, count, labeled = list(latent.tensors), len(inputs), latent.labels is not None
    if streams.numbers:
        noise = torch.stack([each for _, each in streams.numbers], dim=1)
        inputs.append(("noise_of_steps", "normal", noise))

    def sample(model: GenerativeModel, *inputs: Tensor) -> Tensor:
        tensors = dict(zip(own, inputs, strict=False))
        given = Latent(tensors, latent.path, inputs[count - 1] if labeled else None)
        steps = [noise for each in inputs[count:] for noise in each.unbind(1)]
        return model.decode(given, GivenStreams(steps))

    return make("sample", model, sample, inputs, [("images", "images", images)])


def encoding(model: GenerativeModel, images: Tensor) -> Program:
    """Images -> latents."""

    def encode(model: GenerativeModel, *inputs: Tensor) -> tuple[Tensor, ...]:
        assert isinstance(model, Encodes)
        return tuple(each for _, _, each in named(model.encode(inputs[0])))

    assert isinstance(model, Encodes)
    outputs = named(model.encode(images))
    return make("encode", model, encode, [("images", "images", images)], outputs)


def denoising(model: NoiseToImage, images: Tensor) -> Program:
    """x + sigma * noise, sigma [N], and shares of the classes where there are some -> images."""

    def denoise(model: GenerativeModel, *inputs: Tensor) -> Tensor:
        assert isinstance(model, NoiseToImage)
        clean: Tensor = model.denoiser(*inputs)
        return clean

    inputs: list[Named] = [
        ("noisy", "images", images),
        ("sigma", "sigma", torch.linspace(*SIGMAS, EXAMPLES)),
    ]
    shares = model.null_labels(images)
    if shares is not None:
        inputs.append(("labels", "shares", shares))
    clean = model.denoiser(*(each for _, _, each in inputs))
    return make("denoise", model, denoise, inputs, [("clean", "images", clean)])


def named(latent: Latent) -> list[Named]:
    """The tensors of latents in their order, the shares of classes or groups last."""
    tensors: list[Named] = [(name, "latent", each) for name, each in latent.tensors.items()]
    return tensors if latent.labels is None else [*tensors, ("labels", "shares", latent.labels)]


def make(
    name: str,
    model: GenerativeModel,
    function: Function,
    inputs: Sequence[Named],
    outputs: Sequence[Named],
) -> Program:
    """A program of a copy of the model that holds no weights but those which it uses.

    Weights are laid out as usual: files know no other layout, and other programs even less.
    """
    module, given = Traced(copy.deepcopy(model), function), tuple(each for _, _, each in inputs)
    with UsedTensors() as used:
        module(*given)
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for key, each in held.items():
                if each is None or id(each) not in used.identities:
                    held[key] = None
                else:
                    each.requires_grad_(False).data = each.data.contiguous()
    record = ProgramRecord(
        inputs=tuple(starmap(described, inputs)), outputs=tuple(starmap(described, outputs))
    )
    return Program(name, module, given, tuple(each for _, _, each in outputs), record)


def described(name: str, holds: Holds, tensor: Tensor) -> TensorRecord:
    """The record of a tensor, whose first axis may have any length."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorRecord(name=name, holds=holds, shape=(None, *tensor.shape[1:]), dtype=dtype)


def trace(program: Program) -> ExportedProgram:
    """The program in torch's own form, for any number of images."""
    batch = torch.export.Dim("batch", min=1)
    free = tuple({0: batch} for _ in program.inputs)
    with torch.no_grad():
        return torch.export.export(program.module, program.inputs, dynamic_shapes=(free,))
