"""From a budget to a plan: how fast training goes here, found by a few steps that are thrown away.

A budget in images or epochs needs no such thing. One in seconds begins with the plan made here,
and is planned anew on the way (`plan`).

Also whether a batch fits into memory, and what goes through the networks at once where it does not.
What a step holds is foretold from what two small forward passes keep for their backward pass, so
nothing has to fail first: on a CPU the system would end the process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from triptych import hardware
from triptych.config import Budget, ImageShape, Settings, Size
from triptych.console import Bar
from triptych.data.batches import Batches
from triptych.data.dataset import Part
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.protocol import Batch, GenerativeModel, Objective
from triptych.families.registry import ModelName
from triptych.hardware import Machine, counts_to_try
from triptych.records import Note, Speed
from triptych.seeding import generator
from triptych.training.loop import GRID_SHARES, grids_within
from triptych.training.plan import Plan
from triptych.training.resolve import ResolvedRequest
from triptych.training.state import WARM_UP_ROUNDS, TrainingState
from triptych.training.threads import fastest, quickest, try_counts

LATER_ROUNDS = 5  # measured of each later phase
MEASURED_SHARE = 0.02  # of the budget goes into measuring the speed, within these bounds
LEAST_SECONDS, MOST_SECONDS = 0.5, 3.0
TRIED_SHARE, MOST_TRIED_SECONDS = 0.03, 2.0  # and into trying thread counts
# An interruption loses a twentieth, or more where writing so often would cost over 1 % of the time.
LEAST_CHECKPOINTS, MOST_CHECKPOINTS = 2, 20
CHECKPOINT_SHARE = 0.01
LEAST_ROUNDS = 5  # a model that was moved less often than this has learned nothing
FEW_ROUNDS = 100  # and less often than this, hardly anything
PROBED = ImageShape(channels=3, resolution=32)  # of the images that steps are timed on at any time
PROBED_IMAGES = 1000
PROBES = 2, 6  # images
MOST_PROBED = max(PROBES)
# Measured peaks were 0.9 to 1.2 times the forecast (tests/test_fitting.py); allocators round, and
# GPUs want room to work in.
MARGIN = 1.5
USABLE = 0.9  # of the free memory
POOLS = 2  # that hold a step's memory with graphs: theirs, and that of rounds not captured yet


def images_at_once(state: TrainingState, batches: Batches, seed: int, machine: Machine) -> int:
    """Most images in the networks at once: this process's whole share of a batch if it fits.

    0 where not even one image does.
    """
    kept, held = bytes_per_image(state, batches.images.shape[1:], seed, machine)
    room = USABLE * hardware.free_memory_bytes(machine.device) - bytes_of_moving(state)
    room -= held * batches.batch_size  # there in however many parts it is used
    if state.graphs is not None:
        room /= POOLS
    return min(batches.own, max(0, int(room / (MARGIN * kept))))


def forecast_bytes(request: ResolvedRequest, machine: Machine) -> tuple[int, int]:
    """Memory that a training holds between its steps, and what comes to that in a step.

    Weights, averages, gradients and moments; what autograd keeps of this process's share of a
    batch, or of as much of it as goes through the networks at once.
    """
    model = registry.build(request.name, request.settings, request.shape, request.seed)
    state = TrainingState(model, request.settings)
    batch = request.settings.batch_size // machine.group.size
    on_cpu = replace(machine, device="cpu", compile=False)
    kept, held = bytes_per_image(state, torch.Size(request.shape.size), request.seed, on_cpu)
    at_once = min(batch, machine.microbatch or batch)
    return state.most_bytes(), int(MARGIN * kept * at_once + held * batch)


def bytes_of_moving(state: TrainingState) -> int:
    """What comes to the weights in the first step: gradients and two moments."""
    return sum(3 * p.nbytes for p in state.model.parameters())


def probe_batch(state: TrainingState, objective: Objective, size: torch.Size, seed: int) -> Batch:
    """A few grey images of [C,H,W] with their noise."""
    device = next(state.model.parameters()).device
    noise = objective.noise(MOST_PROBED, generator(seed, "probe"))
    images = torch.zeros(MOST_PROBED, *size, device=device, dtype=state.dtype)
    labels = torch.zeros(MOST_PROBED, device=device, dtype=torch.int64)
    return Batch(images, labels, {n: state.as_trained(t).to(device) for n, t in noise.items()})


def bytes_of(batch: Batch) -> int:
    """Memory of a batch: its images as bytes and as floats, its noise."""
    return sum(t.nbytes for t in batch.noise.values()) + batch.images.nbytes * 5 // 4


def bytes_per_image(
    state: TrainingState, size: torch.Size, seed: int, machine: Machine
) -> tuple[float, float]:
    """Bytes of each image: those that the largest forward pass keeps, and those of the batch.

    size: [C,H,W]
    The first is the slope between two batches: weights, which are kept too, do not count.
    """
    kept, held = 1.0, 1.0
    own = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    for optimizer in state.optimizers:
        batch = probe_batch(state, optimizer.objective, size, seed)
        few, more = (kept_bytes(optimizer.objective, batch.parts(n)[0], machine) for n in PROBES)
        kept = max(kept, (more - few) / (PROBES[1] - PROBES[0]))
        held = max(held, bytes_of(batch) / MOST_PROBED)
    state.model.load_state_dict(own)  # batch statistics saw the probes
    return kept, held


def kept_bytes(objective: Objective, batch: Batch, machine: Machine) -> int:
    """Bytes of all that autograd keeps in a forward pass, each piece of memory once."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, machine.autocast():
        objective(batch)
    return sum(kept.values())


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The first plan, and how it was found.

    images:      of phase 0
    checkpoints: in phase 0, at even distances
    speed:       under a budget in seconds
    """

    images: int
    checkpoints: int
    speed: Speed | None = None


def planned_images(
    budget: Budget,
    train_size: int,
    batch_size: int,
    measure: Callable[[], Speed],
    spent: Callable[[], float] = lambda: 0.0,
) -> Planned:
    """Whole batches that the budget pays for; InputError when that is too few to mean anything.

    measure: how fast it goes; asked where the budget is in seconds
    spent:   seconds of the training so far, which count
    """
    if budget.unit != "seconds":
        images = budget.amount * (1 if budget.unit == "images" else train_size)
        rounds = math.floor(images / batch_size + 1e-9)
        if rounds < LEAST_ROUNDS:
            mend = f"give at least {LEAST_ROUNDS * batch_size / 1000:g}kimg"
            raise too_short(budget, rounds, batch_size, mend)
        return Planned(images=rounds * batch_size, checkpoints=MOST_CHECKPOINTS)
    speed = measure()
    affordable = int(CHECKPOINT_SHARE * budget.amount / speed.checkpoint)
    checkpoints = max(LEAST_CHECKPOINTS, min(MOST_CHECKPOINTS, affordable))
    between = grids_within(budget.amount, speed.grid, budget.amount)
    grids = min(len(GRID_SHARES), 2 + between)  # with the first and the last
    extras = speed.grid * grids + speed.checkpoint * checkpoints + speed.finishing
    extras += spent()
    rounds = math.floor((budget.amount - extras) / (speed.per_planned * batch_size))
    if rounds < LEAST_ROUNDS:
        least = extras + LEAST_ROUNDS * batch_size * speed.per_planned
        raise too_short(
            budget, rounds, batch_size, f"give at least {math.ceil(1.2 * least)}s on this machine"
        )
    return Planned(images=rounds * batch_size, checkpoints=checkpoints, speed=speed)


def too_short(budget: Budget, rounds: int, batch_size: int, mend: str) -> InputError:
    """What to say of a budget that buys next to no steps."""
    return InputError(
        f"the budget {budget.asked} pays for {max(rounds, 0)} steps of {batch_size} images, "
        "too few to learn anything",
        mend,
    )


def note_few(images: int, batch_size: int) -> Note | None:
    """What to say of a budget that hardly means anything."""
    rounds = images // batch_size
    if rounds >= FEW_ROUNDS:
        return None
    enough = FEW_ROUNDS * batch_size / 1000
    return Note("few_steps", {"n": rounds, "least": FEW_ROUNDS, "budget": f"{enough:g}kimg"})


def measure_speed(
    state: TrainingState,
    batches: Batches,
    seed: int,
    machine: Machine,
    seconds: float,
    draw_grid: Callable[[], object],
    save_checkpoint: Callable[[], object],
    finish: Callable[[int], object],
) -> Speed:
    """Seconds of everything a run does, by a state that is brought back to its start afterwards.

    seconds: of the budget
    finish:  does what follows the last phase, for a training of so many images
    """
    far = Plan.straight(10**9)  # keeps the rate schedule at its start

    def timed(work: Callable[[], object]) -> float:
        machine.finish()
        started = time.perf_counter()
        work()
        machine.finish()
        return time.perf_counter() - started

    def rounds(count: int) -> None:
        for _ in range(count):
            state.step(batches, seed, far, machine)

    size = batches.batch_size
    chosen, tried = try_threads(machine, seconds, lambda: timed(lambda: rounds(1)))
    torch.set_num_threads(chosen)  # the caller sets back what was
    wanted = min(max(seconds * MEASURED_SHARE, LEAST_SECONDS), MOST_SECONDS)
    rounds(state.warm_up)
    estimate = timed(lambda: rounds(WARM_UP_ROUNDS)) / WARM_UP_ROUNDS
    # As many rounds in all processes: the first one's clock decides.
    count = machine.group.broadcast(lambda: max(WARM_UP_ROUNDS, round(wanted / estimate)))
    first = timed(lambda: rounds(count)) / count / size
    grid, saving = timed(draw_grid), timed(save_checkpoint)
    finishing = timed(lambda: finish(int(seconds / first))) + saving
    per_image, shares = [first], state.shares()
    for _ in shares:
        state.next_phase()
        rounds(state.warm_up)
        per_image.append(timed(lambda: rounds(LATER_ROUNDS)) / LATER_ROUNDS / size)
    speed = Speed(
        per_image=tuple(per_image),
        shares=(1.0, *(shares[phase] for phase in sorted(shares))),
        grid=grid,
        checkpoint=saving,
        finishing=finishing,
        threads=chosen,
        tried={str(count): value for count, value in tried.items()},
    )
    return Speed.read(machine.group.broadcast(speed.to_json))


def try_threads(
    machine: Machine, seconds: float, step: Callable[[], float]
) -> tuple[int, dict[int, float]]:
    """The fastest count of threads, and seconds of a step with each that was tried.

    seconds: of the budget, of which this takes a small part
    """
    if not may_try_threads(machine):
        return machine.threads, {}

    def with_threads(count: int) -> float:
        torch.set_num_threads(count)
        return step()

    limit = min(TRIED_SHARE * seconds, MOST_TRIED_SECONDS)
    present = torch.get_num_threads()  # the fastest as far as is known, so it comes first
    counts = sorted(counts_to_try(machine.threads), key=lambda count: count != present)
    tried = try_counts(counts, with_threads, limit)
    return fastest(tried), {count: quickest(values) for count, values in tried.items()}


def steps_now(machine: Machine, size: Size, bar: Bar) -> dict[str, dict[int, float]]:
    """Seconds of a step of each family's default recipe now, by the number of threads, on noise.

    Of families whose models are trained; empty where the number is not ours to choose. Takes about
    a second for each.
    """
    by_family = {}
    names = [ModelName.parse(family) for family in registry.trained_families()]
    for done, name in enumerate(names if may_try_threads(machine) else []):
        bar.update(done, len(names), str(name))
        settings = registry.defaults(name, size, PROBED, PROBED_IMAGES)
        state, batches = on_noise(registry.build(name, settings, PROBED, seed=0), settings)

        def step(state: TrainingState = state, batches: Batches = batches) -> float:
            started = time.perf_counter()
            state.step(batches, 0, Plan.straight(10**9), machine)
            return time.perf_counter() - started

        torch.set_num_threads(machine.threads)  # the caller sets back what was
        _, tried = try_threads(machine, MOST_TRIED_SECONDS / TRIED_SHARE, step)
        by_family[str(name)] = dict(sorted(tried.items()))
    return by_family


def on_noise(
    model: GenerativeModel, settings: Settings, captured: bool = False, precision: str = "fp32"
) -> tuple[TrainingState, Batches]:
    """A training to time steps of: the model's, on images of noise; the rest is the state's."""
    shape, rng = (PROBED_IMAGES, *model.shape.size), generator(0, "probe")
    noise = Part(torch.randint(256, shape, dtype=torch.uint8, generator=rng), None)
    device = next(model.parameters()).device
    batches = Batches(noise, settings.batch_size, seed=0, device=device)
    return TrainingState(model, settings, captured=captured, precision=precision), batches


def forecast_seconds(request: ResolvedRequest, machine: Machine) -> float:
    """Seconds that a training will take: those of its budget, or by the time of a few steps.

    The steps are on noise and are thrown away; later phases are timed too.
    """
    if request.budget.unit == "seconds":
        return request.budget.amount
    model = registry.build(request.name, request.settings, request.shape, request.seed)
    registry.place(model, machine.device)
    state, batches = on_noise(model, request.settings, machine.captures, machine.precision)
    far = Plan.straight(10**9)

    def rounds(count: int) -> None:
        for _ in range(count):
            state.step(batches, request.seed, far, machine)

    per_planned = 0.0
    for share in (1.0, *(share for _, share in sorted(state.shares().items()))):
        rounds(state.warm_up)
        machine.finish()
        started = time.perf_counter()
        rounds(LATER_ROUNDS)
        machine.finish()
        spent = time.perf_counter() - started
        per_planned += share * spent / LATER_ROUNDS / batches.batch_size
        state.next_phase()
    epoch = len(request.data.train) if request.budget.unit == "epochs" else 1
    return per_planned * request.budget.amount * epoch


def may_try_threads(machine: Machine) -> bool:
    """Whether the count is ours to choose: not the user's, and no other process has to agree."""
    ours = "threads" in machine.choices and machine.group.size == 1
    return ours and machine.device == "cpu" and machine.threads > 1
