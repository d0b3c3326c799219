"""Translations say what the English says: no meaning is reversed, and every pair was read."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.reviewed import pairs, pin, pinned, translations
from triptych.words import LOCALES

FRENCH = pairs("fr")
FIELD = re.compile(r"\{(\w+)(?::([^}]*))?\}")
OPTION = re.compile(r"--[\w-]+( [A-Z,]+)?")

# What a sentence cannot say without the other language saying it too: words of one meaning in
# English and in French, and the keys where one of both says it in another way.
MEANINGS: dict[str, tuple[str, str, frozenset[str]]] = {
    "less": (
        r"lower|lowest|below|fewer|fewest|less|smaller|shorter|least|or more|worst|cheap|half",
        r"bass?e?s?|inférieure?s?|moins|(au-)?dessous|sous|diminuer|raccourcir|plus petites?"
        r"|minimi\w+|minimum|divisé par|peu coûteux",
        frozenset(
            {
                "caption.reconstruction",
                "definition.density",
                "definition.real_or_fake",
                "real_or_fake.level",
                "real_or_fake.level.all",
                "real_or_fake.told",
                "real_or_fake.told.all",
            }
        ),
    ),
    "greater": (
        r"higher|highest|above|raise|no more than|significant|exceeds?|at most|up to|upper|beyond"
        r"|most often|longer|times as (long|fast|sharp)",
        r"haute?s?|supérieure?s?|au plus|(au-|ci-)?dessus|augmenter|allonger|dépasse"
        r"|le plus souvent|significati\w+|maximiser|fois plus",
        frozenset(
            {
                "answer.not_sharper",
                "balance.against",
                "balance.for",
                "better.floor",
                "caption.reconstruction",
                "note.steps_left_out",
            }
        ),
    ),
    "blurry": (r"blur\w*", r"flou\w*", frozenset()),
    "sharp": (r"(over-)?sharp\w*|clear", r"nets?|nettes?|netteté", frozenset()),
    "best": (
        r"best|better than|called better",
        r"meilleure?s?|mieux",
        frozenset({"method.floor", "probe.undecided"}),
    ),
    "worst": (r"worst|worse", r"moins bon|pires?", frozenset()),
    "near": (r"near\w*", r"proches?|approch\w+|plus près", frozenset({"coverage.best"})),
    "behind": (r"behind:", r"derrière", frozenset()),
    "not": (
        r"not|never|none|nothing|cannot|without|hardly|neither|nor|no|unlike|missing|undecided",
        r"pas|non|aucune?|rien|sans|ni|jamais|infirmé|contrairement|introuvable|illisibles?"
        r"|in\w+ables?",
        frozenset(
            {
                "caution.few",
                "claim.gan.evaluation",
                "claim.gan.unstable",
                "definition.frechet_distance",
                "definition.kernel_distance",
                "memorised.near",
                "merit.stable.refuted",
                "note.bad_images",
                "note.fastest_threads",
                "note.few_samples",
                "note.fewer_samples",
                "note.many_bad_images",
                "note.not_finite",
                "note.not_finite_values",
                "note.other_processor",
                "note.paths_stand_still",
                "note.trained_on_other_data",
            }
        ),
    ),
    "yes": (r"yes", r"oui", frozenset()),
    "slow": (
        r"slow|many times slower",
        r"lente?",
        frozenset({"note.threads_sleep"}),
    ),
    "fast": (r"fast|faster|fastest", r"rapides?|vite", frozenset()),
    "first": (
        r"first",
        r"premi\w+",
        frozenset(
            {"note.fastest_threads", "note.images_outside_classes", "note.images_without_label"}
        ),
    ),
    "last": (r"last", r"derni\w+", frozenset({"note.storage_folders"})),
    "left": (r"left(?! out)", r"gauche", frozenset()),
    "real": (
        r"real",
        r"vraie?s?|réelle?s?|réel",
        frozenset({"likelihood.bounds.best", "note.training_times_differ"}),
    ),
    "test": (r"test(?! your eyes)", r"test", frozenset()),
    "validation": (r"validation", r"validation", frozenset()),
    "lower bound": (
        r"lower (bound|and)",
        r"borne inférieure|bornes inférieure et",
        frozenset(),
    ),
    "upper bound": (r"upper bound", r"borne supérieure|et supérieure", frozenset()),
    "includes zero": (r"includes? zero", r"contien\w+ zéro", frozenset()),
    "excludes zero": (r"excludes? zero", r"exclut zéro", frozenset()),
    "unstable": (r"unstable", r"instable", frozenset()),
    "easy": (r"easy", r"facile", frozenset()),
}
OPPOSITES = [("less", "greater"), ("blurry", "sharp"), ("best", "worst"), ("slow", "fast"),
             ("first", "last"), ("includes zero", "excludes zero"),
             ("lower bound", "upper bound")]  # fmt: skip
TURNED = {  # where French tells both in the other order, and means the same
    ("less", "greater"): {"balance.against"},
}


def words_alone(text: str) -> str:
    """The text without options and fields, but with the forms of plurals."""
    return FIELD.sub(lambda field: f" {(field[2] or '').replace('|', ' ')} ", OPTION.sub("", text))


def found(pattern: str, text: str) -> list[int]:
    """Where words of a meaning begin."""
    whole = rf"(?<![\w-])(?:{pattern})(?!\w)"
    return [match.start() for match in re.finditer(whole, words_alone(text), re.IGNORECASE)]


@pytest.mark.parametrize("meaning", MEANINGS)
def test_french_has_each_meaning_where_english_has_it(meaning: str) -> None:
    """plus and moins, haut and bas, mieux and pire: neither is lost, added or turned around."""
    english, french, otherwise = MEANINGS[meaning]
    unequal = {
        key
        for key, (en, fr) in FRENCH.items()
        if bool(found(english, en)) != bool(found(french, fr))
    }
    alone = unequal - otherwise
    assert not alone, f"'{meaning}' in one language alone: word it so, or name the key in MEANINGS"


@pytest.mark.parametrize("pair", OPPOSITES)
def test_opposites_come_in_the_same_order(pair: tuple[str, str]) -> None:
    """Where a sentence has both: "below 1 is blurry, above 1 is over-sharp"."""
    turned = set()
    for key, texts in FRENCH.items():
        orders = []
        for language, text in enumerate(texts):
            places = [found(MEANINGS[one][language], text) for one in pair]
            if all(places):
                orders.append(places[0][0] < places[1][0])
        if len(orders) == 2 and orders[0] != orders[1]:
            turned.add(key)
    assert turned <= TURNED.get(pair, set())


@pytest.mark.parametrize("language", translations())
def test_every_pair_was_read_as_it_is(language: str) -> None:
    """Of texts that the language has; whoever changes one reads both and calls `make reviewed`."""
    own = tomllib.loads((LOCALES / f"{language}.toml").read_text(encoding="utf-8"))["texts"]
    pins, now = pinned(language), pairs(language)
    changed = {key for key in own if key in now and pins.get(key) != pin(key, *now[key])}
    assert not changed, "read these beside their English, then call `make reviewed`"
    assert pins.keys() <= now.keys(), "texts that are gone: call `make reviewed`"
