"""The questions of the practical, each answered from the measurements.

A question of yes or no opens with the word that the claims' own tests give (`pages.claims`): one
decision in one place. Then stand why, with its theory, and the numbers. What is to be shown opens
with one sentence on its picture. Question 2.3 asks why, not how much: its answer is an explanation,
and is marked as one. Question 4 is in `pages.balance`.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from triptych.comparison.significance import DISTANCES
from triptych.options import COURSE_EPOCHS, COURSE_RECIPE
from triptych.pages import verdict
from triptych.pages.claims import (
    Evidence,
    Finding,
    Verdict,
    able,
    blurry,
    not_blurry,
    recognised,
    smooth,
)
from triptych.pages.claims import sharper as sharper_than_vaes
from triptych.pages.columns import (
    SAME_TIME,
    Column,
    best,
    costs,
    keeps_more,
    make_columns,
    metric_label,
    named_runs,
    ratio_to_floor,
    worst,
)
from triptych.pages.language import Language, Name, Quantity, Sentence, Value
from triptych.pages.load import Comparison, Run, trained_here
from triptych.pages.panels import load_figure, measure_paths
from triptych.pages.tables import CONTROLS
from triptych.records import DataRecord

COURSE_DATA = ("svhn", 32, 3)  # name, resolution and channels

Reader = Callable[[Sequence[Run], str], list[Sentence]]
Judge = Callable[[Evidence, str], Finding]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One yes or no in a question.

    subject:  what is asked, where a question asks several things: a key of the texts
    judge:    decides, as it does for the claims
    theory:   what the families' theory says of it: a key of the texts, or a maker of the sentence
    expected: the answer that follows from the theory; None where it only explains
    """

    subject: str = ""
    judge: Judge
    theory: str | Callable[[Sequence[Run]], Sentence]
    expected: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question of the practical.

    parts:   what is yes or no in it; none where something is to be shown
    readers: of the numbers
    figures: (family, kind) of the pictures that stand beside the answer
    """

    family: str
    parts: tuple[Part, ...] = ()
    readers: tuple[Reader, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class AnsweredPart:
    """The word of one part, and why."""

    subject: str
    verdict: Verdict
    why: tuple[Sentence, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question with its answer.

    reading:     the sentence that opens what is to be shown
    sentences:   the numbers, or the explanation
    figures:     (family, kind) of the pictures beside it
    explanation: whether it explains and measures nothing
    """

    question: str
    family: str = ""
    parts: tuple[AnsweredPart, ...] = ()
    reading: Sentence | None = None
    sentences: tuple[Sentence, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()
    explanation: bool = False


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """What one model measured best, worst and not at all."""

    name: str
    advantages: tuple[str, ...]
    disadvantages: tuple[str, ...]
    undefined: tuple[str, ...]


def answer_all(runs: Sequence[Run]) -> list[Answer]:
    """Questions 1.3a to 4 in the order of the practical; 4 is answered by `weigh` and `balance`."""
    evidence = Evidence(runs)
    return [answer(name, question, runs, evidence) for name, question in QUESTIONS.items()]


def answer(name: str, question: Question, runs: Sequence[Run], evidence: Evidence) -> Answer:
    """One answer; where its family has no model here, that is what it says."""
    family = question.family
    if not family:
        explained = (Sentence("answer.detach"),) if name == "2.3" else ()
        return Answer(question=name, sentences=explained, explanation=bool(explained))
    if all(run.family != family for run in runs):
        return Answer(question=name, family=family, sentences=(Sentence("practical.absent"),))
    sentences = [s for reader in question.readers for s in reader(runs, family)]
    parts = tuple(answer_part(part, runs, evidence, family) for part in question.parts)
    reading = None
    if not parts:
        reading, *sentences = sentences or [Sentence("practical.nothing")]
    present = {run.family for run in runs}
    return Answer(
        question=name,
        family=family,
        parts=parts,
        reading=reading,
        sentences=tuple(sentences),
        figures=tuple(pair for pair in question.figures if pair[0] in present),
    )


def answer_part(part: Part, runs: Sequence[Run], evidence: Evidence, family: str) -> AnsweredPart:
    """The word, then its theory: as it foretells, against it, or not decided by these numbers."""
    finding = part.judge(evidence, family)
    own = [run for run in runs if run.family == family]
    theory = Sentence(part.theory) if isinstance(part.theory, str) else part.theory(own)
    if finding.verdict == "unmeasured":
        why = finding.sentences or (Sentence("practical.nothing"),)
    elif part.expected is None:
        why = (theory,)
    elif finding.form == ".over":  # theory speaks of blur, and there is none
        why = (Sentence("why.over", {"theory": theory}),)
    else:
        foretold: Verdict = "supported" if part.expected else "refuted"
        key = "as" if finding.verdict == foretold else "against"
        key = "open" if finding.verdict == "undecided" else key
        why = (Sentence(f"why.{key}", {"theory": theory}),)
    return AnsweredPart(subject=part.subject, verdict=finding.verdict, why=why)


def theory_of_blur(runs: Sequence[Run]) -> Sentence:
    """By the distribution that the recipe gives to pixels."""
    recipes = {run.recipe for run in runs}
    recipe = recipes.pop() if len(recipes) == 1 else ""
    return Sentence(f"theory.blur.{recipe}" if recipe in PIXELS else "theory.blur.other")


PIXELS = ("course", "sigma", "ladder")  # recipes of the VAE whose pixels the texts describe


def theory_of_inversion(runs: Sequence[Run]) -> Sentence:
    """What was added to the GAN so that it can encode, by its own settings."""
    return Sentence("theory.inversion", {"added": added(runs)})


def theory_of_features(runs: Sequence[Run]) -> Sentence:
    """Whose features represent an image."""
    there = any(inversion_of(run) for run in runs)
    return Sentence("theory.features" if there else "theory.no_features")


def added(runs: Sequence[Run]) -> Sentence:
    """The encoder that learns to invert the generator, and how its answer is refined."""
    for run in runs:
        if settings := inversion_of(run):
            share, steps = settings.get("share"), settings.get("steps")
            if isinstance(share, int | float) and isinstance(steps, int):
                values: dict[str, Value] = {"share": Quantity(float(share), "percent"), "n": steps}
                return Sentence("added.inversion", values)
    return Sentence("added.nothing")


def inversion_of(run: Run) -> dict[str, object]:
    """The settings of a run's inversion encoder; empty where it has none."""
    settings = {} if run.record is None else run.record.settings
    inversion = settings.get("inversion")
    return dict(inversion) if isinstance(inversion, dict) else {}


def departures(comparison: Comparison) -> list[Sentence]:
    """In what this page's recipes, data, budget and sampling are not the practical's."""
    contract, sentences = comparison.contract, []
    runs = named_runs(comparison.runs)
    others = tuple(model_of(run, who) for run, who in runs if not is_course(run))
    if others:
        sentences.append(Sentence("departure.recipes", {"models": others}))
    changed = dict.fromkeys(each for run, _ in runs for each in changed_settings(run))
    if changed:
        sentences.append(Sentence("departure.settings", {"settings": tuple(changed)}))
    data = contract.data
    shape = (data.resolution, data.channels) if isinstance(data, DataRecord) else ()
    if (data.name, *shape) != COURSE_DATA:
        values: dict[str, Value] = {"data": data.name, "shape": ""}
        if isinstance(data, DataRecord):
            pixels: dict[str, Value] = {"n": data.resolution, "channels": data.channels}
            values["shape"] = Sentence("departure.shape", pixels)
        sentences.append(Sentence("departure.data", values))
    budget = contract.budget
    if budget is not None and (budget.amount, budget.unit) != (COURSE_EPOCHS, "epochs"):
        asked: dict[str, Value] = {"budget": budget.asked, "n": COURSE_EPOCHS}
        sentences.append(Sentence("departure.budget", asked))
    sampled = [(w, n) for r, w in runs for n in r.warnings if n.code == "measured_by_sampler"]
    sentences += [Sentence("departure.sampler", {"who": w, "note": n}) for w, n in sampled]
    return sentences


def is_course(run: Run) -> bool:
    """Whether a run is of one of the practical's own recipes."""
    return run.samples is None and run.recipe == COURSE_RECIPE


def model_of(run: Run, who: Name) -> Value:
    """What it is called with its recipe; samples from elsewhere by their name."""
    return who if run.samples is not None else run.model


def changed_settings(run: Run) -> list[str]:
    """The settings that were changed by --set, as the command of a run of the practical tells."""
    if run.record is None or not is_course(run):
        return []
    try:
        words = shlex.split(run.record.command)
    except ValueError:  # quotes that do not close: of a damaged or foreign file
        return []
    return [value for option, value in pairwise(words) if option == "--set"]


def columns_named(runs: Sequence[Run], *names: str) -> list[Column]:
    """The columns of these metrics."""
    return [column for column in make_columns(runs) if column.name in names]


def near_to_real(runs: Sequence[Run], family: str) -> list[Sentence]:
    """One sentence on how near the samples are to real images, beside these among themselves."""
    for column in verdict.first_references(columns_named(runs, *DISTANCES)):
        own = tuple(
            verdict.to_floor(who, metric, metric.floor)
            for who, metric in column.scores
            if who.family == family and metric.floor is not None and metric.floor > 0
        )
        if own:
            values: dict[str, Value] = {"measure": verdict.measure(column), "clauses": own}
            return [Sentence("reading.samples", values)]
    return []


def quality(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Distances of this family's models over the floor."""
    sentences = []
    for column in verdict.first_references(columns_named(runs, *DISTANCES)):
        for who, metric in column.scores:
            ratio = ratio_to_floor(metric)
            if who.family != family or ratio is None:
                continue
            values: dict[str, Value] = {"who": who, "measure": verdict.measure(column)}
            values |= {"ratio": Quantity(ratio, "ratio"), **verdict.measured(metric)}
            sentences.append(Sentence("answer.distance", values))
    return sentences


def blur(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Sharpness of this family's samples against real images."""
    sentences = [
        verdict.sharpness_of(who, metric)
        for column in columns_named(runs, "sharpness")
        for who, metric in column.scores
        if who.family == family
    ]
    return [sentence for sentence in sentences if sentence is not None]


def recognised_shares(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Recognisable share of this family's samples beside that of real images."""
    sentences = []
    for column in columns_named(runs, "recognisable"):
        for who, metric in column.scores:
            if who.family == family and metric.floor is not None:
                floor = Quantity(metric.floor, "percent")
                values: dict[str, Value] = {"who": who, "floor": floor}
                values |= verdict.measured(metric, "percent")
                sentences.append(Sentence("answer.recognisable", values))
    return sentences


def sharper(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Each model of this family against each VAE: sharper, not sharper, or undecided."""
    sentences = []
    for column in columns_named(runs, "sharpness"):
        ours = [(i, *score) for i, score in enumerate(column.scores) if score[0].family == family]
        vaes = [(i, *score) for i, score in enumerate(column.scores) if score[0].family == "vae"]
        for (i, who, mine), (j, vae, theirs) in product(ours, vaes):
            apart = column.higher(i, j)
            if not mine.value or not theirs.value or apart is None:
                continue
            decided = apart.better
            ratio = Quantity(mine.value / theirs.value, "ratio")
            values: dict[str, Value] = {"sharp": who, "soft": vae, "ratio": ratio}
            if decided == "undecided":
                sentences.append(Sentence("answer.sharper.undecided", {"who": (who, vae)}))
            else:
                key = "sharper" if decided == "first" else "not_sharper"
                sentences.append(Sentence(f"answer.{key}", values))
    return sentences


def paths(runs: Sequence[Run], family: str) -> list[Sentence]:
    """Path lengths where they were measured, and what the picture's own pixels tell."""
    sentences = [
        Sentence(f"answer.{column.name}", {"who": who, **verdict.measured(metric)})
        for column in columns_named(runs, "drawn_path_length", "path_length")
        for who, metric in column.scores
        if who.family == family
    ]
    for run, who in named_runs(runs):
        if run.family != family or run.folder is None:
            continue
        measured = measure_paths(load_figure(run.folder / "figures" / "interpolation"))
        if measured is not None:
            uneven = Quantity(measured.unevenness - 1, "percent")
            values: dict[str, Value] = {"who": who, "rows": measured.rows, "uneven": uneven}
            sentences.append(Sentence("answer.path", values))
            ends: dict[str, Value] = {"left": round(measured.first), "right": round(measured.last)}
            sentences.append(Sentence("answer.brightness", ends))
    return sentences


def value_of(name: str) -> Reader:
    """The reader that tells a metric of this family's models, or why they have none."""

    def reader(runs: Sequence[Run], family: str) -> list[Sentence]:
        sentences = [
            verdict.value_of(cell.name, cell.metric, cell.run)
            for column in columns_named(runs, name)
            for cell in column.cells
            if cell.run.family == family
        ]
        return [sentence for sentence in sentences if sentence is not None]

    return reader


def represent(runs: Sequence[Run], family: str) -> list[Sentence]:
    """The probe's accuracy, its reason for having none, or that nobody measured it."""
    sentences = []
    for run, who in named_runs(runs):
        if run.family != family:
            continue
        probes = [metric for metric in run.metrics if metric.name == "probe_accuracy"]
        if not probes:
            sentences.append(Sentence("answer.represent.none", {"who": who}))
        for metric in probes:
            if metric.defined:
                values = {"who": who, **verdict.measured(metric, "percent")}
                sentences.append(Sentence("answer.represent", values))
            else:
                values = {"who": who, "note": metric.note or ""}
                sentences.append(Sentence("answer.represent.undefined", values))
    return sentences


def weigh(runs: Sequence[Run], language: Language) -> list[Weighed]:
    """Question 4: per model, the columns that it leads or closes, and what it cannot do."""
    columns = make_columns(runs)
    labels = [weigh_label(column, language) for column in columns]
    weighed = []
    for run, who in named_runs(runs):
        weighed.append(
            Weighed(
                name=language.tell(Sentence("name", {"who": who})),
                advantages=(
                    *led(columns, labels, who, best),
                    *time_led(trained_here(runs), who, language, True),
                ),
                disadvantages=(
                    *led(columns, labels, who, worst),
                    *time_led(trained_here(runs), who, language, False),
                ),
                undefined=tuple(
                    dict.fromkeys(
                        label
                        for column, label in zip(columns, labels, strict=True)
                        for cell in column.cells
                        if cell.run is run
                        and cell.metric is not None
                        and not cell.defined
                        and column.name not in CONTROLS
                    )
                ),
            )
        )
    return weighed


def weigh_label(column: Column, language: Language) -> str:
    """The metric's name; of a distance its reference and features, which tell columns apart."""
    label = metric_label(column, language)
    if column.name not in DISTANCES:
        return label
    details = []
    if column.reference in ("test", "train", "validation"):
        details.append(language.text(f"reference.{column.reference}"))
    if column.features:
        features = language.value(verdict.features_noun(column))
        details.append(language.fill("on.features", features=features))
    return f"{label} ({', '.join(details)})" if details else label


def led(
    columns: Sequence[Column],
    labels: Sequence[str],
    who: Name,
    extreme: Callable[[Column], int | None],
) -> list[str]:
    """Labels of the columns in which this model is the best, or the worst."""
    ends = [(column, extreme(column)) for column in columns]
    return [
        label
        for (column, index), label in zip(ends, labels, strict=True)
        if index is not None
        and column.scores[index][0] == who
        and is_fair(column, index, extreme is best)
    ]


def is_fair(column: Column, index: int, leads: bool) -> bool:
    """Whether those who are ahead do not reconstruct from more numbers of an image than others.

    leads: whether the one at the index is ahead of all the others; else it is behind them all
    """
    ahead = [i for i in range(len(column.scores)) if (i == index) == leads]
    return not any(keeps_more(column, i) for i in ahead)


def time_led(runs: Sequence[Run], who: Name, language: Language, least: bool) -> list[str]:
    """Sampling time, where this model's differs from the next one's by the ratio that tells."""
    ranked = costs(runs, "sample_seconds_per_image")
    if len(ranked) < 2 or len(ranked) < len(runs):
        return []
    ends = (ranked[0], ranked[1]) if least else (ranked[-1], ranked[-2])
    apart = max(ends[0][0], ends[1][0]) >= SAME_TIME * min(ends[0][0], ends[1][0])
    return [language.text("cost.sample_seconds_per_image")] if apart and ends[0][1] == who else []


RECONSTRUCTION, LIKELIHOOD = value_of("reconstruction_psnr"), value_of("bits_per_dim")
VAE_SAMPLES, GAN_SAMPLES = ("vae", "samples"), ("gan", "samples")
DIFFUSION_SAMPLES = ("diffusion", "samples")

QUESTIONS = {
    "1.3a": Question(
        family="vae",
        readers=(RECONSTRUCTION, near_to_real),
        figures=(("vae", "reconstruction"), VAE_SAMPLES),
    ),
    "1.3b": Question(
        family="vae",
        parts=(Part(judge=blurry, theory=theory_of_blur, expected=True),),
        readers=(blur,),
        figures=(VAE_SAMPLES,),
    ),
    "1.3c": Question(
        family="vae",
        parts=(Part(judge=smooth, theory="theory.path.vae", expected=True),),
        readers=(paths,),
        figures=(("vae", "interpolation"),),
    ),
    "2.2a": Question(family="gan", readers=(near_to_real, quality), figures=(GAN_SAMPLES,)),
    "2.2b": Question(
        family="gan",
        parts=(
            Part(
                subject="part.sharper",
                judge=sharper_than_vaes,
                theory="theory.sharper",
                expected=True,
            ),
            Part(
                subject="part.recognised",
                judge=recognised,
                theory="theory.odd.gan",
                expected=False,
            ),
        ),
        readers=(sharper, recognised_shares),
        figures=(GAN_SAMPLES, VAE_SAMPLES),
    ),
    "2.2c": Question(
        family="gan",
        parts=(Part(judge=smooth, theory="theory.path.gan", expected=True),),
        readers=(paths,),
        figures=(("gan", "interpolation"),),
    ),
    "2.3": Question(family=""),
    "2.4": Question(
        family="gan",
        parts=(
            Part(
                subject="part.reconstruct",
                judge=able("reconstruction_psnr"),
                theory=theory_of_inversion,
            ),
            Part(
                subject="part.represent",
                judge=able("probe_accuracy"),
                theory=theory_of_features,
            ),
            Part(
                subject="part.likelihood",
                judge=able("bits_per_dim"),
                theory="theory.density",
            ),
        ),
        readers=(RECONSTRUCTION, represent, LIKELIHOOD),
        figures=(("gan", "reconstruction"),),
    ),
    "3.2a": Question(
        family="diffusion",
        readers=(near_to_real, quality),
        figures=(DIFFUSION_SAMPLES, ("diffusion", "trajectory")),
    ),
    "3.2b": Question(
        family="diffusion",
        parts=(
            Part(
                subject="part.clear",
                judge=not_blurry,
                theory="theory.clear",
                expected=True,
            ),
            Part(
                subject="part.recognised",
                judge=recognised,
                theory="theory.odd.diffusion",
                expected=True,
            ),
        ),
        readers=(blur, recognised_shares),
        figures=(DIFFUSION_SAMPLES,),
    ),
    "4": Question(family=""),
}
