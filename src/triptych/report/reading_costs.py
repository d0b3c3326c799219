"""What the costs say, and what to beware of: the last sentences of the verdict.

Costs carry no interval: they are told apart by a ratio.
"""

from collections.abc import Sequence

from triptych.report.columns import Column, name_runs
from triptych.report.load import Comparison, Run
from triptych.report.tongue import Name, Quantity, Sentence, Value

DISTANCES = ("frechet_distance", "kernel_distance")
ENOUGH_SAMPLES = 2000
SAME_TIME = 1.2  # times within this ratio are not told apart: they carry no interval


def costs(runs: Sequence[Run], name: str) -> list[tuple[float, Name]]:
    """The runs that recorded a positive cost of this name, from the least to the most."""
    found = ((run.cost.get(name), who) for run, who in zip(runs, name_runs(runs), strict=True))
    return sorted(((c, who) for c, who in found if c is not None and c > 0), key=lambda p: p[0])


def sampling_cost(runs: Sequence[Run]) -> Sentence | None:
    """How much longer the slowest model takes for one image than the quickest."""
    ranked = costs(runs, "sample_seconds_per_image")
    if len(ranked) < 2:
        return None
    (quick, fast), (long, slow) = ranked[0], ranked[-1]
    times: dict[str, Value] = {
        "fast_time": Quantity(quick, "time"),
        "slow_time": Quantity(long, "time"),
    }
    if long < SAME_TIME * quick:
        return Sentence("cost.level", times, "cost")
    ratio = Quantity(long / quick, "ratio")
    return Sentence("cost.sampling", {**times, "slow": slow, "fast": fast, "ratio": ratio}, "cost")


def network_calls(runs: Sequence[Run]) -> Sentence | None:
    """Calls per sample, where exactly one model needs several and the others one."""
    ranked = costs(runs, "network_calls")
    many = [(calls, who) for calls, who in ranked if calls > 1]
    others = tuple(who for calls, who in ranked if calls == 1)
    if len(many) != 1 or not others or len(ranked) < len(runs):
        return None
    calls, who = many[0]
    return Sentence("cost.calls", {"calls": int(calls), "who": who, "others": others}, "cost")


def training_cost(runs: Sequence[Run]) -> Sentence | None:
    """How many more images one model saw than another in like training times."""
    times, images = costs(runs, "train_seconds"), costs(runs, "images_seen")
    if len(times) < len(runs) or len(images) < len(runs) or len(runs) < 2:
        return None
    (few, fewest), (lots, most) = images[0], images[-1]
    if times[-1][0] > SAME_TIME * times[0][0] or lots < SAME_TIME * few:
        return None
    values: dict[str, Value] = {
        "least_time": Quantity(times[0][0], "time"),
        "most_time": Quantity(times[-1][0], "time"),
        "most": most,
        "most_images": Quantity(lots, "count"),
        "fewest": fewest,
        "fewest_images": Quantity(few, "count"),
        "ratio": Quantity(lots / few, "ratio"),
    }
    return Sentence("cost.training", values, "cost")


def few_samples(columns: Sequence[Column]) -> Sentence | None:
    """A warning under 2,000 samples, on metrics whose value moves with their number."""
    counts = [n for column in columns if column.name in DISTANCES for n in column.counts]
    if not counts or min(counts) >= ENOUGH_SAMPLES:
        return None
    return Sentence("caution.few", {"n": min(counts)}, "caution")


def trainings(runs: Sequence[Run]) -> Sentence | None:
    """How often every model was trained: whether the intervals hold the luck of training."""
    counts = {len(run.trainings) or 1 for run in runs}
    apart = len({(run.model, run.variant) for run in runs}) == len(runs)
    if len(runs) < 2 or len(counts) > 1 or not apart:
        return None
    if counts == {1}:
        return Sentence("caution.seeds", {}, "caution")
    return Sentence("caution.trainings", {"n": counts.pop()}, "caution")


def unequal(comparison: Comparison) -> Sentence | None:
    """A reminder of the mark at the top."""
    marked = comparison.forced or bool(comparison.differences)
    return Sentence("caution.unequal", {}, "caution") if marked else None
