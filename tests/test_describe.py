"""What is said of data begins with words that the report knows in French."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import triptych
from tests.making import ingested
from triptych.data import describe
from triptych.pages.language import Language

SOURCE = Path(triptych.__file__).parent


def literals() -> str:
    """All text in the code; where values stand in it, a blank."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else " " for p in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("changed", [{}, {"bad": (("a.png", "empty"),) * 5}])
def test_every_note_on_what_was_done_is_known(fit: Any, changed: dict[str, Any]) -> None:
    varied = ingested().sizes
    for sizes in (varied, replace(varied, narrowest=2.0)):
        notes = describe.notes(ingested(**changed, sizes=sizes), 32, fit, 10, 5)
        assert len(notes) == 7 + (fit == "stretch")
        for note in notes:
            head, colon, rest = note.partition(": ")
            assert colon and head in Language("fr").locale.notes, note
            translated = Language("fr").note(note)
            assert translated.endswith(rest) and translated != note


def test_no_translation_outlives_its_note() -> None:
    said = literals()
    notes = (head.replace("2,000", " ") for head in Language("fr").locale.notes)
    gone = [n for n in notes if n not in said and "--fit" not in n and not n.startswith("images ")]
    assert not gone
