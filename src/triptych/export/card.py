"""A model card: README.md of a run or a comparison on the Hub, filled from its records.

What was measured stands in it with its interval and its floor, what was not with the reason. The
same numbers go into the card's metadata, and into `.eval_results/triptych.yaml` where the data are
a set of the Hub, which is what an entry there must name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from triptych import hardware
from triptych.data.sources import hub
from triptych.errors import InputError
from triptych.options import DEFAULT_DATA
from triptych.pages.formats import markdown
from triptych.pages.language import Language
from triptych.pages.load import Run
from triptych.pages.tables import make_cost_table, make_tables
from triptych.records import EXTRAPOLATED, DataRecord, MeasuredOn, MetricRecord

TEMPLATES = Path(__file__).parent / "templates"
TASK = "unconditional-image-generation"  # as the Hub calls it
TAGS = ("triptych", "image-generation")
PICTURE = "samples.png"  # its file, beside the card
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")  # as the Hub writes them: apache-2.0
OWN_DATA_LICENSE = "apache-2.0"  # of the embedded digits, which come with us


@dataclass(frozen=True, kw_only=True)
class Licenses:
    """Under what the weights, and the images that they learned from, may be used.

    weights: as the Hub calls it, such as apache-2.0 or other; None where nobody said it
    data:    in anybody's words
    """

    weights: str | None = None
    data: str | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and not LICENSE.fullmatch(self.weights):
            raise InputError(
                f"'{self.weights}' is no licence as the Hub writes them",
                "give apache-2.0, mit, cc-by-4.0, cc-by-nc-4.0, other or the like",
            )

    def of_data(self, data: DataRecord | MeasuredOn) -> str | None:
        """What was said of the data, or what we know of our own."""
        own = isinstance(data, DataRecord) and data.source == DEFAULT_DATA
        return self.data or (OWN_DATA_LICENSE if own else None)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a card is of.

    title:      of the card
    runs:       the models in it, one or several
    comparison: whether it is of models under one contract, be it a single one
    trainings:  the single trainings, where a model is a mean over several
    baseline:   what no training gives, where a comparison has it
    data:       that they were trained and measured on
    other_data: that the numbers of a run are of, where it was not trained on these; else None
    picture:    what the picture beside the card shows; None where there is none
    name:       on the Hub
    """

    title: str
    runs: tuple[Run, ...]
    data: DataRecord | MeasuredOn
    other_data: MeasuredOn | None = None
    comparison: bool = False
    trainings: tuple[Run, ...] = ()
    baseline: Run | None = None
    picture: str | None = None
    name: str = "OWNER/NAME"

    @property
    def dataset(self) -> str | None:
        """The name of the data on the Hub; None where they are not from there."""
        source = self.data.source if isinstance(self.data, DataRecord) else ""
        return hub.split_name(source)[0] if source.startswith(hub.PREFIX) else None

    @property
    def has_own_numbers(self) -> bool:
        """Whether it is one run with numbers of its own data: the Hub shows them under those."""
        measured = bool(self.runs[0].metrics)
        return measured and not self.comparison and self.other_data is None

    @property
    def first_run(self) -> str | None:
        """The folder of the first model that can be loaded, in a comparison's; None for none."""
        loaded = (run.folder.name for run in self.runs if run.record and run.folder)
        return next(loaded, None)

    def seeds(self, run: Run) -> tuple[int | None, ...]:
        """Of its training, or of each of its trainings."""
        if not run.trainings:
            return () if run.record is None else (run.record.seed,)
        return tuple(each.seed for each in self.trainings if each.name in run.trainings)


def write_card(subject: Subject, licenses: Licenses) -> str:
    """The text of README.md: metadata between two lines of dashes, then Markdown."""
    language = Language()
    tables, notes = make_tables(subject.runs, language, baseline=subject.baseline)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = markdown
    text = environment.get_template("card.md.j2").render(
        subject=subject,
        data=subject.data,
        licenses=licenses,
        data_license=licenses.of_data(subject.data),
        tables=[table for table in tables if table.headings],
        costs=make_cost_table(subject.runs, language, subject.baseline),
        notes=notes,
        warnings=[(run.name, language.note(note)) for run in subject.runs for note in run.warnings],
        measured=[run for run in subject.runs if run.metrics],
        language=language,
        picture=PICTURE,
        version=hardware.own_version(),
    )
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return f"---\n{metadata(subject, licenses)}\n---\n\n{text}\n"


def metadata(subject: Subject, licenses: Licenses) -> str:
    """The card's metadata as the Hub reads them: YAML."""
    library = hub.library("a model card")
    families = sorted({run.family for run in subject.runs})
    results = (
        [
            library.EvalResult(
                task_type=TASK,
                dataset_type=subject.dataset or subject.data.name,
                dataset_name=subject.data.name,
                dataset_split=None if metric.reference == "none" else metric.reference,
                metric_type=metric.name,
                metric_name=label,
                metric_value=metric.value,
            )
            for metric, label in headline(subject.runs[0])
        ]
        if subject.has_own_numbers
        else []
    )
    card = library.ModelCardData(
        license=licenses.weights,
        library_name="triptych",
        pipeline_tag=TASK,
        tags=[*TAGS, *families],
        datasets=None if subject.dataset is None else [subject.dataset],
        model_name=subject.title if results else None,
        eval_results=results or None,
    )
    return str(card.to_yaml())


def headline(run: Run) -> list[tuple[MetricRecord, str]]:
    """The defined numbers against test images as measured, each name once, and what it is called.

    The same distance on other features, or against training images, stands in the table.
    """
    language = Language()
    chosen: dict[str, MetricRecord] = {}
    for metric in run.metrics:
        usual = metric.reference in ("test", "none") and metric.method != EXTRAPOLATED
        if metric.defined and usual:
            chosen.setdefault(metric.name, metric)
    return [(metric, label_of(metric, language)) for metric in chosen.values()]


def label_of(metric: MetricRecord, language: Language) -> str:
    """What a metric is called in a table; only Inception's Fréchet distance is an FID."""
    fid = metric.name == "frechet_distance" and metric.features == "inception"
    key = f"metric.{'fid' if fid else metric.name}"
    return language.text(key) if key in language else metric.name


def eval_results(subject: Subject) -> str | None:
    """`.eval_results/*.yaml` of a run: a list of numbers, each of a task of a set of the Hub.

    None where the data are not on the Hub, or there are no numbers of a run on its own data.
    """
    if subject.dataset is None or not subject.has_own_numbers:
        return None
    library = hub.library("results for the Hub")
    entries = [
        library.EvalResultEntry(
            dataset_id=subject.dataset,
            task_id=metric.name,
            value=metric.value,
            notes=how_measured(metric),
        )
        for metric, _ in headline(subject.runs[0])
    ]
    return dump_yaml(library.eval_result_entries_to_yaml(entries))


def how_measured(metric: MetricRecord) -> str:
    """The kind of a number, its interval, its floor and on what it was measured, in one line."""
    parts = [metric.kind]
    if metric.low is not None and metric.high is not None:
        parts.append(f"95 % interval {metric.low:.6g} to {metric.high:.6g}")
    if metric.floor is not None:
        parts.append(f"real images score {metric.floor:.6g}")
    if metric.n is not None:
        parts.append(f"n {metric.n}")
    if metric.features is not None:
        parts.append(f"features {metric.features}")
    return "; ".join([*parts, "measured by triptych"])


def dump_yaml(value: Any) -> str:
    """YAML by the library that the Hub's own reads it with."""
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
