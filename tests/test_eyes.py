"""What people told in blind tests: accuracies, and the sentences of a report that shows them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_page import change, read, write_comparison
from triptych.errors import InputError
from triptych.pages.eyes import accuracies, read_tests
from triptych.pages.page import write_page
from triptych.records import BlindTest, Trial, TrialMode


def test_accuracy_is_over_what_was_judged() -> None:
    """Worked by hand: 3 right of 4 for one model, over two people; who judged nothing is nobody."""

    def trial(real: bool, judged: bool | None) -> Trial:
        return Trial(
            run="a", model="gan:r1", weights="d", number=next(numbers), original=0, real=real,
            judged=judged,
        )  # fmt: skip

    numbers: Iterator[int] = iter(())

    def test(name: str, *given: tuple[bool, bool | None]) -> BlindTest:
        nonlocal numbers
        numbers = iter(range(9))
        trials = tuple(trial(*each) for each in given)
        return BlindTest(name=name, mode="one", seed=0, trials=trials)

    first = test("x", (True, True), (False, True), (False, None))
    second = test("y", (False, False), (True, True))
    nobody = test("z", (True, None))
    [found] = accuracies([first, second, nobody])
    assert (found.n, found.people, found.value) == (4, 2, 0.75)
    p, z = 0.75, 1.959963984540054  # Wilson (1927), as Brown, Cai and DasGupta 2001, eq. 4 have it
    middle = (p + z**2 / 8) / (1 + z**2 / 4)
    half = z / (1 + z**2 / 4) * math.sqrt(p * (1 - p) / 4 + z**2 / 64)
    assert found.low == pytest.approx(middle - half) and found.high == pytest.approx(middle + half)
    assert not found.above_chance


WEIGHTS = "d" * 64


def compared(folder: Path) -> Path:
    """A comparison whose GAN has weights of that digest."""
    write_comparison(folder)
    digests = {"model.safetensors": WEIGHTS}
    change(folder / "gan-hinge-s0" / "run.json", lambda record: record.update(digests=digests))
    return folder


def write_tests(path: Path, mode: TrialMode = "one", weights: str = WEIGHTS) -> Path:
    """Two people judge 30 images each of one run: 45 of 60 right."""
    run = {"run": "runs/x/gan-hinge-s0", "model": "gan:hinge", "weights": weights}
    trials = [{**run, "number": i, "original": i, "real": i % 2 == 0} for i in range(30)]
    right = {"x": 25, "y": 20}
    tests = [
        {
            "name": name,
            "mode": mode,
            "seed": 0,
            "trials": [t | {"judged": t["real"] == (i < n)} for i, t in enumerate(trials)],
        }
        for name, n in right.items()
    ]
    path.write_text(json.dumps(tests))
    return path


@pytest.mark.parametrize(
    ("language", "mode", "words"),
    [
        ("en", "one", "made by the GAN, people were right in 75"),
        ("en", "two", "beside one made by the GAN, people named the real one in 75"),
        ("fr", "one", "générée par le GAN, les personnes ont eu raison dans 75"),
    ],
)
def test_a_report_shows_what_people_told_of_its_own_runs(
    tmp_path: Path, language: str, mode: TrialMode, words: str
) -> None:
    folder, tests = compared(tmp_path / "c"), write_tests(tmp_path / "t.json", mode)
    plain = read(write_page(folder, tmp_path / "a.html", language)).words
    page = read(write_page(folder, tmp_path / "b.html", language, eyes=tests)).words
    assert words in page and words not in plain
    assert ("60 judgements (2 tests)" if language == "en" else "60 jugements (2 tests)") in page
    others = write_tests(tmp_path / "o.json", mode, weights="e" * 64)
    assert words not in read(write_page(folder, tmp_path / "c.html", language, eyes=others)).words


@pytest.mark.parametrize("format", ["md", "tex"])
def test_other_formats_show_it_too(tmp_path: Path, format: str) -> None:
    folder, tests = compared(tmp_path / "c"), write_tests(tmp_path / "t.json")
    text = write_page(folder, tmp_path / f"a.{format}", format=format, eyes=tests).read_text()
    assert "people were right in 75" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "missing"),
        ("{", "cannot be read"),
        ("{}", "no blind tests"),
        ("[1]", "no blind test"),
        ('[{"name": "../x", "mode": "one", "seed": 0, "trials": []}]', "no blind test"),
    ],
)
def test_another_file_is_refused_and_no_page_is_written(
    tmp_path: Path, content: Any, words: str
) -> None:
    path = tmp_path / "t.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_tests(path)
    folder = write_comparison(tmp_path / "c")
    with pytest.raises(InputError, match=words):
        write_page(folder, tmp_path / "a.html", eyes=path)
    assert not (tmp_path / "a.html").exists()
