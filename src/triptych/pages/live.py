"""What the live page is made of: its frame, its words, its styles and its scripts.

The page forbids itself scripts and styles that are not files of ours, so all of them have names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from triptych.pages.formats import TEMPLATES
from triptych.pages.language import Language
from triptych.pages.load import load_results
from triptych.pages.page import family_styles, hash_script
from triptych.words import languages

SCRIPTS = TEMPLATES / "live"
SPOKEN = ("live.", "objective.", "term.", "short.")  # texts that scripts use
BESIDE_EYES = ("real_or_fake", "recognisable")  # measured shares that stand beside people's


def page(language: str) -> str:
    """The frame, in one language; scripts fill it and may change the language."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    template = environment.get_template("live.html.j2")
    return template.render(t=Language(language).text, languages=languages())


@cache
def texts(language: str) -> dict[str, str]:
    """The words that scripts use, by their keys."""
    words = Language(language)
    return {key: words.text(key) for key in words.locale.texts if key.startswith(SPOKEN)}


@cache
def assets() -> dict[str, Callable[[], str]]:
    """Styles and scripts by name; nothing else is sent."""
    scripts = {path.name: partial(read, path) for path in SCRIPTS.glob("*.js")}
    return {"live.css": styles, **scripts}


@cache
def read(path: Path) -> str:
    """The text of a template's file, read once."""
    return path.read_text(encoding="utf-8")


def styles() -> str:
    """The report's styles with the families' colors, then those of the live page alone."""
    return family_styles() + read(TEMPLATES / "report.css") + read(TEMPLATES / "live.css")


def report_policy() -> str:
    """What a report may do that is opened from the page: nothing but show itself and sort tables.

    It may be a stranger's, so it is shut off from the page (`sandbox`), and runs our script alone.
    """
    digest = hash_script(read(TEMPLATES / "sort.js"))
    return (
        "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def measured(folder: Path) -> dict[str, float]:
    """Of a run's results the shares that stand beside what people told; none where it has none."""
    results = load_results(folder / "results.json")
    if results is None:
        return {}
    return {
        metric.name: metric.value
        for metric in results.metrics
        if metric.name in BESIDE_EYES and metric.value is not None
    }
