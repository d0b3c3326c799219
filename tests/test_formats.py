"""The page as Markdown and LaTeX: the same words as in HTML, nothing unescaped, every figure there.

No TeX is needed: what would stop it (a brace, an environment or a sign of its own that is left open
or unescaped, a command that it has not, a file that is not there) is looked for by `check_latex`.
"""

from __future__ import annotations

import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from tests.test_page import change, read, write_comparison
from triptych import api
from triptych.cli import parser
from triptych.errors import InputError
from triptych.families.registry import FAMILIES
from triptych.pages import formats
from triptych.pages.exports import escape
from triptych.pages.formats import FORMATS, OURS, FigureFiles, markdown
from triptych.pages.page import write_page
from triptych.words import LOCALES

LANGUAGES = ("en", "fr")
COMMANDS = frozenset(re.findall(
    r"\w+",
    "author begin bigskip bottomrule bfseries date documentclass else emergencystretch emph end fi "
    "footnotesize hfill ifdim includegraphics item linewidth maketitle medskip midrule "
    "noindent par parindent parskip raggedright resizebox section setlength small "
    "subsection subsubsection tabular textbf textasciicircum textasciitilde textbackslash "
    "textsuperscript times title toprule ttfamily usepackage vspace width mu ",
))  # fmt: skip
PACKAGES = {"fontenc", "inputenc", "geometry", "graphicx", "booktabs"}
EVIL = r"[ \input{/etc/passwd} 5%$ #1 a_b ^~ {x &amp; `y` *z* [q](r) <s> | --seeds ??? Ж"


def without_escapes(text: str) -> str:
    r"""LaTeX without what is escaped and what our signs become: \%, \textasciitilde{}, $-$."""
    return re.sub(r"\\[&%$#_{},\\]|\$(-|\\times|\\mu)\$|-\{\}-|\{\}", " ", text)


def check_latex(path: Path) -> str:
    """What would stop LaTeX is not there; the text above its mark."""
    text = path.read_text(encoding="utf-8").removesuffix("\n% triptych report\n")
    included = re.findall(r"\\includegraphics\[[^\]]*\]\{([^}]*)\}", text)
    assert included
    for file in included:
        with Image.open(path.parent / file) as picture:
            picture.verify()
    bare = re.sub(r"(\\includegraphics\[[^\]]*\])\{[^}]*\}", r"\1{}", text)
    bare = without_escapes(re.sub(r"\\\\$", "", bare, flags=re.MULTILINE))
    bare = re.sub(r"\{!\}\{%$", "{!}{", bare, flags=re.MULTILINE)  # the one comment there is
    for sign in "%$#_^":
        assert sign not in bare, f"{sign} in {bare[max(0, bare.find(sign) - 60) :][:120]!r}"
    depth = 0
    for sign in bare:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert set(re.findall(r"\\([A-Za-z]+)", bare)) <= COMMANDS
    assert set(re.findall(r"\\usepackage(?:\[[^\]]*\])?\{(\w+)\}", bare)) == PACKAGES
    assert all(ord(sign) <= 0x17F for sign in text) and "--" not in text
    check_brackets(text)
    check_environments(text)
    check_tabulars(text)
    return text


def check_brackets(text: str) -> None:
    """Nothing after an item or a row is taken for its argument."""
    assert not re.search(r"\\(?:item|\\)\s*\[(?!\{)", text)


def check_environments(text: str) -> None:
    """Each one ends where it should, and holds what it must not be without."""
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    for name in ("itemize", "enumerate", "description"):
        for inside in re.findall(rf"\\begin\{{{name}\}}(.*?)\\end\{{{name}\}}", text, re.DOTALL):
            assert inside.strip().startswith("\\item"), f"an empty {name} stops LaTeX"
    assert text.startswith("\\documentclass") and text.endswith("\\end{document}\n")


def check_tabulars(text: str) -> None:
    """As many cells in each row as columns."""
    tables = re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert tables
    for columns, rows in tables:
        lines = [line for line in rows.splitlines() if line.endswith("\\\\")]
        assert len(lines) > 1
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(columns)}
    outside = re.sub(r"\\begin\{tabular\}.*?\\end\{tabular\}", "", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)&", outside)


def check_markdown(path: Path) -> str:
    """Every picture is there, and nothing is left that Markdown would take for HTML; the text."""
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"(?<!\\)!\[(?:\\.|[^\]\\])*\]\(([^)]*)\)", text)
    assert links
    for link in links:
        with Image.open(path.parent / unquote(link)) as picture:
            picture.verify()
    assert not re.search(r"(?<!\\)[<$`]", text)
    heads = [line for line in text.splitlines() if line.startswith("| |")]
    assert heads
    for head in heads:
        table = text[text.index(head) :].partition("\n\n")[0].splitlines()
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(table) > 2 and len(widths) == 1, table
    return text


CHECKS = {"md": check_markdown, "tex": check_latex}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(tmp_path_factory.mktemp("comparison"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("course", [False, True])
@pytest.mark.parametrize("format", CHECKS)
def test_the_text_is_whole(
    written: Path, tmp_path: Path, language: str, course: bool, format: str
) -> None:
    path = write_page(written, tmp_path / f"a.{format}", language, course, format)
    text = CHECKS[format](path)
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "a_figures"]
    used = {Path(name).name for name in re.findall(r"a_figures/([^})\s]+)", text)}
    assert used | {OURS} == {each.name for each in (tmp_path / "a_figures").iterdir()}


@pytest.mark.parametrize("format", CHECKS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_what_the_page_says(
    written: Path, tmp_path: Path, format: str, language: str
) -> None:
    """Every sentence of the practical, word by word."""
    page = write_page(written, tmp_path / "a.html", language, True).read_text()
    text = write_page(written, tmp_path / f"a.{format}", language, True, format).read_text()
    practical = page[page.index('<ol class="questions">') : page.index('class="scroll"')]
    lines = re.findall(r'<p(?: class="(?:why|reading|numbers)")?>([^<]+)</p>', practical)
    lines += re.findall(r"<h3>([^<]+)</h3>", practical)
    assert len(lines) > 20
    write = {"md": markdown, "tex": escape}[format]
    for line in lines:
        assert write(html.unescape(line)).strip() in text, line
    for word in re.findall(r"<strong>([^<]+)</strong></p>", practical):
        assert f"**{word}.**" in text or f"\\textbf{{{word}.}}" in text


@pytest.mark.parametrize("format", CHECKS)
def test_names_of_strangers_stay_words(tmp_path: Path, format: str) -> None:
    folder = write_comparison(tmp_path / "c", differences=[EVIL], command=EVIL)
    change(folder / "contract.json", lambda c: c["data"].update(name=EVIL, notes=[EVIL]))

    def spoil(results: Any) -> None:
        for run in results["runs"]:
            run |= {"model": EVIL, "warnings": [EVIL]}
            for each in run["metrics"]:
                each |= {"features": EVIL, "note": EVIL, "unit": EVIL, "method": EVIL}

    change(folder / "results.json", spoil)
    lines = {"event": "losses", "images": 64, "losses": {f"{EVIL}/{EVIL}": 1.0}}
    (folder / "vae-sigma-s0" / "log.jsonl").write_text(json.dumps(lines))
    text = CHECKS[format](write_page(folder, tmp_path / f"a.{format}", "en", True, format))
    assert "/etc/passwd" in text and "\\input{" not in text.replace("\\\\input", "")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("language", LANGUAGES)
def test_latex_takes_it(written: Path, tmp_path: Path, language: str) -> None:
    path = write_page(written, tmp_path / "a.tex", language, True, "tex")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", path.name]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sign_of_our_texts_is_one_that_latex_has(language: str) -> None:
    text = escape((LOCALES / f"{language}.toml").read_text(encoding="utf-8"))
    assert "[U+" not in text


def test_small_pictures_are_enlarged_and_never_smoothed(written: Path, tmp_path: Path) -> None:
    write_page(written, tmp_path / "a.md", "en", False, "md")
    with (
        Image.open(written / "figures" / "real.png") as small,
        Image.open(tmp_path / "a_figures" / "real.png") as large,
    ):
        factor = large.width // small.width
        assert factor == formats.SHOWN // small.width and factor > 1
        nearest = small.resize(large.size, Image.Resampling.NEAREST)
        assert large.convert("RGB").tobytes() == nearest.convert("RGB").tobytes()


def test_a_picture_is_one_file_however_often_it_is_shown() -> None:
    pictures = FigureFiles("a_figures")
    assert pictures.add("x y", b"1") == pictures.add("other", b"1") == "a_figures/x-y.png"
    assert pictures.add("x y", b"2") == "a_figures/x-y-2.png"
    assert pictures.add("Ж", b"3") == "a_figures/figure.png"
    assert pictures.by_name == {"x-y.png": b"1", "x-y-2.png": b"2", "figure.png": b"3"}


def test_charts_of_the_training_are_drawn_for_print(written: Path, tmp_path: Path) -> None:
    text = write_page(written, tmp_path / "a.md", "en", False, "md").read_text()
    [name] = set(re.findall(r"a_figures/(training-VAE-Negative-ELBO[^)]*)", text))
    content = (tmp_path / "a_figures" / name).read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert picture.width == 1000 and colours is not None
    assert tuple(bytes.fromhex(FAMILIES["vae"].color[1:])) in {colour for _, colour in colours}


def test_a_new_text_takes_the_place_of_the_one_before(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a_figures"
    folder.mkdir()  # an empty one is nobody's
    for _ in range(2):
        write_page(written, tmp_path / "a.tex", format="tex")
        assert not (folder / "of-before.png").exists() and len(list(folder.iterdir())) > 5
        (folder / "of-before.png").write_bytes(b"")
    assert not list(tmp_path.glob("*.part"))


def test_somebody_s_own_pictures_are_not_replaced(written: Path, tmp_path: Path) -> None:
    """A folder of that name that no report wrote, though it holds nothing but PNG files."""
    own = tmp_path / "a_figures" / "holiday.png"
    own.parent.mkdir()
    own.write_bytes(b"mine")
    with pytest.raises(InputError, match="is no folder of a report's figures"):
        write_page(written, tmp_path / "a.md", format="md")
    assert own.read_bytes() == b"mine" and sorted(tmp_path.iterdir()) == [own.parent]


@pytest.mark.parametrize("format", FORMATS)
def test_it_goes_into_the_comparison_by_default(tmp_path: Path, format: str) -> None:
    folder = write_comparison(tmp_path)
    assert api.report(folder, format=format) == folder / f"report.{format}"
    assert (folder / "report_figures").is_dir() == (format != "html")
    assert (folder / "tables").is_dir() == (format == "html")


def typed(words: str) -> Any:
    return parser.parse(words.split()).run()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--format pdf", "no format 'pdf': choose from html, md, tex"),
        ("--format md --out a.tex", "a.tex is no .md file: add --format tex"),
        ("--out a.md", "a.md is no .html file: add --format md"),
        ("--format tex --out gone/a.tex", "there is no folder gone: make it, or name another"),
        ("--out gone/a.html", "there is no folder gone: make it, or name another --out"),
        ("--format md --out taken.md", "taken_figures is no folder of a report's figures: name"),
        ("--format md --out file.md", "file_figures is no folder of a report's figures: name"),
        ("--format tex --out 5%.tex", "LaTeX finds no figures in 5%_figures: name another --out"),
        ("--format tex --lang xx", "no language 'xx': choose from en, fr"),
        ("--format md --out folder.md", "cannot write folder.md ("),
        ("--format md gone", "gone"),
    ],
)
def test_bad_input_is_refused_in_a_line_and_leaves_nothing(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken_figures").mkdir()
    Path("taken_figures/thesis.txt").touch()
    Path("file_figures").touch()
    Path("folder.md").mkdir()
    before = sorted(tmp_path.rglob("*")), sorted(written.rglob("*"))
    paths = "" if words.endswith(" gone") else f"{written} "
    with pytest.raises(InputError) as refused:
        typed(f"report {paths}{words}")
    assert line in str(refused.value) and len(str(refused.value).splitlines()) == 1
    assert (sorted(tmp_path.rglob("*")), sorted(written.rglob("*"))) == before


def test_signs_of_markdown_are_escaped() -> None:
    assert markdown("a_b *c* `d` [e](f) <g> #h | 5 $ & !") == (
        r"a\_b \*c\* \`d\` \[e\](f) \<g\> \#h \| 5 \$ \& \!"
    )
    assert [markdown(text) for text in ("- a", "1. a", "+ a", "1.3a", "-a", "a\n# b")] == [
        r"\- a", r"1\. a", r"\+ a", "1.3a", "-a", r"a \# b",
    ]  # fmt: skip


def test_hyphens_and_foreign_signs_reach_latex_as_they_are() -> None:
    assert escape("--seeds, ---") == "-{}-seeds, -{}-{}-"
    assert escape("Ж\n\x07é") == "[U+0416]  é"


def test_the_page_in_html_is_as_it_was(written: Path, tmp_path: Path) -> None:
    assert not list(tmp_path.iterdir())
    read(write_page(written, tmp_path / "a.html"))
    assert [each.name for each in tmp_path.iterdir()] == ["a.html"]
