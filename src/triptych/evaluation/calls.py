"""Quality against network calls: how far samples are from real images for chains of any length."""

from __future__ import annotations

from triptych.console import Console
from triptych.evaluation.evaluate import EVALUATION_SEED
from triptych.evaluation.reference import Real
from triptych.families.base import GenerativeModel, Iterative
from triptych.families.labels import Labels
from triptych.metrics.kernel_distance import kernel_value
from triptych.tasks import sample
from triptych.tasks.figures import Curve

SAMPLES = 200  # for each place: the kernel distance has no bias at any count
CHAINS = {  # steps of as many calls: 5, 9, 15 and 25
    "heun": (3, 5, 8, 13),
    "dpm-solver++": (5, 9, 15, 25),
    "consistency": (1, 2, 3, 4),  # of models that have no other sampler
}


def quality_by_calls(
    model: GenerativeModel, real: Real, labels: Labels | None, console: Console
) -> Curve | None:
    """Kernel distance to the test images by network calls for each image, a line per sampler.

    None for models that sample in one call.
    """
    if not isinstance(model, Iterative):
        return None
    chains = {name: steps for name, steps in CHAINS.items() if name in model.samplers}
    count, test = min(SAMPLES, real.count), real.features["test"]
    lines: dict[str, list[float]] = {name: [] for name in chains}
    across: list[float] = []  # calls of each length, the same for all samplers
    plan = [(name, steps) for name, lengths in chains.items() for steps in lengths]
    with console.bar("  quality by calls", len(plan)) as bar:
        for done, (name, steps) in enumerate(plan):
            bar.update(done, note=f"{name}, {steps} steps")
            kind = model.with_sampler(name, steps)
            assert isinstance(kind, GenerativeModel)
            drawn = sample.sample(kind, count, EVALUATION_SEED, real.machine, labels=labels)
            features = real.extractor(drawn, real.machine)
            lines[name].append(kernel_value(features, test, real.kernels["test"]))
            if name == plan[0][0]:
                across.append(float(kind.network_calls))
    mark = float(model.network_calls)
    return Curve(across, lines, mark=mark if mark <= max(across) else None)
