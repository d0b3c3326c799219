"""Decoded images on disk: one folder of arrays per (source, settings), memory-mapped.

Written into a temporary folder and renamed, so an entry is complete or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import InputError

ARRAYS = ("images", "labels", "parts")


def cache_folder() -> Path:
    """`$TRIPTYCH_CACHE`, else `triptych` under the user's cache folder."""
    asked = os.environ.get("TRIPTYCH_CACHE")
    if asked:
        return Path(asked)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "triptych"


def entry_key(identity: dict[str, Any]) -> str:
    """The name of an entry: a digest of everything its pixels depend on."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load(key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Arrays (mapped, copied where written to) and facts of an entry, or None."""
    folder = cache_folder() / "data" / key
    try:
        facts = json.loads((folder / "facts.json").read_text())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
    except (OSError, ValueError):
        return None
    return arrays, facts


def save(key: str, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Write an entry; another process that was faster wins."""
    parent = cache_folder() / "data"
    temporary = parent / f".{key}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=parent))
        for name in ARRAYS:
            np.save(temporary / f"{name}.npy", arrays[name])
        (temporary / "facts.json").write_text(json.dumps(facts))
        shutil.rmtree(parent / key, ignore_errors=True)
        temporary.rename(parent / key)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if load(key) is None:
            raise InputError(
                f"cannot keep images in {parent} ({error.strerror})",
                "name a folder with room in TRIPTYCH_CACHE",
            ) from error


def fingerprint(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of pixels, labels and membership, 16 hex digits."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()[:16]
