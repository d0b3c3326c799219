"""What a Python that is too old is told, from a source tree that pip never saw."""

from __future__ import annotations

import ast
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
OLDEST = (3, 8)  # that is told in one line


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_is_read_first_can_be_parsed_by_an_old_python(name: str) -> None:
    text = (SOURCE / "triptych" / name).read_text(encoding="utf-8")
    ast.parse(text, feature_version=OLDEST)


def test_the_command_leaves_before_it_imports_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no old Python, this one pretends to be one."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 2, "final", 0))
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(SOURCE / "triptych" / "__main__.py"), run_name="__main__")
    assert left.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("triptych: Python 3.10.2 is too old: use Python 3.11 or newer")


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
