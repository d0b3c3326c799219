"""The wheel and the sdist: what is in them, what an index is told, and that one makes the other.

They are built once, by the build backend itself, without an index.
"""

from __future__ import annotations

import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import triptych
from tests.lowest import lowest

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ADDRESS: str = PROJECT["project"]["urls"]["Homepage"]
# Links and pictures of Markdown: what stands in the brackets after "](".
TARGET = re.compile(r"\]\(([^)]+)\)")
NOT_SHIPPED = {"__pycache__"}


def needs(module: str) -> None:
    """Skip where a development tool is missing."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install -e '.[dev]'")


def run(*words: str | Path, folder: Path = ROOT) -> str:
    """What a module of this Python prints."""
    paths = os.pathsep.join(filter(None, [*map(str, sys.path)]))
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "200"}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(kind: str, source: Path, out: Path) -> Path:
    """The one file of a kind that the backend makes of a source tree."""
    run("hatchling", "build", "--target", kind, "--directory", out, folder=source)
    (made,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("hatchling")
    needs("hatch_fancy_pypi_readme")
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in the sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the sdist alone, as `python -m build` makes it."""
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode())


def sources() -> set[str]:
    """Every file of the package, as the wheel names it."""
    files = (path for path in (ROOT / "src" / "triptych").rglob("*") if path.is_file())
    inside = (path for path in files if not NOT_SHIPPED & set(path.parts))
    return {path.relative_to(ROOT / "src").as_posix() for path in inside}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(names: set[str]) -> None:
    own = {name for name in names if PurePosixPath(name).parts[0] == "triptych"}
    assert own == sources()
    others = {name.split("/", 1)[1] for name in names - own}
    assert others == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def test_what_is_not_python_is_in_the_wheel_too(names: set[str]) -> None:
    for folder, ending in [
        ("triptych", "py.typed"),
        ("triptych", "earlier.toml"),
        ("triptych/pages/locale", "en.toml"),
        ("triptych/pages/locale", "fr.toml"),
        ("triptych/pages/templates", ".j2"),
        ("triptych/pages/templates", ".css"),
        ("triptych/pages/templates/live", ".js"),
        ("triptych/export/templates", ""),
    ]:
        inside = [name for name in names if PurePosixPath(name).parent.as_posix() == folder]
        assert any(name.endswith(ending) for name in inside), f"{folder}: no {ending}"


def test_the_sdist_holds_what_builds_and_tests_it_again(unpacked: Path) -> None:
    inside = {path.name for path in unpacked.iterdir()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "src", "tests"}
    assert wanted | {"constraints.txt", "docs", "PKG-INFO"} <= inside
    assert not inside & {".venv", ".git", "runs", "dist"}
    assert not list(unpacked.rglob("__pycache__"))


def test_twine_accepts_both(sdist: Path, wheel: Path) -> None:
    needs("twine")
    told = run("twine", "check", "--strict", sdist, wheel)
    assert told.count("PASSED") == 2


def test_check_wheel_contents_accepts_the_wheel(wheel: Path) -> None:
    needs("check_wheel_contents")
    assert "OK" in run("check_wheel_contents", wheel)


def test_pyproject_is_valid() -> None:
    needs("validate_pyproject")
    run("validate_pyproject", ROOT / "pyproject.toml")


def test_an_index_finds_no_relative_link(metadata: Message) -> None:
    """README's own are relative; on an index they lead to this version's files."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = str(metadata.get_payload())
    assert metadata["Description-Content-Type"] == "text/markdown"
    own = [link for link in TARGET.findall(readme) if not link.startswith(("https://", "#"))]
    links = TARGET.findall(text)
    assert len(own) > 10
    assert not [link for link in links if not link.startswith(("https://", "#"))]
    for link in own:
        kind = "raw" if link.endswith((".png", ".gif", ".webp", ".svg")) else "blob"
        assert f"{ADDRESS}/{kind}/v{triptych.__version__}/{link}" in links
        assert (ROOT / link.partition("#")[0]).exists(), link
    assert "<img" not in readme and "<a " not in readme, "these are not rewritten"


def test_metadata_are_complete(metadata: Message) -> None:
    assert metadata["Name"] == "triptych" and metadata["Version"] == triptych.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE" and metadata["Requires-Python"] == ">=3.11"
    assert metadata["Author"] == "Triptych contributors"
    classifiers = metadata.get_all("Classifier", [])
    assert {"Development Status :: 4 - Beta", "Typing :: Typed"} <= set(classifiers)
    assert set(metadata.get_all("Provides-Extra", [])) == set(
        PROJECT["project"]["optional-dependencies"]
    )


def test_one_address_stands_behind_all() -> None:
    """Where the project lives is changed in one search: nothing names another place."""
    urls = PROJECT["project"]["urls"].values()
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    rewritten = [rule["replacement"] for rule in hook["substitutions"]]
    assert all(url.startswith(ADDRESS) for url in urls)
    assert all(f"({ADDRESS}/" in replacement for replacement in rewritten)


def test_every_requirement_has_a_lower_bound_and_make_lowest_knows_it() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    pins = lowest(*extras)
    assert {pin.partition("==")[0] for pin in pins} >= {"torch", "numpy", "starlette"}


@pytest.mark.sweep
@pytest.mark.timeout(600)
def test_the_wheel_installs_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Beside the libraries of this environment, but without the source tree."""
    site = tmp_path / "site"
    pip = ("pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site, wheel)
    run(*pip, folder=tmp_path)
    shutil.rmtree(site / "bin", ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "triptych", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == triptych.__version__, done.stderr
