"""What a Python that is too old is told, from a source tree that pip never saw."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
OLDEST = (3, 8)  # that is told in one line


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_is_read_first_can_be_parsed_by_an_old_python(name: str) -> None:
    text = (SOURCE / "triptych" / name).read_text(encoding="utf-8")
    ast.parse(text, feature_version=OLDEST)


def starts(python: str) -> bool:
    """Whether a program of this name runs: pyenv leaves some that do not."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def test_an_old_python_is_told_in_one_line_which_one_is_needed() -> None:
    names = [f"python3.{minor}" for minor in range(OLDEST[1], 11)]
    old = next(filter(starts, filter(None, map(shutil.which, names))), None)
    if old is None:
        pytest.skip("no Python 3.8, 3.9 or 3.10 is on this machine")
    command = [old, "-m", "triptych", "doctor"]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert (
        done.stderr.startswith("triptych: Python 3.") and "use Python 3.11 or newer" in done.stderr
    )
