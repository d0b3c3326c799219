"""The page: a comparison folder in, one self-contained HTML file out.

Everything shown is prepared here as plain words and small objects; the template only lays it out.
The page forbids itself every request (Content-Security-Policy), and all words are escaped.
"""

import base64
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from triptych.errors import InputError
from triptych.pages.charts import (
    Series,
    curve_series,
    diagnosis_series,
    draw_chart,
    draw_frontiers,
    speed_series,
    split_objectives,
)
from triptych.pages.claims import judge_all
from triptych.pages.columns import (
    Column,
    known_family,
    label,
    make_columns,
    metric_label,
    name_runs,
)
from triptych.pages.course import answer_all, weigh
from triptych.pages.exports import export
from triptych.pages.language import (
    Language,
    Name,
    Sentence,
    check_language,
    sentence_case,
)
from triptych.pages.load import Comparison, Run, data_name, load_comparison, mapping, number, texts
from triptych.pages.panels import find_anchor, make_bands, make_hero
from triptych.pages.tables import make_cost_table, make_tables
from triptych.pages.verdict import read_comparison

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html"  # in its comparison


@dataclass(frozen=True, kw_only=True)
class Row:
    """What names a run at the head of a table row or a group of charts."""

    name: str
    detail: str
    family: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One loss chart with the names of its lines."""

    title: str
    svg: Markup
    terms: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the training of one run went."""

    row: Row
    charts: tuple[Chart, ...]
    warnings: tuple[str, ...]
    absent: str


def write_page(
    comparison: Path, out: Path | None = None, language: str = "en", course: bool = False
) -> Path:
    """Read a comparison folder and write its page; returns the page's path.

    Where the page goes into that folder, its tables and charts go there as files too.

    comparison: folder with contract.json, results.json and the runs that they name
    out:        the page, default COMPARISON/report.html; replaced at once, never left half written
    course:     put the practical's questions first

    Raises InputError when contract.json or results.json is missing or corrupt, when the system
    does not let us write, or on a language that there is no file of.
    """
    check_language(language)
    loaded = load_comparison(comparison)
    page = render_page(loaded, language, course)
    target = out or comparison / PAGE
    draft = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8", errors="backslashreplace")
        draft.replace(target)
        if out is None:
            export(loaded, Language(language))
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise InputError(
            f"cannot write {target} ({error.strerror})", "name another file"
        ) from error
    return target


def render_page(comparison: Comparison, code: str = "en", course: bool = False) -> str:
    """The page as one string of HTML."""
    language = Language(code)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "sort.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = environment.get_template("report.html.j2").render(
        t=language.text,
        note=language.note,
        style=Markup(style),
        script=Markup(script),
        script_hash=hash_script(script),
        course=course,
        **describe(comparison, language),
        **measure_all(comparison, language),
        **explain(comparison, language),
    )
    return page.strip() + "\n"


def hash_script(script: str) -> str:
    """The digest by which the page's security policy knows its only script."""
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def describe(comparison: Comparison, language: Language) -> dict[str, Any]:
    """The head of the page: what was compared, and whether it was equal."""
    data = data_name(comparison)
    runs = comparison.runs
    return {
        "title": language.text("title").format(data=data),
        "title_practical": language.text("title.practical").format(data=data),
        "rows": [make_row(run, name, language) for run, name in named(runs)],
        "facts": make_facts(comparison.contract, language),
        "hero": make_hero(comparison, language),
        "marked": comparison.forced or bool(comparison.differences),
        "forced": comparison.forced,
        "differences": comparison.differences,
        "version": str(comparison.contract.get("triptych") or "?"),
    }


def measure_all(comparison: Comparison, language: Language) -> dict[str, Any]:
    """Verdict, tables, pictures and curves."""
    runs = comparison.runs
    said = read_comparison(comparison)
    lead = next((s for s in said if s.key in ("distance.best", "distance.undecided")), None)
    rest = sorted((s for s in said if s is not lead), key=lambda s: s.topic == "caution")
    groups = [
        (language.text(f"topic.{topic}"), topic, [language.tell(sentence) for sentence in group])
        for topic, group in groupby(rest, key=lambda sentence: sentence.topic)
    ]
    tables, notes = make_tables(runs, language)
    trained = comparison.trainings
    return {
        "lead": language.tell(lead) if lead else "",
        "groups": groups,
        "tables": tables,
        "notes": notes,
        "costs": make_cost_table(runs, language),
        "trainings_table": make_tables(trained, language, ["distance"])[0] if trained else [],
        "training_rows": [make_row(run, name, language) for run, name in named(trained)],
        "frontiers": draw_frontiers(runs, language),
        "claims": judge_all(comparison, language),
        "bands": make_bands(comparison, language),
        "trainings": [make_training(run, name, language) for run, name in named(runs)],
    }


def explain(comparison: Comparison, language: Language) -> dict[str, Any]:
    """The practical's answers, the method, and what repeats it all."""
    runs, contract = comparison.runs, comparison.contract
    evaluation = mapping(contract.get("evaluation"))
    counts = {key: count_text(evaluation.get(key), language) for key in ("count", "seed")}
    columns = make_columns(runs)
    methods = dict.fromkeys(m.method for c in columns for _, m in c.known if m.method)
    told = language.listed([language.note(method) for method in methods])
    answers = [
        {
            "id": answer.question,
            "question": language.text(f"question.{answer.question}"),
            "text": [language.tell(sentence) for sentence in answer.sentences],
            "figure": find_anchor(runs, answer.family, answer.figure) if answer.figure else "",
            "explanation": answer.explanation,
        }
        for answer in answer_all(runs)
    ]
    seen = dict.fromkeys(
        (definition_of(column), metric_label(column, language)) for column in columns
    )
    several = any(run.trainings for run in runs)
    return {
        "answers": answers,
        "weighed": weigh(runs, language),
        "definitions": [(name, language.text(key)) for key, name in seen if key in language],
        "protocol": [
            language.text("method.counts").format(**counts),
            language.text("method.interval").format(methods=told) if told and not several else "",
            language.text("method.trainings") if several else "",
            language.text("method.differences"),
            language.text("method.floor"),
            language.text("method.choose"),
            *(sentence_case(language.note(each)) for each in data_notes(contract)),
        ],
        "commands": list_commands(comparison),
        "machine": list_machine(comparison, language),
        "settings": [
            (run.name or run.model, flatten(mapping(run.record.get("settings")))) for run in runs
        ],
        "choices": list_choices(runs),
    }


def named(runs: Sequence[Run]) -> list[tuple[Run, Name]]:
    """Each run with its shortest telling name."""
    return list(zip(runs, name_runs(runs), strict=True))


def make_row(run: Run, name: Name, language: Language) -> Row:
    """The words that head a row."""
    short = label(run, name, language)
    detail = run.recipe if not name.model else ""
    return Row(name=short, detail=detail, family=known_family(run))


def make_facts(contract: Mapping[str, Any], language: Language) -> list[tuple[str, str]]:
    """Label and value of what was held equal; what was not recorded is left out."""
    data = mapping(contract.get("data"))
    evaluation = mapping(contract.get("evaluation"))
    budget = mapping(contract.get("budget"))
    device: dict[str, Any] = {key: contract.get(key) for key in ("device", "precision", "threads")}
    counts = {key: count_text(data.get(key), language) for key in ("train", "validation", "test")}
    shape = {key: data.get(key) for key in ("resolution", "channels")}
    found: list[tuple[str, str | dict[str, Any], bool]] = [
        ("images", counts, all(data.get(key) is not None for key in counts)),
        ("format", shape, None not in shape.values()),
        ("budget", str(budget.get("asked")), bool(budget.get("asked"))),
        ("size", str(contract.get("size")), bool(contract.get("size"))),
        ("count", count_text(evaluation.get("count"), language), bool(evaluation.get("count"))),
        ("threads", device, None not in device.values()),
    ]
    facts = []
    for key, value, known in found:
        if not known:
            continue
        heading = "fact.device" if key == "threads" else f"fact.{key}"
        pattern = "fact.threads" if key == "threads" else f"fact.{key}.value"
        words = value if isinstance(value, str) else language.text(pattern).format(**value)
        facts.append((language.text(heading), words))
    return facts


def definition_of(column: Column) -> str:
    """Where the texts define a column's metric."""
    return f"definition.{column.name}{'.extrapolated' * column.extrapolated}"


def count_text(value: object, language: Language) -> str:
    """A count in words, "?" when it was not recorded."""
    count = number(value)
    return "?" if count is None else language.number(count, "count")


def term_of(line: Series, language: Language) -> str:
    """What a line of a chart is called."""
    key = f"term.{line.term}"
    return language.text(key) if key in language else line.term.removeprefix("kl_")


def make_training(run: Run, name: Name, language: Language) -> Training:
    """One chart per objective, those of the diagnoses, one of the speed, then the curves."""
    diagnosed = diagnosis_series(run.diagnoses)
    lines = {**split_objectives(run.log), **diagnosed, "speed": speed_series(run.log)}
    drawn = []
    for objective, series in lines.items():
        key = f"objective.{objective}"
        title = language.text(key) if key in language else objective
        mark = run.chosen if objective == "score" else None
        svg = draw_chart(series, language, title, language.text("training.images"), mark)
        drawn.append((title, svg, series))
    for curve in run.curves:
        if f"curve.{curve.name}" not in language:
            continue
        title, series = language.text(f"curve.{curve.name}"), curve_series(curve)
        across = language.text(f"across.{curve.name}")
        svg = draw_chart(series, language, title, across, curve.mark, curve.log)
        drawn.append((title, svg, series))
    charts = [
        Chart(title=title, svg=svg, terms=tuple(term_of(line, language) for line in series))
        for title, svg, series in drawn
        if svg
    ]
    absent = "" if charts else language.tell(Sentence("training.none", {"who": name}))
    warnings = tuple(sentence_case(language.note(warning)) for warning in run.warnings)
    return Training(
        row=make_row(run, name, language), charts=tuple(charts), warnings=warnings, absent=absent
    )


def data_notes(contract: Mapping[str, Any]) -> tuple[str, ...]:
    """What the data have to say about themselves."""
    return texts(mapping(contract.get("data")).get("notes"))


def list_commands(comparison: Comparison) -> list[str]:
    """The comparison's command, then the command that repeats each run."""
    commands = [comparison.contract.get("command")]
    commands += [run.record.get("command") for run in comparison.runs]
    return list(dict.fromkeys(str(command) for command in commands if command))


def list_machine(comparison: Comparison, language: Language) -> list[tuple[str, str]]:
    """Versions, hardware and the data's fingerprint, as recorded."""
    contract = comparison.contract
    listed = flatten(mapping(contract.get("versions"))) + flatten(mapping(contract.get("hardware")))
    fingerprint = mapping(contract.get("data")).get("fingerprint")
    if fingerprint:
        listed.append((language.text("method.fingerprint"), str(fingerprint)))
    return listed


def list_choices(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Choices made for the hardware, once each."""
    choices = [pair for run in runs for pair in flatten(mapping(run.record.get("choices")))]
    return list(dict.fromkeys(choices))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested dict as dotted names with their values; empty ones are left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            pairs += flatten(value, f"{prefix}{key}.")
        elif value is not None:
            pairs.append((f"{prefix}{key}", str(value)))
    return pairs
