"""The notebooks of `examples/` run from end to end, and hold what they showed when last run.

They run here in this process, at budgets of a few steps; that a kernel shows what they give is the
subject of `test_notebook.py`.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.making import make_images, write_npz
from triptych import options

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
NAMES = ("compare", "families", "measure")
SMALL = {"BUDGET": "0.32kimg", "RESOLUTION": 16, "COUNT": 60}
PLACES = re.compile(r"/(?:home|root|tmp|work|Users)/")


def cells(name: str) -> list[dict[str, Any]]:
    """The cells of a notebook that hold code."""
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def run(text: str, names: dict[str, Any]) -> Any:
    """Do what a cell says; the value of its last line, where that is one."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def shown(value: Any) -> str | bytes:
    """As a notebook shows it."""
    for method in ("_repr_html_", "_repr_png_"):
        if hasattr(value, method):
            picture: str | bytes = getattr(value, method)()
            return picture
    return repr(value)


@pytest.mark.sweep
@pytest.mark.parametrize("name", NAMES)
def test_notebooks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for device in options.DEFAULT_COUNTS:  # the very dictionary that everybody has
        monkeypatch.setitem(options.DEFAULT_COUNTS, device, 60)
    given = SMALL | {"DATA": str(write_npz(tmp_path / "bars.npz", *make_images(500)))}
    names: dict[str, Any] = {}
    first, *rest = cells(name)
    assert first["metadata"]["tags"] == ["parameters"]
    run(text_of(first), names)
    asked = names.keys() & given.keys()
    assert {"DATA", "RESOLUTION"} <= asked
    names |= {key: given[key] for key in asked}
    for cell in rest:
        value = run(text_of(cell), names)
        assert value is None or shown(value)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_hold_what_they_showed(name: str) -> None:
    """Every cell that ends in a value has an output, none an error, none tells of a machine."""
    for cell in cells(name)[1:]:
        ends_in_value = isinstance(ast.parse(text_of(cell)).body[-1], ast.Expr)
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert "error" not in kinds
        assert bool(kinds) or not ends_in_value, text_of(cell)
        assert not PLACES.search(json.dumps(cell["outputs"]))
