"""What resuming needs, in folders that are complete or absent.

A checkpoint is written under a temporary name with a manifest of SHA-256 digests, synced and
renamed. Reading verifies every digest and falls back to the one before. No pickle is involved.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from triptych import files

KEPT = 2  # the newest so many
MANIFEST = "manifest.json"
PROGRESS = "progress.json"

Tensors = dict[str, dict[str, Tensor]]


def save(folder: Path, tensors: Tensors, progress: dict[str, Any]) -> Path:
    """Write `folder/<phase>-<seen>`; `progress` holds at least these two."""
    folder.mkdir(parents=True, exist_ok=True)
    name = name_of(progress)
    temporary = folder / f".{name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for part, named in tensors.items():
        save_file({k: t.contiguous() for k, t in named.items()}, temporary / f"{part}.safetensors")
    (temporary / PROGRESS).write_text(json.dumps(progress))
    written = sorted(temporary.iterdir())
    (temporary / MANIFEST).write_text(json.dumps({f.name: files.sha256(f) for f in written}))
    for file in temporary.iterdir():
        files.sync(file)
    files.sync_folder(temporary)
    final = folder / name
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    files.sync_folder(folder)
    for old in complete(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def name_of(progress: dict[str, Any]) -> str:
    """What the checkpoint of this moment is called; later ones sort behind it."""
    return f"{progress['phase']}-{progress['seen']:012d}"


def remove(folder: Path, progress: dict[str, Any]) -> None:
    """Give up the checkpoint of this moment."""
    shutil.rmtree(folder / name_of(progress))


def complete(folder: Path) -> list[Path]:
    """Checkpoints that were renamed into place, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def clean(folder: Path) -> None:
    """Remove what a crash left half-written."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)


def newest(folder: Path) -> tuple[tuple[Tensors, dict[str, Any]] | None, list[str]]:
    """Tensors and progress of the newest checkpoint that verifies, if any; what was passed over."""
    passed_over: list[str] = []
    for path in reversed(complete(folder)):
        try:
            return load(path), passed_over
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            passed_over.append(f"checkpoint {path.name} is damaged ({error}): going back before it")
    return None, passed_over


def load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """One checkpoint, verified; ValueError names the file that differs."""
    manifest = json.loads((path / MANIFEST).read_text())
    for name, digest in manifest.items():
        if files.sha256(path / name) != digest:
            raise ValueError(f"{name} differs from its digest")
    parts = [name for name in manifest if name.endswith(".safetensors")]
    tensors = {Path(name).stem: load_file(path / name) for name in parts}
    return tensors, json.loads((path / PROGRESS).read_text())
