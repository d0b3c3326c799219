"""The verdict: sentences that the numbers support, and no others.

Each reader looks at one column or at all runs and returns a Sentence, or None when the numbers do
not carry it. Nothing is worded here: a Sentence is a key of the locales with values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from triptych.comparison.significance import (
    DISTANCES,
    ERROR,
    FLOOR_MARGIN,
    SHARPNESS_MARGIN,
    TRAINING_SPREAD,
    equivalent,
    smallest_seen,
)
from triptych.pages.columns import (
    SAME_TIME,
    Column,
    ascending,
    best,
    best_alone,
    comparisons,
    costs,
    keeps_more,
    make_columns,
    named_runs,
    on_other_features,
    overlapping,
    ratio_to_floor,
    runners_up,
)
from triptych.pages.gathering import by_equal, for_all
from triptych.pages.language import Interval, Name, Quantity, Sentence, Value
from triptych.pages.load import Comparison, Run, trained_here
from triptych.records import MetricRecord
from triptych.words import Form

ENOUGH_SAMPLES = 2000
MEMORISED_MARGIN = 2.0  # times the share that a model has that copies nothing
# What tells how good samples are, and may contradict the distance that leads the verdict.
NOUNS = (  # measures of quality that the texts call something inside a sentence
    "precision",
    "recall",
    "density",
    "coverage",
    "clipped_density",
    "clipped_coverage",
    "recognisable",
)
QUALITY = (*DISTANCES, *NOUNS)
OTHER_QUESTIONS = ("memorised", "copied", "own_exemplar", "sharpness", "label_balance")
RANKED: dict[str, tuple[str, str, Form]] = {  # key and topic of a metric's sentences, its form
    "recognisable": ("recognisable", "recognisable", "percent"),
    "real_or_fake": ("real_or_fake", "realism", "percent"),
    "coverage": ("coverage", "variety", "percent"),
    "label_balance": ("balance", "balance", "number"),
    "bits_per_dim": ("likelihood", "likelihood", "number"),
    "reconstruction_psnr": ("reconstruction", "reconstruction", "number"),
    "path_length": ("path", "interpolation", "number"),
    "drawn_path_length": ("drawn_path", "interpolation", "number"),
    "probe_accuracy": ("probe", "representation", "percent"),
}


def read_comparison(comparison: Comparison) -> list[Sentence]:
    """Every sentence of the verdict, in reading order."""
    runs, trained = comparison.runs, trained_here(comparison.runs)
    columns = make_columns(runs)
    first = first_references(columns)
    nearest = {(column.name, column.features) for column in first if best(column) is not None}
    later = [
        c
        for c in columns
        if c not in first and not c.extrapolated and (c.name, c.features) in nearest
    ]
    leads = [each for c in first if c.name in DISTANCES for each in leaders(c, columns)]
    candidates: list[Sentence | None] = [
        unequal(comparison),
        trainings(trained),
        few_samples(columns),
        together(columns),
        *distances_best(leads, columns),
        *(distance_disputed(c, columns) for c in first),
        *undecided_alike(each(first, DISTANCES, distance_undecided)),
        *each(first, DISTANCES[:1], distance_floor),
        *undecided_alike(each(later, DISTANCES, distance_undecided)),
        distance_reference(columns),
        *for_all(flattered(comparison)),
        *each(columns, ("recognisable",), recognisable_shares, leading),
        *each(columns, ("recognisable",), undecided),
        *for_all(told_from_real(columns)),
        *each(columns, ("real_or_fake",), leading, undecided),
        *each(columns, ("coverage",), leading, undecided),
        *for_all(copies_of_each(columns)),
        *for_all(shares_of_each(columns, "copied", "copied_control", "own_exemplar")),
        *for_all(sharpness_of_each(columns)),
        *each(columns, ("sharpness",), sharpness_order),
        *each(columns, ("label_balance",), leading, undecided),
        *for_all(value_of_each(columns, "bits_per_dim")),
        *each(columns, ("bits_per_dim",), leading, unlike_bounds),
        *for_all(value_of_each(columns, "reconstruction_psnr")),
        *each(columns, ("reconstruction_psnr",), reconstruction_best),
        *each(columns, ("path_length", "drawn_path_length"), leading, undecided),
        *each(columns, ("probe_accuracy",), probe_of_each, leading, undecided),
        sampling_cost(trained),
        network_calls(trained),
        training_cost(trained),
    ]
    sentences = [sentence for sentence in candidates if sentence is not None]
    return [each for index, each in enumerate(sentences) if each not in sentences[:index]]


def first_references(columns: Sequence[Column]) -> list[Column]:
    """Of columns that differ in reference or count alone, the first.

    Nor are those among them that hold the same models as one before on another feature set.
    """
    first: list[Column] = []
    for column in columns:
        alike = [each for each in first if each.name == column.name]
        if column.extrapolated or any(each.features == column.features for each in alike):
            continue
        measured_before = {who for each in alike for who, _ in each.scores}
        if not alike or any(who not in measured_before for who, _ in column.scores):
            first.append(column)
    return first


def each(
    columns: Sequence[Column], names: Sequence[str], *readers: Callable[[Column], Sentence | None]
) -> Iterable[Sentence | None]:
    """Every reader on every column of these metrics."""
    for column in columns:
        if column.name in names:
            yield from (reader(column) for reader in readers)


def measured(metric: MetricRecord, form: Form = "number") -> dict[str, Value]:
    """The value and its interval, as {value} and {interval}; no interval prints nothing."""
    value = metric.value if metric.value is not None else float("nan")
    if metric.low is None or metric.high is None:
        return {"value": Quantity(value, form), "interval": ""}
    spread = metric.high - metric.low
    return {
        "value": Quantity(value, form, spread),
        "interval": Interval(metric.low, metric.high, form),
    }


def measure(column: Column) -> Sentence:
    """The noun for a distance, with its features and reference; only Inception's is an FID."""
    fid = column.name == "frechet_distance" and column.features == "inception"
    reference = column.reference if column.reference in ("test", "train", "validation") else "none"
    key = "measure.fid" if fid else f"measure.{column.name}"
    values: dict[str, Value] = {"reference": Sentence(f"images.{reference}")}
    return Sentence(key, values | {"features": features_noun(column)})


def features_noun(column: Column) -> Value:
    """What a column is measured on, as it stands inside a sentence."""
    worded = column.features in ("labels", "patches", "coordinates")
    return Sentence(f"features.{column.features}") if worded else column.features


def leading(column: Column) -> Sentence | None:
    """One model is best beyond the intervals, and how far the others are behind it."""
    leader = best(column)
    if leader is None:
        return None
    key, topic, form = RANKED[column.name]
    if column.name == "bits_per_dim" and column.kinds == ("upper bound",):
        key = "likelihood.bounds"
    who, metric = column.scores[leader]
    values: dict[str, Value] = {"who": who, **measured(metric, form)}
    return Sentence(f"{key}.best", values | {"clauses": behind(column, form)}, topic)


def undecided(column: Column) -> Sentence | None:
    """Several models could be best."""
    who = overlapping(column)
    if len(who) < 2 or best(column) is not None:
        return None
    key, topic, _ = RANKED[column.name]
    return Sentence(f"{key}.undecided", {"who": who, "alone": alone(column)}, topic)


def alone(column: Column) -> Value:
    """That one model would be the best if nothing else were compared; nothing where none would."""
    index = best_alone(column)
    if index is None:
        return ""
    apart = next(each for each in column.worse.values() if each is not None)
    return Sentence("undecided.alone", {"who": column.scores[index][0], "n": apart.together})


# Distances


def leaders(column: Column, columns: Sequence[Column]) -> list[Column]:
    """Itself, where it decides which model is nearest; else those on other features that do."""
    if best(column) is not None:
        return [column]
    return [other for other in on_other_features(column, columns) if best(other) is not None]


def distances_best(columns: Sequence[Column], every: Sequence[Column]) -> Iterable[Sentence | None]:
    """The nearest model by each distance; what contradicts several of them is listed once.

    every: all columns of the page, for what the other feature set and other numbers say
    """
    listed: list[tuple[Name, list[Sentence]]] = []
    for column in columns:
        leader, contrary = best(column), contradictions(column, every)
        if leader is not None:
            lead = column.scores[leader][0], contrary
            seconds = on_other_features(column, every)
            yield distance_best(column, contrary, again=lead in listed, seconds=seconds)
            listed.append(lead)


def distance_best(
    column: Column,
    contrary: Sequence[Sentence] = (),
    again: bool = False,
    seconds: Sequence[Column] = (),
) -> Sentence | None:
    """One model is nearest, if its difference from every other one is decided.

    contrary: where other numbers say the opposite
    again:    whether a sentence before has listed these
    seconds:  the same distance on the other feature set, if there is one
    """
    leader = best(column)
    if leader is None:
        return None
    who, metric = column.scores[leader]
    values: dict[str, Value] = {"who": who, "measure": measure(column), **measured(metric)}
    values["contrary"] = values["second"] = ""
    if contrary:
        key = "distance.contrary.again" if again else "distance.contrary"
        values["contrary"] = Sentence(key, {"clauses": by_favoured(contrary)})
    for other in seconds[:1]:
        key = "distance.second.open" if best(other) is None else "distance.second.same"
        values["second"] = Sentence(key, {"features": features_noun(other)})
    return Sentence("distance.best", values | {"clauses": behind(column)}, "distance")


def distance_disputed(column: Column, columns: Sequence[Column]) -> Sentence | None:
    """Which models the two feature sets order the other way round, where this one decides it."""
    clauses = tuple(
        Sentence("distance.disputed.clause", {"near": near, "far": far})
        for near, far in disputed_pairs(column)
    )
    seconds = on_other_features(column, columns)
    if not clauses or not seconds:
        return None
    values: dict[str, Value] = {"measure": measure(column), "clauses": clauses}
    values["features"] = features_noun(seconds[0])
    return Sentence("distance.disputed", values, "distance")


def disputed_pairs(column: Column) -> list[tuple[Name, Name]]:
    """Two models each, the nearer one first: decided here, if the other feature set agreed."""
    names = [who for who, _ in column.scores]
    return [
        (names[one], names[other]) if apart.value < 0 else (names[other], names[one])
        for (one, other), apart in column.worse.items()
        if apart is not None and apart.disputed and apart.p <= ERROR
    ]


def by_favoured(contrary: Sequence[Sentence]) -> tuple[Sentence, ...]:
    """The same clauses, with all measures that favour the same models in one."""
    clauses = []
    for who, measures in by_equal((c.values["who"], c.values["measure"]) for c in contrary):
        values: dict[str, Value] = {"who": who, "measure": measures[0]}
        key = "distance.contrary.clause"
        if len(measures) > 1:
            key, values = "distance.contrary.clauses", {"who": who, "measures": named(measures)}
        clauses.append(Sentence(key, values))
    return tuple(clauses)


def contradictions(column: Column, columns: Sequence[Column]) -> list[Sentence]:
    """By which other measures of the samples some model is better than the column's best one."""
    leader = best(column)
    if leader is None:
        return []
    nearest = column.scores[leader][0]
    clauses: list[Sentence] = []
    for other in columns:
        if other is column or other.extrapolated or not tells_quality(other):
            continue
        if who := tuple(beating(other, nearest)):
            clauses.append(
                Sentence("distance.contrary.clause", {"who": who, "measure": noun(other)})
            )
    return clauses


def tells_quality(column: Column) -> bool:
    """Whether it measures how good samples are, ours or another package's."""
    groups = {metric.group for _, metric in column.scores}
    if column.name in OTHER_QUESTIONS or column.better not in ("lower", "higher"):
        return False
    return column.name in QUALITY or bool(groups & {"distance", "samples"})


def beating(column: Column, who: Name) -> list[Name]:
    """The models that this column decides to be better than one."""
    names = [name for name, _ in column.scores]
    if who not in names:
        return []
    own = names.index(who)
    apart = [(i, column.difference(i, own)) for i in range(len(names)) if i != own]
    return [names[i] for i, each in apart if each is not None and each.better == "first"]


def noun(column: Column) -> Value:
    """A measure as it stands inside a sentence; another package's keeps its own name."""
    if column.name in DISTANCES:
        return measure(column)
    return Sentence(f"noun.{column.name}") if column.name in NOUNS else column.name


def behind(column: Column, form: Form = "number") -> tuple[Value, ...]:
    """How far each of the others is behind the best one; shares in percentage points."""
    shares = form == "percent"
    form = "points" if shares else form
    return tuple(
        Sentence(
            "behind.points" if shares else "behind",
            {
                "who": who,
                "value": Quantity(apart.value, form, apart.high - apart.low),
                "interval": Interval(apart.low, apart.high, form),
            },
        )
        for who, apart in runners_up(column)
    )


def distance_undecided(column: Column) -> Sentence | None:
    """Several models could be nearest, by chance and not because the feature sets disagree."""
    who = overlapping(column)
    if len(who) < 2 or best(column) is not None or not column.counts:
        return None
    if any({*pair} <= {*who} for pair in disputed_pairs(column)):
        return None
    few = [too_few(metric) for name, metric in column.scores if name in who]
    of, n = max(of for of, _ in few), min(column.counts)
    if of:  # beside a model that was trained but once, the fewest are one
        n = min(count if each else 1 for each, count in few)
    values: dict[str, Value] = {"measure": measure(column), "who": who, "n": n}
    return Sentence(f"distance.undecided{of}", values | {"alone": alone(column)}, "distance")


def too_few(metric: MetricRecord) -> tuple[Literal["", ".trainings"], int]:
    """What there are too few of where a number decides nothing, and how many there are.

    An interval over several trainings is that wide for their number and not for that of images.
    The first is what the key of a text ends in.
    """
    if metric.values:
        return ".trainings", len(metric.values)
    return "", metric.n or 0


def undecided_alike(sentences: Iterable[Sentence | None]) -> list[Sentence]:
    """The same sentences, with all distances that tell the same models apart as little in one."""
    told = [sentence for sentence in sentences if sentence is not None]
    alike = by_equal(
        ({k: v for k, v in s.values.items() if k != "measure"} | {"key": s.key}, s) for s in told
    )
    return [
        group[0]
        if len(group) == 1
        else Sentence(
            f"{group[0].key}.all",
            {**shared, "measures": named([each.values["measure"] for each in group])},
            "distance",
        )
        for shared, group in alike
    ]


def named(measures: Sequence[Value]) -> tuple[Sentence, ...]:
    """Measures as they stand in a list of several."""
    return tuple(Sentence("distance.measure", {"measure": measure}) for measure in measures)


def distance_floor(column: Column) -> Sentence | None:
    """Each distance beside the floor of its column."""
    if len(column.floors) != 1 or column.floors[0] <= 0:
        return None
    clauses = tuple(to_floor(who, m, column.floors[0]) for who, m in column.scores)
    floor = Quantity(column.floors[0])
    values: dict[str, Value] = {"measure": measure(column), "floor": floor, "clauses": clauses}
    return Sentence("distance.floor", values, "distance")


def to_floor(who: Name, metric: MetricRecord, floor: float) -> Sentence:
    """How far above the floor, or as near as real images by a test, or not decided.

    An interval that holds the floor is no finding: what was not seen may have been too small for so
    few images. The smallest distance that would have been told from the floor stands beside it.
    """
    if equivalent(metric, -math.inf, FLOOR_MARGIN * floor):
        margin = Quantity(FLOOR_MARGIN - 1, "percent")
        return Sentence("distance.level", {"who": who, "margin": margin})
    seen, ratio = smallest_seen(metric), ratio_to_floor(metric)
    if seen is not None and metric.low is not None and metric.low <= floor:
        of, n = too_few(metric)
        values: dict[str, Value] = {"who": who, "n": n}
        return Sentence(
            f"distance.open{of}", values | {"ratio": Quantity(1 + seen / floor, "ratio")}
        )
    if ratio is None:
        return Sentence("distance.plain", {"who": who, **measured(metric)})
    return Sentence("distance.times", {"who": who, "ratio": Quantity(ratio, "ratio")})


def distance_reference(columns: Sequence[Column]) -> Sentence | None:
    """Whether the nearest model depends on the reference, where both references decide."""
    winners: dict[str, Name] = {}
    for column in columns:
        leader = best(column) if column.name == "frechet_distance" else None
        if leader is not None and not column.extrapolated:
            winners.setdefault(column.reference, column.scores[leader][0])
    if not {"test", "train"} <= winners.keys():
        return None
    if winners["test"] == winners["train"]:
        return Sentence("distance.same", {}, "distance")
    return Sentence("distance.other", {**winners}, "distance")


# What the pictures show


def recognisable_shares(column: Column) -> Sentence | None:
    """The recognisable share of every model beside that of real images."""
    if not column.scores:
        return None
    clauses = tuple(
        Sentence("recognisable.clause", {"who": who, **measured(metric, "percent")})
        for who, metric in column.scores
    )
    if len(column.floors) != 1:
        return Sentence("recognisable.only", {"clauses": clauses}, "recognisable")
    floor = Quantity(column.floors[0], "percent")
    values: dict[str, Value] = {"floor": floor, "clauses": clauses}
    return Sentence("recognisable.shares", values, "recognisable")


def told_from_real(columns: Sequence[Column]) -> list[Sentence]:
    """One sentence per model: how often a classifier tells its samples from real images."""
    scores = [pair for column in columns if column.name == "real_or_fake" for pair in column.scores]
    sentences = []
    for who, metric in scores:
        if metric.floor is None or metric.low is None:
            continue
        key = "told" if metric.low > metric.floor else "level"
        values: dict[str, Value] = {"who": who, "floor": Quantity(metric.floor, "percent")}
        numbers = measured(metric, "percent")
        sentences.append(Sentence(f"real_or_fake.{key}", {**values, **numbers}, "realism"))
    return sentences


def sharpness_of_each(columns: Sequence[Column]) -> list[Sentence | None]:
    """One sentence per model with a sharpness."""
    scores = [pair for column in columns if column.name == "sharpness" for pair in column.scores]
    return [sharpness_of(who, metric) for who, metric in scores]


def sharpness_of(who: Name, metric: MetricRecord) -> Sentence | None:
    """How sharp beside real images, by where the whole interval lies: one band for all families.

    Level within the band around real images, blurry below it, over-sharp above it; else softer or
    sharper than real images without a decision whether by more than the band; else open.
    """
    if metric.floor is None or metric.low is None or metric.high is None:
        return None
    key, seen = sharpness_key(metric), smallest_seen(metric)
    if key in ("level", "open") and metric.n is None:
        return None
    aside: Value = Sentence("aside", {"note": metric.note}) if metric.note else ""
    of, n = too_few(metric)
    values: dict[str, Value] = {"who": who, "n": n, "aside": aside}
    values["margin"] = Quantity(SHARPNESS_MARGIN, "percent")
    values["seen"] = Quantity((seen or 0.0) / metric.floor, "percent")
    key += of if key == "open" else ""
    return Sentence(f"sharpness.{key}", {**values, **measured(metric)}, "sharpness")


def sharpness_key(metric: MetricRecord) -> str:
    """blurry, over, level, softer, sharper or open; needs floor and interval."""
    floor, low, high = metric.floor or 1.0, metric.low or 0.0, metric.high or 0.0
    bottom, top = (1 - SHARPNESS_MARGIN) * floor, (1 + SHARPNESS_MARGIN) * floor
    if equivalent(metric, bottom, top):
        return "level"
    if high < bottom:
        return "blurry"
    if low > top:
        return "over"
    return "softer" if high < floor else "sharper" if low > floor else "open"


def sharpness_order(column: Column) -> Sentence | None:
    """The order as measured, when no two intervals overlap."""
    order = ascending(column)
    return Sentence("sharpness.order", {"order": order}, "sharpness") if order else None


def copies_of_each(columns: Sequence[Column]) -> list[Sentence | None]:
    """Whose samples are too near to training images, whose are not, of whom it is not decided."""
    scores = [pair for column in columns if column.name == "memorised" for pair in column.scores]
    return [copies_of(who, metric) for who, metric in scores]


def copies_of(who: Name, metric: MetricRecord) -> Sentence | None:
    """By its whole interval, beside the share that a model has that copies nothing."""
    if metric.floor is None or metric.low is None or metric.high is None:
        return None
    most = MEMORISED_MARGIN * metric.floor
    of, n = too_few(metric)
    key = "near" if metric.low > metric.floor else f"open{of}"
    if equivalent(metric, 0.0, most):
        key = "none"
    values: dict[str, Value] = {"who": who, "most": Quantity(most, "percent"), "n": n}
    values["floor"] = Quantity(metric.floor, "percent")
    return Sentence(f"memorised.{key}", values | measured(metric, "percent"), "variety")


def shares_of_each(columns: Sequence[Column], *names: str) -> list[Sentence | None]:
    """One sentence per model with a share of this name, beside what real images have of it."""
    return [
        Sentence(
            f"{column.name}.share" if metric.floor is not None else f"{column.name}.only",
            {"who": who, **measured(metric, "percent")}
            | {"floor": Quantity(metric.floor or 0.0, "percent")},
            "variety",
        )
        for column in columns
        if column.name in names
        for who, metric in column.scores
    ]


# Likelihood and reconstruction


def value_of_each(columns: Sequence[Column], name: str) -> list[Sentence | None]:
    """One sentence per model with this metric, or with a reason for none."""
    cells = [cell for column in columns if column.name == name for cell in column.cells]
    return [value_of(cell.name, cell.metric, cell.run) for cell in cells]


def value_of(who: Name, metric: MetricRecord | None, run: Run | None = None) -> Sentence | None:
    """The value, called a bound where it is one; or why there is none.

    run: whose reconstructions have the size of their code and their seconds beside them
    """
    if metric is None:
        return None
    key, topic, _ = RANKED[metric.name]
    if not metric.defined:
        note = metric.note
        return Sentence(f"{key}.none", {"who": who, "note": note}, topic) if note else None
    bound = metric.name == "bits_per_dim" and metric.kind == "upper bound"
    values: dict[str, Value] = {"who": who, **measured(metric)}
    if metric.name == "reconstruction_psnr":
        values["code"] = "" if run is None else code_of(run)
    return Sentence(f"{key}.{'bound' if bound else 'value'}", values, topic)


def code_of(run: Run) -> Value:
    """From how many numbers a run's reconstructions are made, and in which time."""
    size, seconds = run.cost.get("code_size"), run.cost.get("reconstruct_seconds_per_image")
    if size is None:
        return ""
    values: dict[str, Value] = {"n": round(size), "of": "", "time": ""}
    if run.record is not None:
        data = run.record.data
        whole = data.channels * data.resolution**2
        values["of"] = Sentence("reconstruction.code.of", {"n": whole})
    if seconds is not None:
        values["time"] = Sentence("reconstruction.code.time", {"time": Quantity(seconds, "time")})
    return Sentence("reconstruction.code", values)


def reconstruction_best(column: Column) -> Sentence | None:
    """As `leading`, with a caution where the best one keeps more of an image than another does."""
    sentence, leader = leading(column), best(column)
    if sentence is None or leader is None:
        return None
    key = "reconstruction.best.larger" if keeps_more(column, leader) else sentence.key
    return Sentence(key, sentence.values, sentence.topic)


def unlike_bounds(column: Column) -> Sentence | None:
    """That bounds found in unlike ways are not ranked, where several stand side by side."""
    bounds = {(metric.kind, metric.method) for _, metric in column.scores}
    if len(bounds) < 2 or not any("bound" in kind for kind, _ in bounds):
        return None
    return Sentence("likelihood.unlike", {}, "likelihood")


# What may flatter a number


def flattered(comparison: Comparison) -> list[Sentence | None]:
    """What a model was given that is like what it is measured by, with the independent numbers.

    A prior around training images, groups found in them that guide the sampler, snapshots chosen on
    features like those measured, and a classifier that has seen the images behind a floor.
    """
    sentences: list[Sentence | None] = []
    for run, who in named_runs(comparison.runs):
        codes = {note.code for note in run.warnings}
        codes |= {metric.note.code for metric in run.metrics if metric.note}
        for code, key in FLATTERING.items():
            if code in codes or (code == "chosen" and run.chosen is not None):
                sentences.append(Sentence(key, {"who": who}, "flattered"))
        sentences += [
            Sentence("flattered.floor", {"note": note}, "flattered")
            for note in run.warnings
            if note.code == "floor_of_training_images"
        ]
    baseline = comparison.baseline
    if baseline and around_images(baseline) and not all(map(around_images, comparison.runs)):
        sentences.append(Sentence("flattered.baseline", {}, "flattered"))
    return sentences


def around_images(run: Run) -> bool:
    """Whether its draws are made around training images."""
    return any(note.code == "prior_of_training_images" for note in run.warnings)


FLATTERING = {  # notes of runs and of their numbers, and the sentence that says what follows
    "prior_of_training_images": "flattered.prior",
    "guided_to_groups": "flattered.groups",
    "chosen": "flattered.snapshots",
}


def probe_of_each(column: Column) -> Sentence | None:
    """What can be read off each representation, beside raw pixels."""
    if not column.scores or len(column.floors) != 1:
        return None
    clauses = tuple(
        Sentence("probe.clause", {"who": who, **measured(metric, "percent")})
        for who, metric in column.scores
    )
    values: dict[str, Value] = {"floor": Quantity(column.floors[0], "percent"), "clauses": clauses}
    return Sentence("probe.shares", values, "representation")


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
    counts = {len(run.trainings) or 1 for run in trained_here(runs)}
    apart = len({(run.model, run.variant) for run in runs}) == len(runs)
    if len(runs) < 2 or not counts or not apart:
        return None
    if len(counts) > 1:
        least, most = min(counts), max(counts)
        return Sentence("caution.trainings.mixed", {"least": least, "most": most}, "caution")
    if counts == {1}:
        spread = Quantity(TRAINING_SPREAD["frechet_distance"], "percent")
        return Sentence("caution.seeds", {"spread": spread}, "caution")
    return Sentence("caution.trainings", {"n": counts.pop()}, "caution")


def together(columns: Sequence[Column]) -> Sentence | None:
    """How many comparisons were made, and that they were decided together."""
    count = comparisons(columns)
    return Sentence("caution.together", {"n": count}, "caution") if count > 1 else None


def unequal(comparison: Comparison) -> Sentence | None:
    """A reminder of the mark at the top."""
    return Sentence("caution.unequal", {}, "caution") if comparison.unequal else None
