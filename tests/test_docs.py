"""The documents: no link is dead, every page is in the site, and the references are complete."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from docs import build, reference

import triptych
from triptych.cli import commands, parser
from triptych.families import registry
from triptych.options import is_argument, typed_name
from triptych.records import CostRecord

ROOT = Path(__file__).resolve().parents[1]
BUILT = {".venv", "build", "site", "dist", "runs", "node_modules", "mutants"}
PAGES = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not BUILT & set(path.relative_to(ROOT).parts)
    and not any(part.startswith(".") and part != ".github" for part in path.relative_to(ROOT).parts)
]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NO_ZENSICAL = importlib.util.find_spec("zensical") is None
GENERATED = {"commands.md", "python.md", "json.md"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub makes of a page's headings, and those that are written as HTML."""
    found: Counter[str] = Counter()
    made = set()
    text = page.read_text(encoding="utf-8")
    for line, is_prose in build.prose(text):
        heading = re.match(r"#{1,6} +(.*?)\s*#*\s*$", line) if is_prose else None
        if heading:
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            made.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
    return frozenset(made | set(re.findall(r'<a (?:id|name)="([^"]+)"', text)))


def dead_links(page: Path) -> Iterator[str]:
    """The links of a page that lead to no file, or to no heading of it."""
    for target in build.links(page.read_text(encoding="utf-8")):
        if build.OUTSIDE.match(target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_link_is_dead(page: Path) -> None:
    assert list(dead_links(page)) == []


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# What `--x` does\n[a](#what---x-does) [b](#gone) [c](none.md) `[d](none.md)`\n"
        "```\n[e](none.md)\n```\n[![f](none.png)](page.md#gone) [g](https://none)\n"
    )
    assert list(dead_links(page)) == ["#gone", "none.md", "page.md#gone", "none.png"]


def test_every_page_is_in_the_navigation_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r": (\S+\.md)$", text.partition("\nnav:\n")[2], re.MULTILINE)
    copied = [build.in_site(named(page)) for page in [*build.DOCS.glob("*.md")]]
    assert sorted(listed) == sorted([*map(str, copied), "contributing.md", *GENERATED])


def test_links_that_leave_the_site_become_addresses() -> None:
    text = (
        "[a](../src/triptych) [b](data.md#x) [c](../CONTRIBUTING.md#y) ![d](images/demo.png)"
        " [e](#z)\n"
        "`[f](../src)` [g](../pyproject.toml) [h](start.md) [i](https://x.y)\n```\n[j](../src)\n```\n"
        "| `a\\|b` | c\\|d |\n"
    )
    assert build.move_links(text, "docs/using.md", "https://h/r") == (
        "[a](https://h/r/tree/main/src/triptych) [b](data.md#x) [c](contributing.md#y)"
        " ![d](images/demo.png) [e](#z)\n"
        "`[f](../src)` [g](https://h/r/blob/main/pyproject.toml) [h](index.md) [i](https://x.y)\n"
        "```\n[j](../src)\n```\n| `a|b` | c\\|d |\n"
    )
    assert build.move_links("[a](../src) [b](data.md)", "docs/using.md", None) == "a [b](data.md)"
    assert build.move_links("[a](docs/data.md)", "CONTRIBUTING.md", None) == "[a](data.md)"
    by_name = build.move_links("[docs/data.md](docs/data.md#x)", "CONTRIBUTING.md", None)
    assert by_name == "[Your own images](data.md#x)"


def test_every_command_and_option_is_in_the_reference() -> None:
    page = reference.commands()
    parts = dict(
        part.split("\n", 1) for part in page.split("\n## triptych ")[1:]
    )  # the command -> its part of the page
    assert list(parts) == list(parser.COMMANDS)
    for name, (kind_name, _) in parser.COMMANDS.items():
        kind = getattr(commands, kind_name)
        assert inspect.getdoc(kind) in parts[name]
        for each in fields(kind):
            start = each.metadata["metavar"] if is_argument(each) else typed_name(each)
            help_text = re.escape(reference.cell(each.metadata["help"]))
            row = rf"^\| `{re.escape(start)}(?: [^`]*)?` \| .*{help_text} \|$"
            assert re.search(row, parts[name], re.MULTILINE), f"{name} {start}"
    for model in registry.known_models():
        assert f"| `{model}` |" in page


def test_defaults_are_in_the_reference() -> None:
    sample = reference.command("sample")
    assert "| `--count N` | `64` | How many. |" in sample
    assert re.search(r"\| `--out PATH` \| must be given \|", sample)
    assert re.search(r"\| `--seed N` \| `0` \|", sample)  # which equals False
    assert "| `--json` |  | Print one JSON document" in sample
    assert "--way straight|spherical" in reference.command("interpolate")


def test_every_public_name_is_in_the_reference() -> None:
    page = reference.python()
    for name in triptych.__all__:
        each = getattr(triptych, name)
        assert f"\n### triptych.{name}\n" in page
        first = (inspect.getdoc(each) or "").splitlines()[0]
        assert first in page
    assert "Options:" not in page
    for name in ("Report", "Film", "Grid", "ImageData", "Traversal", "ResultsRecord", "RunInfo"):
        assert re.search(rf"^### triptych\.\S*\.{name}$", page, re.MULTILINE), name
    for method in ("Run.sample", "Run.encode", "Report.results", "Latent.interpolate"):
        assert f"\n#### {method}\n" in page
    budget = next(e for e in fields(commands.Train) if e.name == "budget").metadata["help"]
    assert f"| `budget` |  | {budget} |" in page


def test_every_field_of_the_json_files_is_in_the_reference() -> None:
    page = reference.json_files(build.DOCS / "schemas")
    for path in build.DOCS.glob("schemas/*.json"):
        part = page.partition(f"\n## {path.stem}\n")[2].partition("\n## ")[0]
        schema = json.loads(path.read_text(encoding="utf-8"))
        for record in (schema, *schema.get("$defs", {}).values()):
            for name in record.get("properties", {}):
                assert f"| `{name}` |" in part, f"{path.stem}: {name}"
    for target in re.findall(r"\]\((#[^)]+)\)", page):
        headings = [line.lstrip("# ") for line in page.splitlines() if line.startswith("#")]
        slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
        assert target[1:] in slugs


def test_reading_the_report_names_every_part_of_it() -> None:
    page = (build.DOCS / "report.md").read_text(encoding="utf-8").lower()
    texts = tomllib.loads((ROOT / "src/triptych/pages/locale/en.toml").read_text())["texts"]
    template = (ROOT / "src/triptych/pages/templates/report.html.j2").read_text()
    titles = set(re.findall(r't\("((?:\w+\.)+title|table\.trainings)"\)', template))
    assert {"verdict.title", "table.title", "method.title"} <= titles
    own = [key for key in texts if key.startswith(("metric.", "topic.", "nav.", "table.group."))]
    costs = [f"cost.{each.name}" for each in fields(CostRecord) if f"cost.{each.name}" in texts]
    assert len(costs) > 8
    titles |= {*own, *costs, "cost.process_memory_bytes"}
    for key in titles - {"merit.for.title", "merit.against.title", "concluded.title"}:
        assert texts[key].lower() in page, f"{key}: {texts[key]}"


def test_generated_pages_have_no_dead_link(tmp_path: Path) -> None:
    build.prepare(tmp_path / "docs")
    for page in sorted((tmp_path / "docs").glob("*.md")):
        inside = [link for link in dead_links(page) if not link.startswith("../")]
        assert inside == [], page.name
        assert not [each for each in build.links(page.read_text()) if each.startswith("../")]


@pytest.fixture(scope="module")
def site() -> Path:
    if NO_ZENSICAL:
        pytest.skip("Zensical is not installed: pip install -e '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "docs.build"], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    return build.SITE


@pytest.mark.sweep
def test_the_site_asks_for_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(
            r"<(?:link|script|img|iframe|source)\b[^>]*?(?:src|href)=\"?([^\s\">]+)", text
        )
        assert not [url for url in loaded if re.match(r"https?:|//", url)], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text())


@pytest.mark.sweep
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_site_is_read_and_searched_from_the_disk(site: Path) -> None:
    playwright: Any = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme in ((390, "dark"), (1400, "light")):
            page = browser.new_page(
                viewport={"width": width, "height": 900}, color_scheme=scheme, locale="en-GB"
            )
            messages: list[str] = []
            asked: list[str] = []
            page.on("console", lambda message, to=messages: to.append(message.text))
            page.on("pageerror", lambda error, to=messages: to.append(str(error)))
            page.on("request", lambda request, to=asked: to.append(request.url))
            for name in ("index", "vae", "commands", "python", "json", "practical.fr"):
                page.goto((site / f"{name}.html").as_uri())
                page.wait_for_load_state("load")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            for _ in range(40):  # the scripts of the page come a moment after it
                page.keyboard.press("/")
                page.wait_for_timeout(250)
                if page.locator("input:focus").count():
                    break
            page.locator("input:focus").fill("bicubic")
            page.get_by_text("What is done with the images").last.wait_for(timeout=20_000)
            assert page.locator("input:focus").input_value() == "bicubic"
            assert messages == []
            assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []
        browser.close()
