"""Every snippet of README and docs does what it says, in the order of its page.

Python runs as it is written, and so does every line that begins with `triptych`, in a folder with
the files and runs that the pages speak of. Only budgets are made smaller, and the words in capitals
stand for something. What would fetch data, train for hours or serve until it is stopped is read by
the parser alone; targets of `make` are looked for in the Makefile.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import triptych
from tests.making import encode, one_thread
from triptych import options
from triptych.cli import main, parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CALL = re.compile(r"(?:[A-Z_]+=\S* )*triptych ")
BUDGET = re.compile(r"""(--budget |budget ?= ?\\?["'])[0-9.]+(?:s|m|h|kimg|epochs)""")
SMALL, SMALL_OF_POINTS = "0.32kimg", "1.28kimg"
STANDS_FOR = {"DATA": "photos/", "COMPARISON": "runs/both", "DIR": "runs", "FOLDER": "photos/"}
FETCHED = ("svhn", "mnist", "cifar10", "meterdigits", "hf:", "http", "push", "pull")
LONG = ("--course", "--seeds", "--size small", "triptych serve", "--install-completion")
# Need packages, clusters, or what people told in tests of their eyes
NOT_HERE = ("onnx", "ray", "slurm", "--log-to", "diffusers", "--eyes")


def snippets(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each fenced block."""
    return [(match[1], match[2]) for match in FENCED.finditer(page.read_text(encoding="utf-8"))]


def smaller(text: str) -> str:
    """The same with budgets of a few steps."""
    return BUDGET.sub(rf"\g<1>{SMALL}", text)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each line that calls the program, with what capitals stand for."""
    for line in text.replace("\\\n", " ").splitlines():
        if not CALL.match(line):
            continue
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words[:1] == ["triptych"]:
            yield [STANDS_FOR.get(word, word) for word in words[1:]]


def is_run(words: list[str], page: Path) -> bool:
    """Whether a command is short, and needs nothing that a test has not.

    Comparisons are alike: the one of README stands for those of the other pages.
    """
    if words[0] == "compare" and page.name != "README.md":
        return False
    line = shlex.join(["triptych", *words])
    return not any(part in line for part in (*FETCHED, *LONG, *NOT_HERE))


def picture(rng: np.random.Generator) -> np.ndarray:
    """A disc of some colour, place and size: uint8 (16,16,3)."""
    y, x = np.mgrid[:16, :16]
    (a, b), radius = rng.uniform(5, 11, 2), rng.uniform(2, 5)
    inside = ((y - a) ** 2 + (x - b) ** 2 < radius**2)[..., None]
    return np.where(inside, rng.integers(120, 255, 3), rng.integers(0, 60, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files and runs that the pages speak of."""
    folder, rng = tmp_path_factory.mktemp("stock"), np.random.default_rng(0)
    for name, count in (("photos/owl", 60), ("photos/wren", 60), ("more", 3), ("stylegan", 60)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number:03d}.png").write_bytes(encode(picture(rng)))
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(encode(picture(rng)))
    (folder / "out").mkdir()
    for name in ("samples.npz", "out/samples.npz"):
        np.savez(folder / name, images=np.stack([picture(rng) for _ in range(60)]))
    angles = rng.uniform(0, 2 * np.pi, 400)
    rows = [f"{np.cos(a):.4f},{np.sin(a):.4f}" for a in angles]
    (folder / "mine.toml").write_text(f'[train]\nbudget = "{SMALL}"\nset = ["batch_size=16"]\n')
    (folder / "points.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    made: dict[str, dict[str, Any]] = {
        "v": {"model": "vae", "conditional": True},
        "g": {"model": "gan"},
        "d": {"model": "diffusion"},
        "vae": {"model": "vae:course"},
    }
    for name, asked in made.items():
        triptych.train(
            data=folder / "photos", budget=SMALL, size="tiny", resolution=16,
            out=folder / "runs" / name, machine=one_thread(), quiet=True, **asked,
        )  # fmt: skip
    shutil.copytree(folder / "runs/g", folder / "runs/gan")
    triptych.export_run(folder / "runs/vae", folder / "exported", quiet=True)
    return folder


@pytest.fixture
def here(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them to work in; measurements are of few images."""
    folder = shutil.copytree(stock, tmp_path / "here")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("triptych.hardware.keep_memory", lambda: None)
    for device in options.DEFAULT_COUNTS:  # the very dictionary that everybody has
        monkeypatch.setitem(options.DEFAULT_COUNTS, device, 40)
    usual = {"BUDGET": SMALL, "DATA": "photos/", "RESOLUTION": "16", "SIZE": "tiny"}
    for verb in ("TRAIN", "COMPARE"):
        for name, value in usual.items():
            monkeypatch.setenv(f"TRIPTYCH_{verb}_{name}", value)
    return folder


def make_room(text: str) -> None:
    """Remove what a snippet is going to write: on the reader's disk it is not there yet."""
    for target in re.findall(
        r"""--out[ =](\S+)|out=["'](.+?)["']|export_run\(.+?, ["'](.+?)["']""", text
    ):
        path = Path("".join(target))
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def run_python(text: str, page: Path, names: dict[str, Any]) -> None:
    """A block, after those of the page before it."""
    make_room(text)
    exec(compile(smaller(text), str(page), "exec"), names)


def run_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    make_room(shlex.join(words))
    if "points.csv" in words:  # points have no resolution, and come many at once
        words = [SMALL_OF_POINTS if word == SMALL else word for word in words]
        monkeypatch.delenv("TRIPTYCH_TRAIN_RESOLUTION", raising=False)
    monkeypatch.setattr(sys, "argv", ["triptych", *words])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 0, shlex.join(words)


PYTHON = [page for page in PAGES if any(language == "python" for language, _ in snippets(page))]


def each(pages: list[Path], kept: set[str]) -> list[Any]:
    """Each page as a case; those that are not `kept` take long, and are sweeps."""
    return [
        pytest.param(page, id=page.stem, marks=[] if page.stem in kept else [pytest.mark.sweep])
        for page in pages
    ]


@pytest.mark.parametrize("page", each(PYTHON, set()))
def test_python_runs_as_it_is_written(page: Path, here: Path) -> None:
    names: dict[str, Any] = {}
    for language, text in snippets(page):
        if language == "python":
            run_python(text, page, names)


CALLING = [page for page in PAGES if any(map(list, (commands(t) for _, t in snippets(page))))]


@pytest.mark.parametrize("page", each(CALLING, {"start", "using"}))
def test_commands_run_or_are_read(
    page: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for language, text in snippets(page):
        for words in commands(smaller(text)) if language != "python" else ():
            if is_run(words, page):
                run_command([*words, "--quiet"], monkeypatch)
            elif words[0].startswith("--"):
                continue
            else:
                parser.parse(words)


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        match
        for page in PAGES
        for _, text in snippets(page)
        for match in re.findall(r"^make ([a-z]+)", text, re.MULTILINE)
    }
    assert named and named <= targets
