"""Words are data: a note is a code with values, and each language words it in its own file."""

from __future__ import annotations

import ast
import re
import shutil
import string
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import triptych
from triptych import words
from triptych.errors import InputError
from triptych.pages.language import Language, Name, Sentence
from triptych.records import EARLIER, Note, as_json, note_from_text, read_note, read_notes
from triptych.words import (
    LOCALES,
    Words,
    check_language,
    english,
    languages,
    without_repeats,
)

SOURCE = Path(triptych.__file__).parent
WIDE, NARROW = "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}"


def parts_of(text: str) -> list[tuple[str, str]]:
    """The fields of a text with how they are written: ("n", "image|images")."""
    return [(name, form or "") for _, name, form, _ in string.Formatter().parse(text) if name]


# The files


@pytest.mark.parametrize("name", languages())
def test_every_language_is_complete(name: str) -> None:
    """As its file has it: the same texts with the same values, and all forms of its plurals."""
    own = tomllib.loads((LOCALES / f"{name}.toml").read_text())
    assert own.keys() == {"habits", "texts"}
    texts = Words().locale.texts
    assert own["texts"].keys() == texts.keys()
    forms = len(own["habits"]["plurals"]) + 1
    for key, text in own["texts"].items():
        assert text and dict(parts_of(text)).keys() == dict(parts_of(texts[key])).keys(), key
        for _, form in parts_of(text):
            assert form in ("", "percent") or len(form.split("|")) == forms, key
    for metric in (key.removeprefix("metric.") for key in texts if key.startswith("metric.")):
        assert metric.startswith("fid") or f"definition.{metric}" in texts


def test_a_third_language_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that it lacks are in English, which one line says; its plurals are its own."""
    shutil.copytree(LOCALES, tmp_path / "locale")
    monkeypatch.setattr(words, "LOCALES", tmp_path / "locale")
    with pytest.raises(InputError, match="no language 'toy': choose from en, fr"):
        check_language("toy")
    text = (LOCALES / "fr.toml").read_text().replace('"and" = "et"\n', "")
    text = text.replace('decimal = ","', 'decimal = "_"').replace("graine", "germe")
    one, few = "(.*[^1])?1", "(.*[^1])?[234]"  # as Russian: 1, 21, but not 11; 2 to 4, 22 to 24
    text = re.sub(r"plurals = .*", f"plurals = ['{one}', '{few}']", text)
    text = re.sub(r'"note.draws" = .*', '"note.draws" = "{n} {n:один|два|много}"', text)
    (tmp_path / "locale" / "toy.toml").write_text(text)
    check_language("toy")
    toy = Language("toy")
    with pytest.warns(UserWarning, match="toy.toml lacks and: they are in English"):
        assert toy.listed(["a", "b"]) == "a and b"
    assert toy.text("seed") == "germe" and toy.number(0.5) == "0_5"
    forms = [toy.note(Note("draws", {"n": n})).split()[1] for n in (1, 2, 5, 11, 21, 24)]
    assert forms == ["один", "два", "много", "много", "один", "два"]


def made_codes() -> Iterator[tuple[str, Path]]:
    """Every code that a `Note(...)` in the source names, also those of a choice between two."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Note" and node.args:
                code = node.args[0]
                choices = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                for choice in choices:
                    if isinstance(choice, ast.Constant):
                        yield str(choice.value), path


def test_every_code_that_is_made_has_words() -> None:
    made = list(made_codes())
    assert len(made) > 80
    for code, path in made:
        assert f"note.{code}" in Words(), f"{path} makes a note of {code}"


def test_no_words_outlive_their_code() -> None:
    """Codes that are picked from a table stand in the source as they are."""
    literals = {
        node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    texts = {key.removeprefix("note.") for key in Words().locale.texts if key.startswith("note.")}
    earlier = {"fewer_samples", "labels_missing", "images_outside_classes"}
    assert texts - literals == earlier  # of version 0.1


# Notes in words


def test_numbers_and_plurals_follow_the_language() -> None:
    few = {n: Note("few_samples", {"n": n, "enough": 2000}) for n in (0, 1, 1500)}
    assert [english(note).partition(",")[0] for note in few.values()] == [
        "only 0 samples were measured (normal: 2",
        "only 1 sample was measured (normal: 2",
        "only 1",  # 1,500
    ]
    assert "1,500 samples were measured (normal: 2,000 or more): " in english(few[1500])
    french = [Words("fr").note(note) for note in few.values()]
    assert french[0].startswith("seulement 0 échantillon mesuré (normalement 2")
    assert french[1].startswith("seulement 1 échantillon mesuré (normalement 2")
    assert french[2].startswith(f"seulement 1{NARROW}500 échantillons mesurés (normalement 2")
    assert "0,000012" in Words("fr").note(Note("mean_pixels_cooled", {"share": 1.2e-5}))
    assert f"5{WIDE}%" in Words("fr").note(
        Note("training_times_differ", {"most": 0.05, "runs": ""})
    )


WARNINGS = {  # and advice: each names the thing, its number with what is normal, and what to do
    "few_steps", "no_snapshots", "few_images_augmented", "steps_left_out", "discriminator_wins",
    "few_kinds_of_images", "discriminator_memorizes", "unused_latent", "unused_latent_pixels",
    "unused_level", "unused_level_pixels", "ignored_latents", "ignored_latents_pixels",
    "overfitting", "few_samples", "measured_without_labels", "trained_with_labels_not_told",
    "floor_of_training_images", "many_bad_images", "little_contrast", "cut_to_black",
    "cut_to_white", "few_training_images", "few_test_images", "many_labels", "busy_cores",
}  # fmt: skip
FAILURES = {"not_finite", "gradient_vanished", "generator_collapsed"}  # what is done follows


@pytest.mark.parametrize(("language", "normal"), [("en", "normal: "), ("fr", "normalement ")])
def test_warnings_tell_the_number_its_normal_range_and_what_to_do(
    language: str, normal: str
) -> None:
    for code in WARNINGS | FAILURES:
        text = Words(language).locale.texts[f"note.{code}"]
        before, found, after = text.partition(normal)
        assert found and "{" in before, code
        mend = after.partition(")")[2]
        assert code in FAILURES or len(mend) > 20, code


def test_the_terminal_gets_signs_of_a_keyboard() -> None:
    note = Note("training_times_differ", {"most": 0.1, "runs": "l'un -3"})
    assert english(note).isascii() and "10 %" in english(note) and "l'un -3" in english(note)
    assert not Words().note(Note("ignored_latents_pixels", {"gain": -1.0, "least": 1, "rate": 2}))\
        .isascii()  # fmt: skip


@pytest.mark.parametrize("language", languages())
def test_a_code_without_words_is_shown_with_its_values(language: str) -> None:
    """Of a plug-in or a later version; and one whose words need values that it has not."""
    shown = Words(language).note(Note("of_tomorrow", {"n": 3, "name": "x"}))
    assert shown.startswith("of_tomorrow") and shown.endswith("n 3, name x")
    assert Words(language).note(Note("of_tomorrow")) == "of_tomorrow"
    assert Words(language).note(Note("few_samples", {"n": 3})).startswith("few_samples")


def test_values_are_never_read_as_forms() -> None:
    evil = "{0.__class__} {n:x|y} %s"
    assert evil in Words().note(Note("text", {"text": evil}))
    assert "inf" in english(Note("draws", {"n": float("inf")}))
    assert english(Note("draws", {"n": "many"})) == "many random draws for each image"


def test_articles_melt_into_french_prepositions() -> None:
    shown = Language("fr").tell(Sentence("recognisable.best", {"who": Name("gan"), "clauses": ()}))
    assert "les images du GAN qui" in shown
    recipe = Name("gan", "gan:r3")
    shown = Language("fr").tell(Sentence("recognisable.best", {"who": recipe, "clauses": ()}))
    assert "les images de gan:r3 qui" in shown


# Notes in files


def test_notes_come_back_from_json_as_they_went() -> None:
    note = Note("bad_images", {"n": 2, "files": 9, "share": 0.25, "images": "a: empty"})
    assert as_json(note) == {"code": "bad_images", "values": note.values}
    assert read_note(as_json(note)) == note and as_json(None) is None
    for nothing in (None, "", 3, [], {}, {"code": 3}, {"values": {}}):
        assert read_note(nothing) is None
    assert read_note({"code": "a", "values": [1]}) == Note("a")
    assert read_note({"code": "a", "values": {"n": [1], "m": 2}}) == Note("a", {"m": 2})
    assert read_notes([as_json(note), 3, ""]) == (note,) and read_notes("text") == ()


@pytest.mark.parametrize(
    ("sentence", "note"),
    [
        ("this model has no likelihood", Note("no_likelihood")),
        ("draws for each image: 100", Note("draws", {"n": 100})),
        ("fewer than 2,000 samples: read the interval, not the value",
         Note("fewer_samples", {"enough": 2000})),
        ("guided by 1.7 to their classes", Note("guided_to_classes", {"weight": 1.7})),
        ("mean decodes, without pixel noise", Note("mean_pixels")),
        ("true training seconds differ by more than 10 %: a 70, b 81",
         Note("training_times_differ", {"most": 0.1, "runs": "a 70, b 81"})),
        ("bad images skipped: 2 of 400 (0.5%): a b.png: empty; c.png: damaged (x: y)",
         Note("bad_images", {"n": 2, "files": 400, "share": 0.005,
                             "images": "a b.png: empty; c.png: damaged (x: y)"})),
        ("resized by --fit crop: 10x10..40x20 to 32x32",
         Note("cropped", {"sizes": "10x10..40x20", "resolution": "32x32"})),
        ("images without a label, so all labels were left out: 3 of 9, first a b.png",
         Note("images_without_label", {"n": 3, "images": 9, "first": "a b.png"})),
        ("images without a label, so all labels were left out: 3",
         Note("labels_missing", {"n": 3})),
        ("this model has no likelihood.", Note("text", {"text": "this model has no likelihood."})),
    ],
)  # fmt: skip
def test_sentences_of_the_version_before_are_known(sentence: str, note: Note) -> None:
    assert note_from_text(sentence) == read_note(sentence) == note


def test_every_earlier_sentence_is_worded_in_every_language() -> None:
    for sentence in tomllib.loads(EARLIER.read_text()):
        filled = re.sub(r"\{share\}", "(5.0%)" if "bad images" in sentence else "0.3", sentence)
        note = note_from_text(re.sub(r"\{\w+\}", "7", filled))
        assert note.code != "text", sentence
        for language in languages():
            assert not Words(language).note(note).startswith(note.code), sentence


def test_hostile_sentences_are_read_at_once() -> None:
    started = time.process_time()  # a busy neighbour does not count
    for part in ("bad images skipped: 1 of ", " of 1", "the critic tells 1 of the pairs apart "):
        for times in (50, 1000, 100_000):
            assert note_from_text(part * times).code == "text"
    assert time.process_time() - started < 2


def test_lists_and_notes_name_each_once() -> None:
    words = Words()
    assert [words.listed(list("abcd"[:n])) for n in range(1, 5)] == [
        "a", "a and b", "a, b and c", "a, b, c and d",
    ]  # fmt: skip
    a, b = Note("x", {"n": 1}), Note("x", {"n": 2})
    assert without_repeats([a, b, a, b, a]) == (a, b)


@pytest.mark.parametrize(
    ("value", "form", "spread", "shown"),
    [
        (150.0, "time", None, "2.50 min"),
        (90.0, "time", None, "90.0 s"),
        (0.0025, "time", None, "2.50 ms"),
        (7200.0, "time", None, "2.00 h"),
        (0.12345, "points", 0.004, "12.3"),
        (0.12345, "points", 0.2, "12"),
        (1_048_576.0, "bytes", None, "1.0 MB"),
    ],
)
def test_numbers_have_the_digits_that_count(
    value: float, form: Any, spread: float | None, shown: str
) -> None:
    assert Words().number(value, form, spread).replace("\N{NO-BREAK SPACE}", " ") == shown


def test_words_follow_the_size_of_a_number_and_not_its_sign() -> None:
    forms = ["image", "images"]
    assert [Words().plural(n, forms) for n in (-2, -1, 0, 1, 2)] == [
        "images", "image", "images", "image", "images",
    ]  # fmt: skip


def test_values_may_have_any_name() -> None:
    """Those of a plug-in's notes, or of a stranger's files."""
    assert english(Note("of_a_plug_in", {"key": "a", "self": 1, "code": 2})) == (
        "of_a_plug_in: key a, self 1, code 2"
    )
