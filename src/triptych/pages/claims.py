"""What the practical's reports say of the three families, held against these measurements.

A claim is supported or not only where intervals decide it; else it is not decided by these data,
or nobody measured what would tell. Costs carry no interval: there a ratio of 1.2 tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from triptych.comparison.significance import LEVEL, difference, higher, variance_of
from triptych.pages import verdict
from triptych.pages.columns import SAME_TIME, Column, costs, make_columns, name_runs, runners_up
from triptych.pages.language import Language, Name, Quantity, Sentence, Value
from triptych.pages.load import Comparison, Run, trained_here
from triptych.records import MetricRecord

Verdict = Literal["supported", "refuted", "undecided", "unmeasured"]
NEARLY = 0.9  # of the sharpness of real images: what counts as without blur
FEWEST_TRAININGS = 3  # below so many their spread says nothing
BELOW = {"below": True, "above": False, "across": None}  # whether an interval is below a limit


@dataclass(frozen=True)
class Finding:
    """A verdict and the numbers that it rests on."""

    verdict: Verdict
    sentences: tuple[Sentence, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim as the page shows it."""

    family: str
    words: str
    verdict: Verdict
    judged: str
    numbers: tuple[str, ...]


class Evidence:
    """The measurements, looked up by family and metric."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.names = runs, name_runs(runs)
        self.columns = [c for c in make_columns(runs) if not c.extrapolated]

    def column(self, *names: str) -> Column | None:
        """The first column of the first of these metrics that was measured."""
        for name in names:
            for column in self.columns:
                if column.name == name and column.scores:
                    return column
        return None

    def of(self, family: str, name: str) -> list[tuple[Name, MetricRecord]]:
        """What a family's models scored in the first column of a metric."""
        column = self.column(name)
        if column is None:
            return []
        return [(who, metric) for who, metric in column.scores if who.family == family]

    def undefined(self, family: str, name: str) -> list[Sentence]:
        """The reasons why a family's models have no such number."""
        return [
            Sentence("claim.undefined", {"who": who, "note": metric.note or ""})
            for run, who in zip(self.runs, self.names, strict=True)
            for metric in run.metrics
            if run.family == family and metric.name == name and not metric.defined
        ]


def judge_all(comparison: Comparison, language: Language) -> list[Claim]:
    """Every claim about a family that has a model here."""
    trained = trained_here(comparison.runs)
    evidence = Evidence(trained)
    families = {run.family for run in trained}
    elsewhere = tuple(
        name
        for run, name in zip(comparison.runs, name_runs(comparison.runs), strict=True)
        if run.samples is not None
    )
    claims = []
    for key, (family, judge) in CLAIMS.items():
        if family not in families:
            continue
        finding = judge(evidence, family)
        if finding == Finding("unmeasured") and elsewhere:
            finding = Finding("unmeasured", (Sentence("claim.elsewhere", {"who": elsewhere}),))
        claims.append(
            Claim(
                family=family,
                words=language.text(f"claim.{key}"),
                verdict=finding.verdict,
                judged=language.text(f"judged.{finding.verdict}"),
                numbers=tuple(language.tell(sentence) for sentence in finding.sentences),
            )
        )
    return claims


def judged(decisions: Iterable[bool | None], sentences: Sequence[Sentence]) -> Finding:
    """The finding of decisions that agree; None is one whose interval decides nothing."""
    distinct = set(decisions)
    if not distinct:
        return Finding("unmeasured")
    agreed = distinct.pop() if len(distinct) == 1 else None
    verdicts: dict[bool | None, Verdict] = {True: "supported", False: "refuted"}
    return Finding(verdicts.get(agreed, "undecided"), tuple(sentences))


def contrary(finding: Finding) -> Finding:
    """What refutes a claim supports its contrary."""
    turned: dict[Verdict, Verdict] = {"supported": "refuted", "refuted": "supported"}
    return replace(finding, verdict=turned.get(finding.verdict, finding.verdict))


def side(metric: MetricRecord, limit: float) -> Literal["below", "above", "across"]:
    """Where a whole interval lies."""
    if metric.high is not None and metric.high < limit:
        return "below"
    return "above" if metric.low is not None and metric.low > limit else "across"


def numbers(
    key: str, scores: Sequence[tuple[Name, MetricRecord]], percent: bool = False
) -> list[Sentence]:
    """A sentence on each model: {who}, {value}, {interval} and {floor}."""
    form: Literal["percent", "number"] = "percent" if percent else "number"
    return [
        Sentence(
            key,
            {"who": who, **verdict.measured(metric, form)}
            | {"floor": "" if metric.floor is None else Quantity(metric.floor, form)},
        )
        for who, metric in scores
    ]


def blurry(evidence: Evidence, family: str) -> Finding:
    """Sharpness wholly below that of real images."""
    scores = evidence.of(family, "sharpness")
    decisions = (BELOW[side(m, m.floor or 1.0)] for _, m in scores)
    return judged(decisions, numbers("claim.sharpness", scores))


def not_blurry(evidence: Evidence, family: str) -> Finding:
    """Sharpness at least nearly that of real images, by its whole interval."""
    scores = evidence.of(family, "sharpness")
    decisions: list[bool | None] = []
    for _, metric in scores:
        real = metric.floor or 1.0
        level = metric.low is not None and metric.low >= NEARLY * real
        decisions.append(True if level else False if side(metric, real) == "below" else None)
    return judged(decisions, numbers("claim.sharpness", scores))


def sharper(evidence: Evidence, family: str) -> Finding:
    """Sharper than every VAE."""
    ours, vaes = evidence.of(family, "sharpness"), evidence.of("vae", "sharpness")
    decisions = (
        {"first": True, "second": False}.get(higher(mine, theirs) or "")
        for (_, mine), (_, theirs) in product(ours, vaes)
    )
    return judged(decisions, numbers("claim.sharpness", [*ours, *vaes]))


def followed(evidence: Evidence, family: str) -> Finding:
    """A likelihood, or a bound on it, is there as a number."""
    scores = evidence.of(family, "bits_per_dim")
    if scores:
        return Finding("supported", tuple(numbers("claim.bits", scores)))
    reasons = evidence.undefined(family, "bits_per_dim")
    return Finding("refuted" if reasons else "unmeasured", tuple(reasons))


def no_likelihood(evidence: Evidence, family: str) -> Finding:
    """The likelihood is not defined."""
    return contrary(followed(evidence, family))


def reconstructs_worse(evidence: Evidence, family: str) -> Finding:
    """Another family brings held-out images back better."""
    column = evidence.column("reconstruction_psnr")
    scores = evidence.of(family, "reconstruction_psnr")
    if column is None or not scores:
        return Finding("unmeasured")
    others = [metric for who, metric in column.scores if who.family != family]
    decisions = [beaten(mine, others) for _, mine in scores] if others else []
    return judged(decisions, numbers("claim.psnr", column.scores))


def beaten(mine: MetricRecord, others: Sequence[MetricRecord]) -> bool | None:
    """Whether another one is better; False where this one is better than all, else None."""
    differences = [difference(mine, other) for other in others]
    if any(each and each.better == "second" for each in differences):
        return True
    return False if all(each and each.better == "first" for each in differences) else None


def best_samples(evidence: Evidence, family: str) -> Finding:
    """Nearest to real images."""
    column = evidence.column("frechet_distance", "kernel_distance")
    if column is None or len(column.scores) < 2:
        return Finding("unmeasured")
    ours = [m for who, m in column.scores if who.family == family]
    others = [m for who, m in column.scores if who.family != family]
    losses = [beaten(mine, others) for mine in ours] if others else []
    better = [None if lost is None else not lost for lost in losses]
    behind = [
        Sentence("claim.behind", {"who": who, "value": Quantity(apart.value)})
        for who, apart in runners_up(column)
    ]
    return judged(better, [*numbers("claim.distance", column.scores), *behind])


def odd(evidence: Evidence, family: str) -> Finding:
    """Fewer samples are recognised than real images."""
    scores = evidence.of(family, "recognisable")
    decisions = (BELOW[side(m, m.floor)] for _, m in scores if m.floor is not None)
    return judged(decisions, numbers("claim.recognisable", scores, percent=True))


def only_the_eye_judges(evidence: Evidence, family: str) -> Finding:
    """No number tells its samples from those of others; one that does refutes this."""
    counted = decided = 0
    for column in evidence.columns:
        ours = [m for who, m in column.scores if who.family == family]
        others = [m for who, m in column.scores if who.family != family]
        for mine in ours:
            counted += 1
            differences = [difference(mine, other) for other in others]
            decided += any(each and each.better != "undecided" for each in differences)
    if not counted:
        return Finding("unmeasured")
    values: dict[str, Value] = {"n": counted, "decided": decided}
    verdict: Verdict = "refuted" if decided else "undecided"
    return Finding(verdict, (Sentence("claim.counted", values),))


def uncontrolled(evidence: Evidence, family: str) -> Finding:
    """Samples of a chosen class cannot be drawn: it was trained without labels."""
    conditional = [
        (who, run.record.labels is not None)
        for run, who in zip(evidence.runs, evidence.names, strict=True)
        if run.family == family and run.record is not None
    ]
    sentences = [
        Sentence("claim.conditional" if labelled else "claim.unconditional", {"who": who})
        for who, labelled in conditional
    ]
    return judged([not labelled for _, labelled in conditional], sentences)


def unstable(evidence: Evidence, family: str) -> Finding:
    """Distances of several trainings vary more than those of every other family's models.

    By the interval of the ratio of two variances, each of values over their mean (Fisher's F).
    """
    column = evidence.column("frechet_distance", "kernel_distance")
    relative = [] if column is None else [
        (who, [value / (sum(m.values) / len(m.values)) for value in m.values])
        for who, m in column.scores
        if m.values and len(m.values) >= FEWEST_TRAININGS and sum(m.values) > 0
    ]  # fmt: skip
    ours = [values for who, values in relative if who.family == family]
    others = [values for who, values in relative if who.family != family]
    if not ours or not others:
        return Finding("unmeasured", (Sentence("claim.trainings", {"n": FEWEST_TRAININGS}),))
    decisions = []
    for mine in ours:
        distinct = {more_varied(mine, theirs) for theirs in others}
        decisions.append(distinct.pop() if len(distinct) == 1 else None)
    sentences = [
        Sentence(
            "claim.spread",
            {"who": who, "value": Quantity(math.sqrt(variance_of(values)), "percent")},
        )
        for who, values in relative
    ]
    return judged(decisions, sentences)


def more_varied(mine: Sequence[float], theirs: Sequence[float]) -> bool | None:
    """Whether the ratio of variances is decided by its 95 % interval, and which way."""
    from scipy import special

    ours, other = variance_of(mine), variance_of(theirs)
    degrees = len(mine) - 1, len(theirs) - 1
    if ours > other * float(special.fdtri(*degrees, LEVEL)):
        return True
    return False if other > ours * float(special.fdtri(*degrees[::-1], LEVEL)) else None


def robust(evidence: Evidence, family: str) -> Finding:
    """The contrary of unstable."""
    return contrary(unstable(evidence, family))


def costly(name: str, more: bool, against: str = "") -> Callable[[Evidence, str], Finding]:
    """A judge of whether a family's models cost more (or less) than the others, or one family."""

    def judge(evidence: Evidence, family: str) -> Finding:
        ranked = costs(evidence.runs, name)
        ours = [cost for cost, who in ranked if who.family == family]
        theirs = [
            cost
            for cost, who in ranked
            if who.family != family and (not against or who.family == against)
        ]
        if not ours or not theirs:
            return Finding("unmeasured")
        top, bottom = (min(ours), max(theirs)) if more else (min(theirs), max(ours))
        other_top, other_bottom = (min(theirs), max(ours)) if more else (min(ours), max(theirs))
        decision = True if top >= SAME_TIME * bottom else None
        if other_top >= SAME_TIME * other_bottom:
            decision = False
        sentences = [
            Sentence(f"claim.{name}", {"who": who, "value": Quantity(cost, FORMS[name])})
            for cost, who in ranked
        ]
        return judged([decision], sentences)

    return judge


FORMS: dict[str, Literal["time", "count"]] = {
    "sample_seconds_per_image": "time",
    "train_images_per_second": "count",
}

# In the order in which the practical treats the families; the locales word them.
CLAIMS: dict[str, tuple[str, Callable[[Evidence, str], Finding]]] = {
    "vae.blurry": ("vae", blurry),
    "vae.likelihood": ("vae", followed),
    "vae.reconstruction": ("vae", reconstructs_worse),
    "vae.robust": ("vae", robust),
    "vae.cheap": ("vae", costly("sample_seconds_per_image", more=False, against="diffusion")),
    "gan.sharp": ("gan", sharper),
    "gan.odd": ("gan", odd),
    "gan.evaluation": ("gan", only_the_eye_judges),
    "gan.likelihood": ("gan", no_likelihood),
    "gan.unstable": ("gan", unstable),
    "gan.control": ("gan", uncontrolled),
    "gan.cheap": ("gan", costly("sample_seconds_per_image", more=False, against="diffusion")),
    "diffusion.best": ("diffusion", best_samples),
    "diffusion.clear": ("diffusion", not_blurry),
    "diffusion.slow": ("diffusion", costly("sample_seconds_per_image", more=True)),
    "diffusion.training": ("diffusion", costly("train_images_per_second", more=False)),
}
