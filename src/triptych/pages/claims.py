"""What the practical's reports say of the three families, held against these measurements.

A claim is supported or not only where intervals decide it; else it is not decided by these data,
or nobody measured what would tell, and then the reason is given. Costs carry no interval: there a
ratio of 1.2 tells. Whatever is asked of one family is asked of the others by the same test, and
their answers stand beside its own. Of models that were trained once, numbers of their samples
support a claim for these runs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from triptych.comparison.significance import (
    LEVEL,
    RECOGNISED_MARGIN,
    SHARPNESS_MARGIN,
    Difference,
    beside_floor,
    variance_of,
)
from triptych.pages import verdict
from triptych.pages.columns import (
    SAME_TIME,
    Column,
    best,
    costs,
    make_columns,
    name_runs,
    runners_up,
)
from triptych.pages.language import Language, Name, Quantity, Sentence, Value
from triptych.pages.load import Comparison, Run, trained_here
from triptych.records import MetricRecord, Note
from triptych.words import without_repeats

Verdict = Literal["supported", "refuted", "undecided", "unmeasured"]
FEWEST_TRAININGS = 3  # below so many their spread says nothing
FEWEST_POINTS = 3  # of a curve that can be followed
BOUND = ("bound",)  # objectives whose loss is a bound of the likelihood
CURVES = ("rate", "distortion")  # numbers of diagnoses that are its terms
SMOOTH = 0.5  # deviation of a path's steps over their mean, below which it is called smooth
# Why a number is missing of a model that may well have the ability: nothing follows of the model.
OTHER_REASONS = (
    "all_reconstructions_equal", "few_labels", "labels_not_told", "metric_failed", "no_classifier",
    "no_labels_to_probe", "not_finite_value", "number_of_a_training_missing", "one_class_only",
    "samples_have_no_model",
)  # fmt: skip
# Notes of a training in which something went wrong.
TROUBLE = (
    "discriminator_memorizes", "discriminator_wins", "few_kinds_of_images", "generator_collapsed",
    "gradient_vanished", "ignored_latents", "ignored_latents_pixels", "not_finite", "overfitting",
    "rewinds", "steps_left_out", "unused_latent", "unused_latent_pixels", "unused_level",
    "unused_level_pixels",
)  # fmt: skip
BELOW = {"below": True, "above": False, "across": None}  # whether an interval is below a limit


@dataclass(frozen=True)
class Finding:
    """A verdict and the numbers that it rests on.

    luck: whether it rests on samples of trained models, which another training would change
    form: what the keys of its texts end in, where they depend on more than the verdict
    """

    verdict: Verdict
    sentences: tuple[Sentence, ...] = ()
    luck: bool = False
    form: str = ""


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
        """Of all runs of a page; what was trained elsewhere is left out once all is decided."""
        names = list(zip(runs, name_runs(runs), strict=True))
        here = [(run, name) for run, name in names if run.samples is None]
        self.elsewhere = tuple(name for run, name in names if run.samples is not None)
        self.runs, self.names = [run for run, _ in here], [name for _, name in here]
        columns = [c for c in make_columns(runs) if not c.extrapolated]
        self.columns = [c.without(lambda cell: cell.run.samples is not None) for c in columns]

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

    @property
    def families(self) -> list[str]:
        """Those that have a model here, in order."""
        return list(dict.fromkeys(run.family for run in self.runs))

    def undefined(self, family: str, *names: str) -> list[Sentence]:
        """The reasons why a family's models have no such number."""
        return [
            Sentence("claim.undefined", {"who": who, "note": metric.note or ""})
            for run, who in zip(self.runs, self.names, strict=True)
            for metric in run.metrics
            if run.family == family and metric.name in names and not metric.defined
        ]

    def unmeasured(self, family: str, *names: str, against: bool = False) -> Finding:
        """That nothing decides, and why: a reason of the model, no such number, nobody beside it.

        against: whether it takes models of other families
        """
        reasons = self.undefined(family, *names)
        if against and not reasons and len(self.families) < 2:
            reasons = [Sentence("claim.alone", {})]
        if not reasons and names and not self.of(family, names[0]):
            reasons = [Sentence("claim.absent", {"metric": Sentence(f"metric.{names[0]}")})]
        if not reasons and against:
            others = [each for each in self.families if each != family]
            reasons = [why for each in others for why in self.undefined(each, *names)]
        return Finding("unmeasured", tuple(reasons))

    @property
    def once(self) -> bool:
        """Whether some model was trained but once, so that numbers speak of these runs alone."""
        return any(len(run.trainings) < 2 for run in self.runs)


def judge_all(comparison: Comparison, language: Language) -> list[Claim]:
    """Every claim about a family that has a model here."""
    trained = trained_here(comparison.runs)
    evidence = Evidence(comparison.runs)
    families = {run.family for run in trained}
    claims = []
    for key, (family, judge) in CLAIMS.items():
        if family not in families:
            continue
        finding = judge(evidence, family)
        lonely = {s.key for s in finding.sentences} <= {"claim.alone", "claim.no_cost"}
        if finding.verdict == "unmeasured" and lonely and evidence.elsewhere:
            who: dict[str, Value] = {"who": evidence.elsewhere}
            finding = Finding("unmeasured", (Sentence("claim.elsewhere", who),))
        decided = finding.verdict in ("supported", "refuted")
        once = ".once" if decided and finding.luck and evidence.once else ""
        claims.append(
            Claim(
                family=family,
                words=language.text(f"claim.{key}"),
                verdict=finding.verdict,
                judged=language.text(f"judged.{finding.verdict}{once}"),
                numbers=tuple(language.tell(sentence) for sentence in finding.sentences),
            )
        )
    return claims


def judged(
    decisions: Iterable[bool | None], sentences: Sequence[Sentence], luck: bool = False
) -> Finding:
    """The finding of decisions that agree; None is one whose interval decides nothing."""
    distinct = set(decisions)
    if not distinct:
        return Finding("unmeasured")
    agreed = distinct.pop() if len(distinct) == 1 else None
    verdicts: dict[bool | None, Verdict] = {True: "supported", False: "refuted"}
    return Finding(verdicts.get(agreed, "undecided"), tuple(sentences), luck)


def alike(
    evidence: Evidence, family: str, name: str, decide: Callable[[MetricRecord], bool | None]
) -> Finding:
    """A family's number by a test that all families take: their answers stand beside its own."""
    scores = evidence.of(family, name)
    if not scores:
        return evidence.unmeasured(family, name)
    key, percent = SHOWN[name]
    column = evidence.column(name)
    others = [pair for pair in column.scores if pair[0].family != family] if column else []
    sentences = numbers(key, scores, percent) + same_test(others, decide)
    return judged((decide(metric) for _, metric in scores), sentences, luck=True)


def same_test(
    others: Sequence[tuple[Name, MetricRecord]], decide: Callable[[MetricRecord], bool | None]
) -> list[Sentence]:
    """What the same test finds of others: of whom it is so, of whom not, of whom undecided."""
    answers: dict[bool | None, list[Name]] = {True: [], False: [], None: []}
    for who, metric in others:
        answers[decide(metric)].append(who)
    keys = {True: "claim.same.yes", False: "claim.same.no", None: "claim.same.undecided"}
    return [
        Sentence(keys[answer], {"who": tuple(names)}) for answer, names in answers.items() if names
    ]


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


SHOWN = {  # the sentence that shows a number, and whether it is a share
    "sharpness": ("claim.sharpness", False),
    "recognisable": ("claim.recognisable", True),
    "drawn_path_uniformity": ("claim.unevenness", False),
    "bits_per_dim": ("claim.bits", False),
    "reconstruction_psnr": ("claim.psnr", False),
    "probe_accuracy": ("claim.probe", True),
}


def is_blurry(metric: MetricRecord) -> bool | None:
    """Whether the whole interval is below the band around real images, or none of it."""
    bottom = (1 - SHARPNESS_MARGIN) * (metric.floor or 1.0)
    if metric.low is not None and metric.low >= bottom:
        return False
    return True if side(metric, bottom) == "below" else None


def blurry(evidence: Evidence, family: str) -> Finding:
    """Sharpness below that of real images by more than the margin."""
    return alike(evidence, family, "sharpness", is_blurry)


def not_blurry(evidence: Evidence, family: str) -> Finding:
    """The contrary, by the same band; nor is clear what lies wholly above it, as noise does.

    Where it is not so, the form tells whether by blur, by what lies above, or one model by each.
    """
    finding = alike(evidence, family, "sharpness", is_clear)
    if finding.verdict != "refuted":
        return finding
    over = {is_over(metric) for _, metric in evidence.of(family, "sharpness")}
    return replace(finding, form=".both" if len(over) > 1 else ".over" if over == {True} else "")


def is_over(metric: MetricRecord) -> bool:
    """Whether samples are sharper than real images by more than the margin."""
    return side(metric, (1 + SHARPNESS_MARGIN) * (metric.floor or 1.0)) == "above"


def is_clear(metric: MetricRecord) -> bool | None:
    """Whether samples are neither blurry nor, by as much, sharper than real images."""
    if is_over(metric):
        return False
    blurred = is_blurry(metric)
    return None if blurred is None else not blurred


def sharper(evidence: Evidence, family: str) -> Finding:
    """Sharper than every VAE."""
    ours, vaes = evidence.of(family, "sharpness"), evidence.of("vae", "sharpness")
    column = evidence.column("sharpness")
    if column is None or not ours or not vaes:
        return evidence.unmeasured(family, "sharpness", against=True)
    decisions = (
        {"first": True, "second": False}.get(decided(column.higher(*place(column, mine, theirs))))
        for (mine, _), (theirs, _) in product(ours, vaes)
    )
    return judged(decisions, numbers("claim.sharpness", [*ours, *vaes]), luck=True)


def place(column: Column, *names: Name) -> tuple[int, ...]:
    """Where models stand among a column's scores."""
    order = [who for who, _ in column.scores]
    return tuple(order.index(name) for name in names)


def decided(apart: Difference | None) -> str:
    """Which of the two, or nothing where they cannot be compared."""
    return "" if apart is None else apart.better


def followed(evidence: Evidence, family: str) -> Finding:
    """A bound of the likelihood is logged along the training, as a curve; one number is no curve.

    The same test for all families: a loss that is another quantity is none.
    """
    scores = evidence.of(family, "bits_per_dim")
    curves = [
        (who, curve_points(run))
        for run, who in zip(evidence.runs, evidence.names, strict=True)
        if run.family == family
    ]
    shown = numbers("claim.bits", scores)
    if scores and all(points >= FEWEST_POINTS for _, points in curves):
        lines = [Sentence("claim.curve", {"who": who, "n": n}) for who, n in curves]
        return Finding("supported", (*lines, *shown))
    if scores:
        lines = [Sentence("claim.no_curve", {"who": w}) for w, n in curves if n < FEWEST_POINTS]
        return Finding("unmeasured", (*lines, *shown))
    reasons = evidence.undefined(family, "bits_per_dim")
    return Finding("refuted", tuple(reasons)) if reasons else evidence.unmeasured(
        family, "bits_per_dim"
    )  # fmt: skip


def curve_points(run: Run) -> int:
    """At how many moments of the training a bound of the likelihood was logged."""
    losses = sum(any(name.partition("/")[0] in BOUND for name in line.losses) for line in run.log)
    diagnoses = sum(any(name in each.numbers for name in CURVES) for each in run.diagnoses)
    return max(losses, diagnoses)


def able(name: str) -> Callable[[Evidence, str], Finding]:
    """A judge of whether a family's models give such a number at all.

    A model that lacks the ability says why. A number that is missing for another reason decides
    nothing: then it was not measured.
    """

    def judge(evidence: Evidence, family: str) -> Finding:
        scores = evidence.of(family, name)
        if scores:
            return Finding("supported", tuple(numbers(SHOWN[name][0], scores, SHOWN[name][1])))
        lacking = [s for s in evidence.undefined(family, name) if not is_other_reason(s)]
        return Finding("refuted", tuple(lacking)) if lacking else evidence.unmeasured(family, name)

    return judge


def is_other_reason(undefined: Sentence) -> bool:
    """Whether the number is missing for what lies with the data or the measurement."""
    note = undefined.values["note"]
    return isinstance(note, Note) and note.code in OTHER_REASONS


def no_likelihood(evidence: Evidence, family: str) -> Finding:
    """The likelihood is not defined; for whom it is, the same number is shown."""
    return contrary(able("bits_per_dim")(evidence, family))


def smooth(evidence: Evidence, family: str) -> Finding:
    """The steps of a path between two draws vary by less than half of their mean.

    So much they vary where one half of a path is walked three times as fast as the other.
    """

    def even(metric: MetricRecord) -> bool | None:
        return BELOW[side(metric, SMOOTH)]

    return alike(evidence, family, "drawn_path_uniformity", even)


def easy(evidence: Evidence, family: str) -> Finding:
    """Nothing went wrong in any training of the family, as far as its log and diagnoses tell."""
    warned = [
        (who, troubles_of(run))
        for run, who in zip(evidence.runs, evidence.names, strict=True)
        if run.family == family and run.record is not None
    ]
    if not warned:
        return Finding("unmeasured", (Sentence("claim.no_record"),))
    sentences = [
        Sentence("claim.warned", {"who": who, "n": len(notes), "note": notes[0]})
        if notes
        else Sentence("claim.calm", {"who": who})
        for who, notes in warned
    ]
    return judged([not notes for _, notes in warned], sentences, luck=True)


def troubles_of(run: Run) -> list[Note]:
    """What went wrong along a training: advice of its diagnoses, and warnings of its log."""
    along = (note for each in run.diagnoses for note in each.advice)
    logged = (note for note in run.warnings if note.code in TROUBLE)
    return list(without_repeats((*along, *logged)))


def reconstructs_worse(evidence: Evidence, family: str) -> Finding:
    """Another family brings held-out images back better, from a code that is no larger.

    Who keeps more numbers of an image has it easier: such a lead is shown and decides nothing.
    """
    column = evidence.column("reconstruction_psnr")
    scores = evidence.of(family, "reconstruction_psnr")
    if column is None or not scores or len(scores) == len(column.scores):
        return evidence.unmeasured(family, "reconstruction_psnr", against=True)
    sizes = {cell.name: cell.run.cost.get("code_size") for cell in column.cells}
    decisions, by_larger = [], set()
    for mine, _ in scores:
        for winner in verdict.beating(column, mine):
            if (sizes[winner] or 0.0) > (sizes[mine] or 0.0):
                by_larger.add(winner)
        others = [who for who, _ in column.scores if who.family != family]
        fair = [who for who in others if who not in by_larger]
        lost = beaten(column, mine, fair) if fair else None
        decisions.append(None if lost is False and by_larger else lost)
    sentences = numbers("claim.psnr", column.scores)
    sentences += [
        Sentence("claim.code", {"who": cell.name, "code": verdict.code_of(cell.run)})
        for cell in column.cells
        if cell.defined and cell.run.cost.get("code_size") is not None
    ]
    if by_larger:
        larger = tuple(who for who, _ in column.scores if who in by_larger)
        sentences.append(Sentence("claim.larger", {"who": larger}))
    return judged(decisions, sentences, luck=True)


def beaten(column: Column, mine: Name, others: Sequence[Name]) -> bool | None:
    """Whether another one is better; False where this one is better than all, else None."""
    differences = [column.difference(*place(column, mine, other)) for other in others]
    if any(each and each.better == "second" for each in differences):
        return True
    return False if all(each and each.better == "first" for each in differences) else None


def best_samples(evidence: Evidence, family: str) -> Finding:
    """Nearest to real images, where no other number of the samples says the opposite.

    Among the models trained here; where there are samples from elsewhere too, that is said.
    """
    column = evidence.column("frechet_distance", "kernel_distance")
    ours = [] if column is None else [w for w, _ in column.scores if w.family == family]
    if column is None or not ours or len(ours) == len(column.scores):
        return evidence.unmeasured(family, "frechet_distance", against=True)
    others = [who for who, _ in column.scores if who.family != family]
    better: list[bool | None] = []
    for mine in ours:
        lost = beaten(column, mine, others)
        better.append(None if lost is None else not lost)
    behind = [
        Sentence("claim.behind", {"who": who, "value": Quantity(apart.value)})
        for who, apart in runners_up(column)
    ]
    if (disputed := verdict.distance_disputed(column, evidence.columns)) is not None:
        behind.append(disputed)
    contrary = verdict.contradictions(column, evidence.columns)
    if contrary:
        behind.append(Sentence("claim.contrary", {"clauses": tuple(contrary)}))
        against = {who for other in evidence.columns for who in rivals(column, other)}
        ours_too = bool(against & set(ours))
        better = [None if won or ours_too else won for won in better]
    if evidence.elsewhere:
        behind.append(Sentence("claim.trained_here", {"who": evidence.elsewhere}))
    finding = judged(better, [*numbers("claim.distance", column.scores), *behind], luck=True)
    here = finding.verdict == "supported" and evidence.elsewhere
    return replace(finding, form=".here") if here else finding


def rivals(column: Column, other: Column) -> list[Name]:
    """The models that another measure of the samples calls better than this column's best one."""
    leader = best(column)
    if leader is None or other is column or not verdict.tells_quality(other):
        return []
    return verdict.beating(other, column.scores[leader][0])


def odd(evidence: Evidence, family: str) -> Finding:
    """Fewer samples are recognised than real images, by more than the margin."""
    return alike(evidence, family, "recognisable", is_odd)


def is_odd(metric: MetricRecord) -> bool | None:
    """On which side of the margin below the share of real images; None where it is not decided.

    As good as these is all that a perfect model can be, so no more is asked.
    """
    if metric.floor is None:
        return None
    ends = (metric.floor, metric.floor_low, metric.floor_high)
    floor, low, high = (None if end is None else end - RECOGNISED_MARGIN for end in ends)
    return BELOW[beside_floor(replace(metric, floor=floor, floor_low=low, floor_high=high))]


def recognised(evidence: Evidence, family: str) -> Finding:
    """The contrary of odd."""
    return contrary(odd(evidence, family))


def only_the_eye_judges(evidence: Evidence, family: str) -> Finding:
    """No number tells its samples from those of others; one that does refutes this.

    By differences that are decided among all comparisons of the page.
    """
    counted = told = 0
    for column in evidence.columns:
        ours = [i for i, (who, _) in enumerate(column.scores) if who.family == family]
        others = [i for i, (who, _) in enumerate(column.scores) if who.family != family]
        for mine in ours if others else []:
            counted += 1
            apart = [column.difference(mine, other) for other in others]
            told += any(each and each.better != "undecided" for each in apart)
    if not counted:
        return evidence.unmeasured(family, against=True)
    values: dict[str, Value] = {"n": counted, "decided": told}
    found: Verdict = "refuted" if told else "undecided"
    return Finding(found, (Sentence("claim.counted", values),), luck=True)


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
    if not conditional:
        return Finding("unmeasured", (Sentence("claim.no_record"),))
    return judged([not labelled for _, labelled in conditional], sentences)


def controlled(evidence: Evidence, family: str) -> Finding:
    """The contrary of uncontrolled."""
    return contrary(uncontrolled(evidence, family))


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
        alone = len(evidence.families) < 2
        few = Sentence("claim.alone" if alone else "claim.trainings", {"n": FEWEST_TRAININGS})
        return Finding("unmeasured", (few,))
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


def costly(name: str, more: bool) -> Callable[[Evidence, str], Finding]:
    """A judge of whether a family's models cost more, or less, by one test for all families.

    The middle between the cheapest and the dearest model of the comparison, as a ratio, parts cheap
    from dear; within the ratio that tells of this middle nothing is decided.
    """

    def judge(evidence: Evidence, family: str) -> Finding:
        ranked = costs(evidence.runs, name)
        ours = [cost for cost, who in ranked if who.family == family]
        if not ours or len({who.family for _, who in ranked}) < 2:
            why = "claim.alone" if len(evidence.families) < 2 else "claim.no_cost"
            return Finding("unmeasured", (Sentence(why, {}),))
        middle, reach = math.sqrt(ranked[0][0] * ranked[-1][0]), math.sqrt(SAME_TIME)
        decisions: list[bool | None] = []
        for cost in ours:
            dear = True if cost >= reach * middle else False if cost * reach <= middle else None
            decisions.append(None if dear is None else dear == more)
        sentences = [
            Sentence(f"claim.{name}", {"who": who, "value": Quantity(cost, FORMS[name])})
            for cost, who in ranked
        ]
        return judged(decisions, sentences)

    return judge


FORMS: dict[str, Literal["time", "count"]] = {
    "sample_seconds_per_image": "time",
    "train_images_per_second": "count",
}

# In the order in which the practical treats the families; the locales word them.
CLAIMS: dict[str, tuple[str, Callable[[Evidence, str], Finding]]] = {
    "vae.blurry": ("vae", blurry),
    "vae.smooth": ("vae", smooth),
    "vae.likelihood": ("vae", followed),
    "vae.reconstruction": ("vae", reconstructs_worse),
    "vae.robust": ("vae", robust),
    "vae.cheap": ("vae", costly("sample_seconds_per_image", more=False)),
    "gan.sharp": ("gan", sharper),
    "gan.odd": ("gan", odd),
    "gan.smooth": ("gan", smooth),
    "gan.evaluation": ("gan", only_the_eye_judges),
    "gan.likelihood": ("gan", no_likelihood),
    "gan.unstable": ("gan", unstable),
    "gan.control": ("gan", uncontrolled),
    "gan.cheap": ("gan", costly("sample_seconds_per_image", more=False)),
    "diffusion.best": ("diffusion", best_samples),
    "diffusion.clear": ("diffusion", not_blurry),
    "diffusion.slow": ("diffusion", costly("sample_seconds_per_image", more=True)),
    "diffusion.training": ("diffusion", costly("train_images_per_second", more=False)),
}
