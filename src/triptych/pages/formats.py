"""The page as HTML, Markdown or LaTeX: one content, and a template for each.

HTML holds its pictures. The others refer to PNG files in a folder beside them, `NAME_figures/`.
"""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from triptych import files
from triptych.errors import InputError
from triptych.pages.charts import Chart, Frontier
from triptych.pages.exports import escape, latex_cell, plotted, plotted_lines
from triptych.pages.panels import Figure
from triptych.pages.tables import PrintedCell

TEMPLATES = Path(__file__).parent / "templates"
FORMATS = ("html", "md", "tex")  # as they are asked for, and the endings of their files
MARKS = {  # the last line of a page, by its format: the next report may replace it unasked
    "html": "<!-- triptych report -->",
    "md": "[//]: # (triptych report)",
    "tex": "% triptych report",
}
OURS = ".triptych"  # marks a folder of figures, which the next report replaces whole
SHOWN = 900  # pixels: pictures of fewer are enlarged by a whole factor, so that none is smoothed
MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~$&!])")  # signs that mean something inside a line
BEGINNING = re.compile(r"^(?:([-+=])|(\d+)([.)]))(?=\s|$)")  # and those that do at its beginning
ANGLES: dict[str, Any] = {  # LaTeX is full of braces
    "variable_start_string": "<<", "variable_end_string": ">>", "block_start_string": "<%",
    "block_end_string": "%>", "comment_start_string": "<#", "comment_end_string": "#>",
}  # fmt: skip
INCLUDABLE = re.compile(r"[\w.+ -]+")  # names of folders that LaTeX finds


def markdown(text: str) -> str:
    """Words as Markdown shows them, in one line.

    >>> markdown("a_b <c>  - 5 %"), markdown("1. x")
    ('a\\\\_b \\\\<c\\\\> - 5 %', '1\\\\. x')
    """
    line = " ".join(text.split(" ")).replace("\n", " ")
    line = MARKDOWN.sub(r"\\\1", re.sub(r" +", " ", line))
    return BEGINNING.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", line)


class FigureFiles:
    """The PNG files of a text: each picture once, under a name of its own.

    folder: their folder, as the text refers to it
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.by_name: dict[str, bytes] = {}

    def add(self, stem: str, content: bytes) -> str:
        """Where the text finds this picture."""
        for name, other in self.by_name.items():
            if other == content:
                return f"{self.folder}/{name}"
        safe = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-") or "figure"
        name, more = f"{safe}.png", 2
        while name in self.by_name:
            name, more = f"{safe}-{more}.png", more + 1
        self.by_name[name] = content
        return f"{self.folder}/{name}"

    def picture(self, figure: Figure, stem: str) -> str:
        """Of a picture that the page embeds, enlarged where it is small."""
        png = base64.b64decode(figure.uri.partition(",")[2])
        factor = SHOWN // max(figure.width, 1)
        if factor > 1:
            with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
                size = (factor * image.width, factor * image.height)
                larger, buffer = image.resize(size, Image.Resampling.NEAREST), io.BytesIO()
            larger.save(buffer, format="PNG", optimize=True)
            png = buffer.getvalue()
        return self.add(stem, png)

    def frontier(self, frontier: Frontier) -> str:
        """Of quality against a cost."""
        return self.add(f"quality against {frontier.cost}", plotted(frontier, "png")["png"])

    def chart(self, chart: Chart, family: str, stem: str) -> str:
        """Of a chart of a training."""
        return self.add(stem, plotted_lines(chart, family))

    def write(self, folder: Path) -> None:
        """All of them into a folder, in place of those of a text before this one.

        InputError where that folder holds anything else.
        """
        if folder.exists():
            check_figures(folder)
        draft = folder.with_name(folder.name + ".part")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir()
            (draft / OURS).touch()
            for name, content in self.by_name.items():
                files.write_bytes(draft / name, content)
            if folder.exists():
                shutil.rmtree(folder)
            files.replace(draft, folder)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def check_figures(folder: Path) -> None:
    """InputError unless a folder is one that a report wrote, and holds its pictures alone.

    Somebody's own pictures must not be lost.
    """
    kept = files.visible(folder) if folder.is_dir() else [folder]
    if (kept and not (folder / OURS).is_file()) or any(path.suffix != ".png" for path in kept):
        raise InputError(f"{folder} is no folder of a report's figures", "name another --out")


def figures_beside(target: Path) -> Path:
    """The folder of a text's pictures."""
    return target.with_name(f"{target.stem}_figures")


def check_target(target: Path, format: str) -> None:
    """InputError on what a page of this format cannot be written to, before anything is."""
    if format not in FORMATS:
        raise InputError(f"no format '{format}'", f"choose from {', '.join(FORMATS)}")
    named = target.suffix.lower().removeprefix(".")
    if named in FORMATS and named != format:
        raise InputError(f"{target} is no .{format} file", f"add --format {named}")
    if format == "html":
        return
    folder = figures_beside(target)
    if format == "tex" and not INCLUDABLE.fullmatch(folder.name):
        raise InputError(f"LaTeX finds no figures in {folder.name}", "name another --out")
    if folder.exists():
        check_figures(folder)


def check_replaceable(target: Path, format: str) -> None:
    """InputError where a page that nobody named would replace what no report wrote."""
    if not target.exists():
        return
    mark = MARKS[format].encode()
    if not target.is_file() or not target.read_bytes().rstrip().endswith(mark):
        raise InputError(f"{target} is there already", "name the page by --out")


def render(content: Mapping[str, object], format: str, pictures: FigureFiles) -> str:
    """The text of a page in one format; the pictures that it refers to are added to these."""
    escapes: Mapping[str, Callable[[str], str]] = {"md": markdown, "tex": escape}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **(ANGLES if format == "tex" else {}),
    )
    if format in escapes:
        write = escapes[format]
        # What a template writes itself, and what a macro made, is there already as it should be.
        environment.finalize = lambda each: (
            each if isinstance(each, Markup) else Markup(write(str(each)))
        )
    environment.globals |= {
        "pictures": pictures,
        "address": lambda path: Markup(quote(path) if format == "md" else path),
        "latex_cell": lambda cell: Markup(latex_of(cell)),
    }
    text = environment.get_template(f"report.{format}.j2").render(content)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return f"{text}\n\n{MARKS[format]}\n"


def latex_of(cell: PrintedCell) -> str:
    """A cell of a table as the tables of `exports` have it, with the numbers of its notes."""
    notes = ",".join(map(str, cell.notes))
    return f"{latex_cell(cell)}\\textsuperscript{{{notes}}}" if notes else latex_cell(cell)
