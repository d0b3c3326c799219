"""Everything that changes while a model is trained, and the round that changes it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from triptych.config import Settings
from triptych.data.batches import Batches
from triptych.distributed import ALONE, Group
from triptych.families.protocol import Batch, GenerativeModel, Objective
from triptych.hardware import Machine
from triptych.records import Note, Progress
from triptych.seeding import generator
from triptych.training import checkpoint
from triptych.training.ahead import Ahead
from triptych.training.ema import EMA, averaged_state
from triptych.training.graph import EAGER_ROUNDS, Graphs, Pace, Round, Turn
from triptych.training.optimizer import ObjectiveOptimizer
from triptych.training.plan import Plan

Noise = dict[str, Tensor]  # of one step, by name
AT_FIRST = Progress(
    phase=0, seen=0, rewinds=0, in_a_row={}, returned=False, seconds=0.0, log_bytes=0
)
WARM_UP_ROUNDS = 2  # until allocators and libraries have what they need
MOST_WARM_UP_ROUNDS = 64  # in which graphs of rare rounds are waited for


@dataclass(frozen=True)
class Drawing:
    """Whose noise is drawn: of the round after `seen` images of a phase, these rows of a batch."""

    seed: int
    phase: int
    seen: int
    rows: slice


class RunningMeans:
    """Sums of loss terms since the last log point, kept on the device where they stay.

    counts: steps that had each term, the masked ones too
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.masked: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.images = 0

    def add(self, objective: str, losses: dict[str, Tensor], masked: Tensor) -> list[str]:
        """Sum one step's terms, 0 for those of a masked step; returns what is to be counted."""
        names = []
        for term, value in losses.items():
            name = f"{objective}/{term}"
            finite = torch.where(masked > 0, 0.0, value.detach()).float()
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(finite)
            self.sums[name] += finite
            names.append(name)
        if objective not in self.masked:
            self.masked[objective] = torch.zeros_like(masked)
        self.masked[objective] += masked
        return names

    def count(self, names: list[str], images: int) -> None:
        """Count a round's terms and images."""
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
        self.images += images

    def clear(self) -> None:
        """Begin anew."""
        for tensor in (*self.sums.values(), *self.masked.values()):
            tensor.zero_()
        self.counts, self.images = {}, 0

    def tensors(self) -> dict[str, Tensor]:
        """All that was counted, flat: `kind/name` -> tensor."""
        entries = {f"sums/{name}": self.sums[name] for name in self.counts}
        entries |= {f"masked/{name}": self.masked[name] for name in self.objectives()}
        entries |= {f"counts/{name}": torch.tensor(n) for name, n in self.counts.items()}
        return entries | {"images": torch.tensor(self.images)}

    def load(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """What `tensors` gave."""
        self.images = int(tensors["images"])
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "counts":
                self.counts[name] = int(tensor)
            elif kind in ("sums", "masked"):
                getattr(self, kind)[name] = tensor.to(device, copy=True)

    def objectives(self) -> list[str]:
        """Whose steps were counted."""
        return list(dict.fromkeys(name.split("/")[0] for name in self.counts))

    def read(self, group: Group = ALONE) -> tuple[dict[str, float], dict[str, int]]:
        """Mean of each term and masked steps of each objective; waits for the device.

        Terms are means over all processes. Steps are masked in all of them or in none, but in
        float16 one process may take for trouble what others excuse: then it is one for all.
        """
        masked = {
            name: group.all_reduce_max(int(self.masked[name].item())) for name in self.objectives()
        }
        sums = torch.tensor([self.sums[name].item() for name in self.counts], dtype=torch.float64)
        means = {}
        for name, total in zip(self.counts, group.mean(sums).tolist(), strict=True):
            counted = self.counts[name] - masked[name.split("/")[0]]
            means[name] = total / counted if counted else float("nan")
        return means, masked


def check_alike(ours: dict[str, Tensor], expected: dict[str, Tensor], part: str) -> None:
    """ValueError unless names, shapes and types agree."""
    if ours.keys() != expected.keys():
        other = sorted(ours.keys() ^ expected.keys())[0]
        raise ValueError(f"{part} has other tensors than the model ({other})")
    for name, tensor in expected.items():
        theirs = ours[name]
        if theirs.shape != tensor.shape or theirs.dtype != tensor.dtype:
            raise ValueError(f"{part} has {name} as {list(theirs.shape)} of {theirs.dtype}")


def joined_statistics(model: nn.Module) -> Tensor | None:
    """What batch normalisation gathers while networks run, laid end to end; None without any.

    Each layer keeps a view of its part, so one operation keeps or restores all.
    """
    places = [
        (layer, name)
        for layer in model.modules()
        for name in ("running_mean", "running_var")
        if getattr(layer, name, None) is not None
    ]
    if not places:
        return None
    joined = torch.cat([getattr(layer, name) for layer, name in places])
    views = torch.split(joined, [len(getattr(layer, name)) for layer, name in places])
    for (layer, name), view in zip(places, views, strict=True):
        setattr(layer, name, view)
    return joined


class TrainingState:
    """A model, the optimizers of its objectives, its EMA, and how far it has come.

    phase:    which objectives are at work
    seen:     images of this phase
    images_before: that its origins have seen: order of images and noise go on after these
    anew:     what could not be taken over from an origin
    captured: on a GPU, rounds are CUDA graphs
    precision: that of the machine; in "fp16" losses are scaled
    """

    def __init__(
        self,
        model: GenerativeModel,
        settings: Settings,
        group: Group = ALONE,
        captured: bool = False,
        precision: str = "fp32",
    ) -> None:
        self.model = model
        self.batch_size = settings.batch_size
        self.group = group
        self.dtype = next(model.parameters()).dtype
        self.optimizers = [
            ObjectiveOptimizer(objective, group, precision) for objective in model.objectives()
        ]
        self.widths = settings.ema, settings.ema_wide  # the first phase alone keeps them
        self.statistics = joined_statistics(model)  # first: it moves tensors that averages hold
        self.ema, self.ema_wide = self.fresh_averages()
        self.phase = 0
        self.seen = 0
        self.images_before = 0
        self.anew: tuple[Note, ...] = ()
        self.rewinds = 0  # each halved the learning rate
        self.tally = RunningMeans()
        self.in_a_row: dict[str, int] = {}  # masked steps of each objective since a finite one
        self.device = next(model.parameters()).device
        self.graphs = Graphs() if captured else None
        self.pace = Pace(self.device) if self.device.type != "cpu" else None
        self.ahead = Ahead[Drawing, list[Noise]]() if self.device.type == "cuda" else None

    def fresh_averages(self) -> list[EMA | None]:
        """Of the weights as they are now, where they are kept."""
        return [None if w is None else EMA(self.model, w) for w in self.widths]

    @property
    def averages(self) -> dict[str, EMA]:
        """Those that are kept, as checkpoints name them."""
        by_name = {"average": self.ema, "wide": self.ema_wide}
        return {name: average for name, average in by_name.items() if average is not None}

    def shares(self) -> dict[int, float]:
        """Length of each later phase, as a share of the planned images."""
        objectives = [optimizer.objective for optimizer in self.optimizers]
        return {o.phase: o.share for o in objectives if o.phase > 0}

    def phases(self, planned: int) -> list[int]:
        """Images of each phase, whole batches: the planned ones, then each later phase's share."""
        lengths = {0: planned}
        for phase, share in self.shares().items():
            lengths[phase] = max(1, round(planned * share / self.batch_size)) * self.batch_size
        return [lengths[phase] for phase in sorted(lengths)]

    def next_phase(self) -> None:
        """Later phases build on the weights to use, which they leave as they are."""
        if self.ema is not None:
            self.model.load_state_dict(self.ema.state)
        self.ema = self.ema_wide = None
        self.phase, self.seen = self.phase + 1, 0
        self.forget_graphs()

    def step(self, batches: Batches, seed: int, plan: Plan, machine: Machine) -> None:
        """Every objective that is due takes its steps; `plan` is this phase's."""
        inputs = self.round(batches, seed, plan)
        if self.graphs is None:
            terms = self.compute(inputs, machine)
        else:
            terms = self.graphs(inputs, partial(self.compute, machine=machine), self)
        self.tally.count(terms, self.batch_size)
        self.seen += self.batch_size
        if self.pace is not None:
            self.pace.keep()

    @property
    def warm_up(self) -> int:
        """Rounds after which the pace is what it stays: with graphs, when the last is captured."""
        if self.graphs is None:
            return WARM_UP_ROUNDS
        met, captured = Counter[Hashable](), 0
        for index in range(MOST_WARM_UP_ROUNDS):
            key = self.key(self.seen + index * self.batch_size, progress=0.0)
            met[key] += 1
            if met[key] == EAGER_ROUNDS + 1:
                captured = index + 1
        return WARM_UP_ROUNDS + captured

    def round(self, batches: Batches, seed: int, plan: Plan) -> Round:
        """All inputs of the next round."""
        share = plan.progress(self.seen)
        wanted = Drawing(seed, self.phase, self.seen, batches.rows)
        if self.ahead is None:
            drawn = self.draw(wanted)
        else:
            following = replace(wanted, seen=self.seen + self.batch_size)
            drawn = self.ahead.get(wanted, following, self.draw)
        turns = []
        due = self.due(self.phase, self.seen)
        for (index, repeat), noise in zip(due, drawn, strict=True):
            optimizer = self.optimizers[index]
            batch = self.batch(batches, optimizer.objective, repeat, share, noise)
            turns.append(Turn(optimizer, batch, optimizer.rates_at(share, 0.5**self.rewinds)))
        before, now = (plan.position(self.seen + more) for more in (0, self.batch_size))
        keeps = {name: average.keep(before, now) for name, average in self.averages.items()}
        return Round(self.key(self.seen, share), tuple(turns), keeps)

    def key(self, seen: int, progress: float) -> Hashable:
        """All that is decided on the host in the round after `seen` images of this phase."""
        due, number = self.due(self.phase, seen), seen // self.batch_size
        return tuple((i, self.optimizers[i].objective.regime(progress, number)) for i, _ in due)

    def learning_rates(self, plan: Plan) -> dict[str, float]:
        """Those of the next steps in this phase, by "objective/optimizer"; `plan` is its own."""
        share, caution = plan.progress(self.seen), 0.5**self.rewinds
        return {
            f"{optimizer.objective.name}/{kind}": rate
            for optimizer in self.optimizers
            if optimizer.objective.phase == self.phase
            for kind, rate in optimizer.rates_at(share, caution).items()
        }

    def as_trained(self, tensor: Tensor) -> Tensor:
        """In the weights' precision, if it is no whole number: not all devices have float64."""
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def due(self, phase: int, seen: int) -> list[tuple[int, int]]:
        """The steps of a round after `seen` images: number of the optimizer, number of the step."""
        number, steps = seen // self.batch_size, []
        for index, optimizer in enumerate(self.optimizers):
            objective = optimizer.objective
            if objective.phase == phase and number % objective.every == 0:
                steps += [(index, repeat) for repeat in range(objective.repeats)]
        return steps

    def draw(self, wanted: Drawing) -> list[Noise]:
        """This process's rows of the noise of each step of a round, in the host's memory."""
        drawn, counter = [], self.images_before + wanted.seen
        for index, repeat in self.due(wanted.phase, wanted.seen):
            objective = self.optimizers[index].objective
            rng = generator(wanted.seed, f"{objective.name}/{wanted.phase}/{repeat}", counter)
            noise = objective.noise(self.batch_size, rng)
            own = {name: self.as_trained(t[wanted.rows]) for name, t in noise.items()}
            if self.device.type == "cuda":  # from there a GPU copies while the host goes on
                with torch.cuda.device(self.device):  # a thread has none of its own
                    own = {name: tensor.pin_memory() for name, tensor in own.items()}
            drawn.append(own)
        return drawn

    def compute(self, inputs: Round, machine: Machine) -> list[str]:
        """One round; returns the loss terms that are to be counted. The device alone is at work."""
        terms = []
        for turn in inputs.turns:
            kept = None if self.statistics is None else self.statistics.clone()
            try:
                losses = turn.optimizer.gradients(turn.batch, machine)
                masked = turn.optimizer.step(turn.rates)
            except RuntimeError:  # such as of a capture, after which training goes on
                turn.optimizer.drop_gradients()
                raise
            self.restore(kept, masked)
            trouble = turn.optimizer.trouble(losses["total"], masked)
            terms += self.tally.add(turn.optimizer.objective.name, losses, trouble)
        for name, average in self.averages.items():
            average.update(inputs.keeps[name])
        return terms

    def moved(self) -> dict[str, list[Tensor]]:
        """All tensors that a round changes, by file."""
        files = self.tensors() | {"tally": self.tally.sums | self.tally.masked}
        return {name: list(tensors.values()) for name, tensors in files.items()}

    def checked(self) -> list[list[Tensor]]:
        """What tells whether a round did what it should: weights, averages, means."""
        weights = [list[Tensor](optimizer.parameters) for optimizer in self.optimizers]
        averages = [
            [tensor for tensor in average.state.values() if tensor.is_floating_point()]
            for average in self.averages.values()
        ]
        return [*weights, *averages, list(self.tally.sums.values())]

    def forget_graphs(self) -> None:
        """Call where other tensors take the place of those that a round changes."""
        if self.graphs is not None:
            self.graphs.forget()

    def restore(self, before: Tensor | None, masked: Tensor) -> None:
        """A masked step must not have changed the batch statistics."""
        if before is not None and self.statistics is not None:
            torch.where(masked > 0, before, self.statistics, out=self.statistics)

    def lost(self, losses: dict[str, float], masked: dict[str, int], most: int) -> list[str]:
        """Objectives whose last `most` steps or more were all masked, by what the tally read."""
        for name, count in masked.items():
            none_finite = math.isnan(losses[f"{name}/total"])
            self.in_a_row[name] = self.in_a_row.get(name, 0) + count if none_finite else 0
        return [name for name, count in self.in_a_row.items() if count >= most]

    def batch(
        self, batches: Batches, objective: Objective, repeat: int, share: float, noise: Noise
    ) -> Batch:
        """This process's rows of images, with their noise."""
        stream = 10 * self.phase + repeat
        images, labels = batches.at(self.images_before + self.seen, stream)
        own = {name: t.to(images.device, non_blocking=True) for name, t in noise.items()}
        return Batch(
            images.to(self.dtype),
            labels,
            own,
            share,
            self.seen // self.batch_size,
            objective.scalars(share),
        )

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors by file: what a checkpoint holds."""
        files = {"model": self.model.state_dict(), "tally": self.tally.tensors()}
        files |= {name: average.state for name, average in self.averages.items()}
        for optimizer in self.optimizers:
            files[f"optimiser-{optimizer.objective.name}"] = optimizer.tensors()
        return files

    def most_bytes(self) -> int:
        """More than any checkpoint of this state takes: weights, two averages, two moments."""
        return 6 * checkpoint.size({"model": self.model.state_dict()}) + 2**20

    def load(self, files: dict[str, dict[str, Tensor]], progress: Progress) -> None:
        """What `tensors` gave, copied into place, and how far it had come.

        Raises ValueError, with nothing changed, where names, shapes or types are not this state's.
        """
        self.check(files, progress)
        tally = RunningMeans()
        tally.load(files["tally"], self.device)  # may still raise
        self.model.load_state_dict(files["model"])
        later = progress.phase > 0
        self.ema, self.ema_wide = [None, None] if later else self.fresh_averages()
        for part, average in self.averages.items():
            for name, tensor in average.state.items():
                tensor.copy_(files[part][name])
        for optimizer in self.optimizers:
            optimizer.load_tensors(files[f"optimiser-{optimizer.objective.name}"])
        self.phase, self.seen = progress.phase, progress.seen
        self.rewinds, self.in_a_row = progress.rewinds, dict(progress.in_a_row)
        self.tally = tally
        self.forget_graphs()

    def check(self, files: dict[str, dict[str, Tensor]], progress: Progress) -> None:
        """ValueError where this is no checkpoint of such a state."""
        names = [optimizer.objective.name for optimizer in self.optimizers]
        expected = {"model": self.model.state_dict()}
        if progress.phase == 0:
            kept = dict(zip(("average", "wide"), self.widths, strict=True))
            expected |= {k: self.model.state_dict() for k, w in kept.items() if w is not None}
        parts = {"tally", *expected, *(f"optimiser-{name}" for name in names)}
        if files.keys() != parts:
            raise ValueError(f"its files are {', '.join(sorted(files))}")
        for part, tensors in expected.items():
            check_alike(files[part], tensors, part)
        for optimizer in self.optimizers:
            part = f"optimiser-{optimizer.objective.name}"
            check_alike(files[part], optimizer.expected(files[part]), part)
        terms = {key for key in files["tally"] if key.partition("/")[2].split("/")[0] in names}
        if files["tally"].keys() != terms | {"images"} or any(
            tensor.numel() != 1 for tensor in files["tally"].values()
        ):
            raise ValueError("its tally is not of these objectives")
        last = max(optimizer.objective.phase for optimizer in self.optimizers)
        if not 0 <= progress.phase <= last or progress.seen % self.batch_size:
            raise ValueError(f"there is no phase {progress.phase}, image {progress.seen}")
        if not progress.in_a_row.keys() <= set(names):
            raise ValueError("it counts steps of other objectives")

    def weights_to_use(self) -> dict[str, Tensor]:
        """The average where one is kept, else the last weights."""
        return averaged_state(self.ema, self.model)
