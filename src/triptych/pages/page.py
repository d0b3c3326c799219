"""The page: a comparison folder in, one self-contained HTML file out, or a text with its figures.

Everything shown is prepared here as plain words and small objects; the templates only lay it out
(`pages.formats`). The HTML page forbids itself every request (Content-Security-Policy), and all
words are escaped.
"""

import base64
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from triptych import files
from triptych.comparison.significance import RECOGNISED_MARGIN
from triptych.errors import InputError
from triptych.families.registry import FAMILIES
from triptych.pages import baseline
from triptych.pages.balance import balance_all, conclude
from triptych.pages.charts import (
    Chart,
    Series,
    curve_series,
    diagnosis_series,
    draw_chart,
    draw_frontiers,
    speed_series,
    split_objectives,
    stroke,
)
from triptych.pages.claims import judge_all
from triptych.pages.columns import (
    Column,
    label,
    make_columns,
    metric_label,
    named_runs,
    style_family,
)
from triptych.pages.course import Answer, answer_all, departures, weigh
from triptych.pages.exports import export
from triptych.pages.eyes import read_tests, told_by_people
from triptych.pages.formats import (
    TEMPLATES,
    FigureFiles,
    check_target,
    figures_beside,
    render,
)
from triptych.pages.language import Interval, Language, Name, Quantity, Sentence, Value
from triptych.pages.load import Comparison, Run, load_comparison, times_trained
from triptych.pages.panels import BESIDE, Panel, make_bands, make_hero, run_panel
from triptych.pages.tables import make_cost_table, make_tables
from triptych.pages.verdict import read_comparison
from triptych.records import ContractRecord, DataRecord
from triptych.words import check_language, sentence_case

PAGE = "report.html"  # in its comparison


@dataclass(frozen=True, kw_only=True)
class Row:
    """What names a run at the head of a table row or a group of charts."""

    name: str
    detail: str
    family: str


@dataclass(frozen=True, kw_only=True)
class PrintedPart:
    """One yes or no of an answer, its subject empty where the question has but one."""

    subject: str
    verdict: str
    word: str
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PrintedAnswer:
    """One question of the practical with its answer and the pictures beside it."""

    id: str
    question: str
    parts: tuple[PrintedPart, ...]
    reading: str
    text: tuple[str, ...]
    panels: tuple[Panel, ...]
    explanation: bool


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the training of one run went."""

    row: Row
    charts: tuple[Chart, ...]
    warnings: tuple[str, ...]
    absent: str


def write_page(
    comparison: Path,
    out: Path | None = None,
    language: str = "en",
    course: bool = False,
    format: str = "html",
    eyes: Path | None = None,
) -> Path:
    """Read a comparison folder and write its page; returns the page's path.

    Where an HTML page goes into that folder, its tables and charts go there as files too. The
    pictures of other formats go into the folder NAME_figures beside the page.

    comparison: folder with contract.json, results.json and the runs that they name
    out:        the page, default COMPARISON/report.FORMAT; replaced at once, never half written
    course:     put the practical's questions first
    format:     one of `formats.FORMATS`
    eyes:       blind tests to be shown too, as the live page exports them

    Raises InputError when contract.json or results.json is missing or corrupt, when the system
    does not let us write, or on a language that there is no file of.
    """
    check_language(language)
    target = out or (comparison / PAGE).with_suffix(f".{format}")
    check_target(target, format)
    tests = [] if eyes is None else read_tests(eyes)
    loaded = load_comparison(comparison)
    pictures = FigureFiles(figures_beside(target).name)
    content = make_content(loaded, language, course)
    content["people"] = told_by_people(tests, loaded.trainings or loaded.runs, Language(language))
    page = render(content, format, pictures)
    draft = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8", errors="backslashreplace")
        if pictures.by_name and not target.is_dir():
            pictures.write(figures_beside(target))
        files.replace(draft, target)
        if out is None and format == "html":
            export(loaded, Language(language))
    except OSError as error:
        raise InputError(
            f"cannot write {target} ({error.strerror})", "name another file"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return target


def make_content(comparison: Comparison, code: str, course: bool) -> dict[str, object]:
    """All that a page shows, in words and small objects, whatever its format."""
    language = Language(code)
    script = (TEMPLATES / "sort.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return {
        "t": language.text,
        "note": language.note,
        "style": Markup(family_styles() + style),
        "script": Markup(script),
        "script_hash": hash_script(script),
        "course": course,
        **describe(comparison, language),
        **measure_all(comparison, language),
        **explain(comparison, language),
    }


def family_styles() -> str:
    """The colors of each family, on light paper, on dark paper and in print, and who wears them."""
    light = " ".join(f"--{name}: {family.color};" for name, family in FAMILIES.items())
    dark = " ".join(f"--{name}: {family.dark_color};" for name, family in FAMILIES.items())
    classes = " ".join(f".fam-{name} {{ --family: var(--{name}); }}" for name in FAMILIES)
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ {light} }} }}\n"
        f"{classes}\n"
    )


def hash_script(script: str) -> str:
    """The digest by which the page's security policy knows its only script."""
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def describe(comparison: Comparison, language: Language) -> dict[str, object]:
    """The head of the page: what was compared, and whether it was equal."""
    contract, runs = comparison.contract, comparison.runs
    data = contract.data.name
    return {
        "title": language.fill("title", data=data),
        "title_practical": language.fill("title.practical", data=data),
        "rows": [make_row(run, name, language) for run, name in named_runs(runs)],
        "conditions": list_conditions(contract, language),
        "hero": make_hero(comparison, language),
        "unequal": comparison.unequal,
        "forced": contract.forced,
        "differences": contract.differences,
        "version": contract.triptych or "?",
    }


def measure_all(comparison: Comparison, language: Language) -> dict[str, object]:
    """Verdict, tables, pictures and curves, and what the practical's reports claim."""
    runs = comparison.runs
    sentences = [*baseline.tell(comparison), *read_comparison(comparison)]
    leads = ("distance.best", "distance.disputed", "distance.undecided")
    lead = next((s for s in sentences if s.key.startswith(leads)), None)
    topics: dict[str, list[str]] = {}  # each once, however its sentences lie
    for sentence in sentences:
        if sentence is not lead:
            topics.setdefault(sentence.topic, []).append(language.tell(sentence))
    cautions = topics.pop("caution", [])
    without_training, trained = comparison.baseline, comparison.trainings
    tables, notes = make_tables(runs, language, baseline=without_training)
    return {
        "lead": language.tell(lead) if lead else "",
        "cautions": cautions,
        "groups": [(language.text(f"topic.{name}"), name, told) for name, told in topics.items()],
        "tables": tables,
        "notes": notes,
        "costs": make_cost_table(runs, language, without_training),
        "baseline": None if without_training is None else baseline_row(without_training, language),
        # Single trainings are not among the comparisons that the page decides.
        "trainings_table": make_tables(trained, language, ["distance"], marks=False)[0]
        if trained
        else [],
        "training_rows": [make_row(run, name, language) for run, name in named_runs(trained)],
        "frontiers": draw_frontiers(runs, language, without_training),
        "claims": judge_all(comparison, language),
        "bands": make_bands(comparison, language),
        "trainings": [make_training(run, name, language) for run, name in named_runs(runs)],
    }


def explain(comparison: Comparison, language: Language) -> dict[str, object]:
    """The practical's answers, the method, and what repeats it all."""
    runs, contract = comparison.runs, comparison.contract
    evaluation = contract.evaluation
    counts = {"count": evaluation.count, "seed": evaluation.seed}
    notes = contract.data.notes if isinstance(contract.data, DataRecord) else ()
    seen = dict.fromkeys(
        (definition_of(column), metric_label(column, language)) for column in make_columns(runs)
    )
    repeated = times_trained(runs)
    return {
        "answers": [make_answer(each, runs, language) for each in answer_all(runs)],
        "caution": "" if repeated == "several" else language.text(f"practical.{repeated}"),
        "departures": [language.tell(sentence) for sentence in departures(comparison)],
        "weighed": weigh(runs, language),
        "balances": balance_all(comparison, language),
        "conclusion": conclude(comparison, language),
        "definitions": [(name, language.text(key)) for key, name in seen if key in language],
        "protocol": [
            language.fill("method.counts", **counts),
            *tell_brackets(comparison, language),
            language.text("method.differences"),
            language.text("method.floor"),
            language.text("method.choose"),
            *describe_classifiers(runs, language),
            language.text("method.baseline") if comparison.baseline else "",
            *(sentence_case(language.note(each)) for each in (*contract.notes, *notes)),
        ],
        "commands": list_commands(comparison),
        "machine": list_machine(contract, language),
        "settings": [
            (run.name or run.model, flatten(run.record.settings)) for run in runs if run.record
        ],
        "choices": list_choices(runs, language),
    }


def make_answer(answer: Answer, runs: Sequence[Run], language: Language) -> PrintedAnswer:
    """An answer in words, with its pictures."""
    margin = language.number(RECOGNISED_MARGIN, "points")
    parts = tuple(
        PrintedPart(
            subject=language.fill(part.subject, margin=margin) if part.subject else "",
            verdict=part.verdict,
            word=language.text(f"word.{part.verdict}"),
            why=tuple(language.tell(sentence) for sentence in part.why),
        )
        for part in answer.parts
    )
    return PrintedAnswer(
        id=answer.question,
        question=language.text(f"question.{answer.question}"),
        parts=parts,
        reading=language.tell(answer.reading) if answer.reading else "",
        text=tuple(language.tell(sentence) for sentence in answer.sentences),
        panels=tuple(
            run_panel(run, name, kind, language, BESIDE if kind == "samples" else None)
            for family, kind in answer.figures
            for run, name in named_runs(runs)
            if run.family == family
        ),
        explanation=answer.explanation,
    )


def describe_classifiers(runs: Sequence[Run], language: Language) -> list[str]:
    """What the classifiers that measured are worth, each once: normally all runs have the same."""
    sentences = []
    for extractor in (run.extractor for run in runs if run.extractor):
        if extractor.accuracy is not None:
            accuracy = Quantity(extractor.accuracy, "percent")
            sentences.append(Sentence("method.classifier", {"accuracy": accuracy}))
        if legible := extractor.legibility:
            values: dict[str, Value] = {
                "n": legible.n,
                "accuracy": Quantity(legible.accuracy, "percent"),
                "interval": Interval(legible.low, legible.high, "points"),
                "chance": Quantity(legible.chance, "percent"),
            }
            sentences.append(Sentence("method.legibility", values))
    return list(dict.fromkeys(language.tell(sentence) for sentence in sentences))


def make_row(run: Run, name: Name, language: Language) -> Row:
    """The words that head a row."""
    short = label(run, name, language)
    detail = run.recipe if not name.model else ""
    if run.samples is not None:
        detail = language.text("elsewhere")
    return Row(name=short, detail=detail, family=style_family(run))


def baseline_row(run: Run, language: Language) -> Row:
    """The words that head the baseline's row."""
    return Row(name=language.text("baseline.name"), detail=run.model, family=style_family(run))


def list_conditions(contract: ContractRecord, language: Language) -> list[tuple[str, str]]:
    """Label and value of what was held equal."""
    data = contract.data
    counts = {"train": data.train, "validation": data.validation, "test": data.test}
    conditions = {"fact.images": language.fill("fact.images.value", **counts)}
    if isinstance(data, DataRecord):
        shape = {"resolution": data.resolution, "channels": data.channels}
        conditions["fact.format"] = language.fill("fact.format.value", **shape)
    if contract.budget is not None and contract.size is not None:
        conditions |= {"fact.budget": contract.budget.asked, "fact.size": contract.size}
    conditions["fact.count"] = language.number(contract.evaluation.count, "count")
    if contract.device is not None and contract.precision is not None and contract.threads:
        conditions["fact.device"] = language.fill(
            "fact.threads",
            device=contract.device,
            precision=contract.precision,
            threads=contract.threads,
        )
    return [(language.text(key), value) for key, value in conditions.items()]


def definition_of(column: Column) -> str:
    """Where the texts define a column's metric."""
    return f"definition.{column.name}{'.extrapolated' * column.extrapolated}"


def tell_brackets(comparison: Comparison, language: Language) -> list[str]:
    """What the brackets are: intervals of means over trainings, of single results, or both."""
    runs = comparison.runs
    single = [name for run, name in named_runs(runs) if not run.trainings]
    every = (metric for column in make_columns(runs) for _, metric in column.scores)
    methods = dict.fromkeys(m.method for m in every if m.method and m.values is None)
    listed = language.listed([method_text(method, language) for method in methods])
    if len(single) == len(runs):
        return [language.fill("method.interval", methods=listed)] if listed else []
    sentences = [language.text("method.trainings")]
    if single and listed:
        values: dict[str, Value] = {"who": tuple(single), "methods": listed}
        sentences.append(language.tell(Sentence("method.single", values)))
    if comparison.baseline:
        sentences.append(language.text("method.single.baseline"))
    return sentences


def method_text(method: str, language: Language) -> str:
    """How an interval was made; one that the texts do not name keeps its own name."""
    key = f"interval.{method}"
    return language.text(key) if key in language else method


def term_of(line: Series, language: Language) -> str:
    """What a line of a chart is called."""
    kind, _, level = line.term.partition("_")
    if f"term.{line.term}" in language:
        return language.text(f"term.{line.term}")
    key = f"term.{kind}.level"
    return language.fill(key, level=level) if key in language else line.term


def make_chart(
    title: str,
    series: Sequence[Series],
    language: Language,
    across: str,
    mark: float | None = None,
    log: bool = False,
) -> Chart:
    """One chart: drawn for the page, and as the lines that other formats draw."""
    return Chart(
        title=title,
        svg=draw_chart(series, language, title, across, mark, log),
        series=tuple(series),
        terms=tuple(term_of(line, language) for line in series),
        strokes=tuple(stroke(index) for index in range(len(series))),
        across=across,
        mark=mark,
        log=log,
    )


def make_training(run: Run, name: Name, language: Language) -> Training:
    """One chart per objective, those of the diagnoses, one of the speed, then the curves."""
    diagnosed = diagnosis_series(run.diagnoses)
    lines = {**split_objectives(run.log), **diagnosed, "speed": speed_series(run.log)}
    across = language.text("training.images")
    charts = []
    for objective, series in lines.items():
        key = f"objective.{objective}"
        title = language.text(key) if key in language else objective
        mark = run.chosen if objective == "score" else None
        charts.append(make_chart(title, series, language, across, mark))
    for curve in run.curves:
        if f"curve.{curve.name}" in language:
            title, series = language.text(f"curve.{curve.name}"), curve_series(curve)
            over = language.text(f"across.{curve.name}")
            charts.append(make_chart(title, series, language, over, curve.mark, curve.log))
    charts = [chart for chart in charts if chart.svg]
    absent = "" if charts else language.tell(Sentence("training.none", {"who": name}))
    if run.samples is not None:
        values: dict[str, Value] = {"who": name, "source": run.samples.source}
        absent = language.tell(Sentence("training.elsewhere", values))
    warnings = tuple(sentence_case(language.note(warning)) for warning in run.warnings)
    row = make_row(run, name, language)
    if run.trainings:
        first = language.fill("training.first", n=len(run.trainings))
        row = replace(row, detail=", ".join(filter(None, (row.detail, first))))
    return Training(row=row, charts=tuple(charts), warnings=warnings, absent=absent)


def list_commands(comparison: Comparison) -> list[str]:
    """The comparison's command, then the command that repeats each training."""
    trained = comparison.trainings or comparison.runs
    commands = [run.record.command for run in trained if run.record]
    return [each for each in dict.fromkeys([comparison.contract.command, *commands]) if each]


def list_machine(contract: ContractRecord, language: Language) -> list[tuple[str, str]]:
    """Versions, hardware and the data's fingerprint, as recorded."""
    fingerprint = (language.text("method.fingerprint"), contract.data.fingerprint)
    return [*flatten(contract.versions), *flatten(contract.hardware), fingerprint]


def list_choices(runs: Sequence[Run], language: Language) -> list[tuple[str, str]]:
    """Choices made for the hardware with their reasons, once each."""
    choices = [
        (language.text(f"choice.{name}") if f"choice.{name}" in language else name, note)
        for run in runs
        if run.record
        for name, note in run.record.choices.items()
    ]
    return list(dict.fromkeys((name, language.note(note)) for name, note in choices))


def flatten(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """A nested dict as dotted names with their values; empty ones are left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            pairs += flatten(value, f"{prefix}{key}.")
        elif value is not None:
            pairs.append((f"{prefix}{key}", str(value)))
    return pairs
