"""What was done with data is noted, and worded in every language."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.making import ingested
from triptych.data import describe
from triptych.pages.language import Language
from triptych.records import Note
from triptych.words import languages


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("changed", [{}, {"bad": (("a.png", "empty"),) * 5}])
def test_every_note_on_what_was_done_is_worded(fit: Any, changed: dict[str, Any]) -> None:
    varied = ingested().sizes
    for sizes in (varied, replace(varied, narrowest=2.0)):
        notes = describe.notes(ingested(**changed, sizes=sizes), 32, fit, 10, 5)
        assert len(notes) == 7 + (fit == "stretch")
        assert {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[fit] in {
            note.code for note in notes
        }
        for note in notes:
            words = [Language(code).note(note) for code in languages()]
            assert not any(text.startswith(note.code) or "{" in text for text in words)
            assert len(set(words)) == len(words)


def test_notes_of_the_source_come_first() -> None:
    passed = (Note("links_passed_over", {"n": 3}), Note("many_labels", {"labels": 2, "images": 3}))
    notes = describe.notes(ingested(notes=passed), 32, "crop", 10, 5)
    assert notes[:2] == passed


def test_warnings_name_the_limits_that_they_are_made_by() -> None:
    """At each limit there is none; one step beyond it names the limit."""
    fine = describe.notes(ingested(faint=50, bad=(("a.png", "empty"),)), 32, "crop", 1000, 100)
    codes = {note.code for note in fine}
    assert not codes & {"little_contrast", "many_bad_images"}
    assert not codes & {"few_training_images", "few_test_images"}
    twice = (("a.png", "empty"), ("b.png", "empty"))
    warned = describe.notes(ingested(faint=51, bad=twice), 32, "crop", 999, 99)
    limits = {
        note.code: note.values.get("least", note.values.get("most"))
        for note in warned
        if {"least", "most"} & note.values.keys()
    }
    assert limits == {
        "little_contrast": 0.5,
        "many_bad_images": 0.01,
        "few_training_images": 1000,
        "few_test_images": 100,
    }
