"""Build the site of the documents: `make docs`, or `python -m docs.build`.

Zensical has no hooks, so the pages are prepared first, in build/docs:

- every page of docs/ is copied; start.md becomes the first page of the site, index.md;
- CONTRIBUTING.md is included as contributing.md;
- the references are written from the code (`docs/reference.py`);
- links to files of the repository outside docs/ become addresses of the project. Where
  pyproject.toml names none, they become plain text, for a site holds no such file.

Then Zensical makes the site, strictly: a warning ends the build.
"""

from __future__ import annotations

import functools
import importlib.util
import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from docs import reference

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PREPARED = ROOT / "build" / "docs"
SITE = ROOT / "site"
# A page of the repository -> its name in the site, where that is another.
RENAMED = {"docs/start.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
CODE_FILES = {"__init__.py", "build.py", "reference.py"}  # of docs/, and no documents

FENCE = re.compile(r"^ {0,3}(```|~~~)")
LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)")
CODE = re.compile(r"`[^`]*`")
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|//")


def project_address() -> str | None:
    """Where the repository is, by [project.urls] of pyproject.toml; None where that is not said."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    urls = {name.lower(): url for name, url in project.get("urls", {}).items()}
    for name in ("repository", "source", "source code", "homepage"):
        if name in urls:
            return str(urls[name]).rstrip("/").removesuffix(".git")
    return None


def prose(text: str) -> Iterator[tuple[str, bool]]:
    """The lines of a page, each with whether it is prose: no line of a fenced block is."""
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = FENCE.match(line)
        if not fence and mark:
            fence = mark[1]
            yield line, False
        elif fence:
            if mark and mark[1] == fence:
                fence = ""
            yield line, False
        else:
            yield line, not line.startswith("    ")


def links(text: str) -> Iterator[str]:
    """What the links of a page lead to, as it is written; code is passed over."""
    for line, is_prose in prose(text):
        if is_prose:
            for match in LINK.finditer(CODE.sub("``", line)):
                yield match["target"]
                inner = match["text"]
                yield from (each["target"] for each in LINK.finditer(inner))


@functools.cache
def titles() -> dict[str, str]:
    """The title of each page in the navigation, by its name in the site."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    lines = re.findall(r"- (.+): (\S+\.md)$", navigation, re.MULTILINE)
    return {page: title for title, page in lines}


def in_site(path: str) -> str | None:
    """Where a file of the repository is in the site; None where it is not."""
    if path in RENAMED:
        return RENAMED[path]
    inside = path.removeprefix("docs/")
    return inside if path.startswith("docs/") and inside not in CODE_FILES else None


def move_links(text: str, source: str, address: str | None) -> str:
    """A page with its links as the site needs them.

    source:  the page's path in the repository: docs/data.md
    address: of the project
    """
    here = posixpath.dirname(in_site(source) or "")

    def moved(match: re.Match[str]) -> str:
        target = match["target"]
        spans = [code.span() for code in CODE.finditer(match.string)]
        in_code = any(first <= match.start() < last for first, last in spans)
        if in_code or OUTSIDE.match(target) or target.startswith("#"):
            return match[0]
        path, hash_sign, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        page = in_site(file)
        if page is not None:
            path = posixpath.relpath(page, here or ".")
        elif address is None:
            return match["text"]
        else:
            kind = "tree" if (ROOT / file).is_dir() else "blob"
            path = f"{address}/{kind}/main/{file}"
        text = match["text"]
        if page is not None and posixpath.basename(text) == posixpath.basename(file):
            text = titles().get(page, text)  # a reader of the site knows pages by their titles
        return f"{match['image']}[{text}]({path}{hash_sign}{anchor})"

    return "".join(
        bars_in_code(LINK.sub(moved, line)) if is_prose else line for line, is_prose in prose(text)
    )


def bars_in_code(line: str) -> str:
    """A row of a table as the site needs it: a bar in code has a backslash on GitHub alone."""
    if not line.startswith("|"):
        return line
    return CODE.sub(lambda code: code[0].replace("\\|", "|"), line)


def prepare(target: Path = PREPARED) -> None:
    """Write all that Zensical makes the site of."""
    address = project_address()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(
        DOCS,
        target,
        ignore=shutil.ignore_patterns("*.md", "*.py", "__pycache__"),
        dirs_exist_ok=True,
    )
    pages = [*sorted(DOCS.glob("*.md")), ROOT / "CONTRIBUTING.md"]
    for page in pages:
        source = page.relative_to(ROOT).as_posix()
        text = move_links(page.read_text(encoding="utf-8"), source, address)
        (target / str(in_site(source))).write_text(text, encoding="utf-8")
    generated: dict[str, Callable[[], str]] = {
        "commands.md": reference.commands,
        "python.md": reference.python,
        "json.md": lambda: reference.json_files(DOCS / "schemas"),
    }
    for name, write in generated.items():
        (target / name).write_text(write(), encoding="utf-8")


def build() -> int:
    """Prepare the pages and make the site; Zensical's exit code."""
    if importlib.util.find_spec("zensical") is None:
        print("Zensical is not installed: pip install -c constraints.txt -e '.[docs]'")
        return 2
    prepare()
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(build())
