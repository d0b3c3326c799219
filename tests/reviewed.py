"""Translations that were read beside their English, pinned by a hash of both.

A sentence that changes in either language is to be read again by someone who knows both:

    python -m tests.reviewed

shows every changed pair and pins it as read (`make reviewed`). The pins are lines of
`reviewed-LANGUAGE.txt`, one for each text; `tests/test_translations.py` holds them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from triptych.words import ENGLISH, LOCALES, languages, read_locale


def pins_of(language: str) -> Path:
    """The file of a language's pins."""
    return Path(__file__).with_name(f"reviewed-{language}.txt")


def pairs(language: str) -> dict[str, tuple[str, str]]:
    """English and translation of every text, by key."""
    english, other = (read_locale(LOCALES / f"{name}.toml").texts for name in (ENGLISH, language))
    return {key: (text, other[key]) for key, text in english.items()}


def pin(key: str, english: str, translation: str) -> str:
    """A hash of a pair as it was read."""
    return hashlib.sha256("\0".join((key, english, translation)).encode()).hexdigest()[:12]


def pinned(language: str) -> dict[str, str]:
    """The pins of a language, by key; none where it has none yet."""
    path = pins_of(language)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return dict(reversed(line.split(" ", 1)) for line in lines)


def translations() -> list[str]:
    """The languages that are held against English."""
    return [name for name in languages() if name != ENGLISH]


def main() -> None:
    """Show what changed since it was read, and pin all as it is now."""
    for language in translations():
        before, now = pinned(language), pairs(language)
        pins = {key: pin(key, *pair) for key, pair in now.items()}
        for key in (key for key, hashed in pins.items() if before.get(key) != hashed):
            english, translation = now[key]
            print(f"{key}\n  {ENGLISH}: {english}\n  {language}: {translation}")
        lines = [f"{hashed} {key}\n" for key, hashed in sorted(pins.items())]
        pins_of(language).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
