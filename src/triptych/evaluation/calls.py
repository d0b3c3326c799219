"""Quality against network calls: how far samples are from real images for chains of any length."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from triptych.console import Console
from triptych.evaluation import classifier
from triptych.evaluation.evaluate import EVALUATION_SEED, Real
from triptych.evaluation.kernel import kernel_distance
from triptych.evaluation.patches import Patches
from triptych.evaluation.scoring import SMALLEST
from triptych.families.base import GenerativeModel, Iterative
from triptych.families.labels import Labels
from triptych.hardware import Machine
from triptych.tasks import sampling
from triptych.tasks.curves import Curve

SAMPLES = 200  # for each place: the kernel distance has no bias at any count
CHAINS = {  # steps of as many calls: 5, 9, 15 and 25
    "heun": (3, 5, 8, 13),
    "dpm-solver++": (5, 9, 15, 25),
    "consistency": (1, 2, 3, 4),  # of models that have no other sampler
}


def quality_by_calls(
    model: GenerativeModel,
    real: Real,
    labels: Labels | None,
    machine: Machine,
    console: Console,
) -> Curve | None:
    """Kernel distance to the test images by network calls for each image, a line per sampler.

    On the features of the data's classifier, or of patches where there is none. None for models
    that sample in one call, and for images too small for patches.
    """
    describe = describer(real, machine)
    if not isinstance(model, Iterative) or describe is None:
        return None
    chains = {name: steps for name, steps in CHAINS.items() if name in model.samplers}
    # The classifier has read the test images already.
    test = describe(real.test) if real.readings is None else real.readings["test"].features
    count = min(SAMPLES, real.count)
    lines: dict[str, list[float]] = {name: [] for name in chains}
    across: list[float] = []  # calls of each length, the same for all samplers
    plan = [(name, steps) for name, lengths in chains.items() for steps in lengths]
    with console.bar("  quality by calls", len(plan)) as bar:
        for done, (name, steps) in enumerate(plan, start=1):
            kind = model.with_sampler(name, steps)
            assert isinstance(kind, GenerativeModel)
            drawn = sampling.sample(kind, count, EVALUATION_SEED, machine, labels=labels)
            lines[name].append(kernel_distance(describe(drawn), test).value)
            if name == plan[0][0]:
                across.append(float(kind.network_calls))
            bar.update(done)
    mark = float(model.network_calls)
    return Curve(across, lines, mark=mark if mark <= max(across) else None)


def describer(real: Real, machine: Machine) -> Callable[[Tensor], Tensor] | None:
    """uint8 images [N,C,H,W] -> features [N,F]."""
    network = real.network
    if network is not None:
        return lambda pixels: classifier.read(network, pixels, machine).features
    return Patches(real.test) if real.test.shape[-1] >= SMALLEST else None
