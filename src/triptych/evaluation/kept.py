"""Features of real images, kept between evaluations of the same data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from triptych import files
from triptych.data.store import cache_folder
from triptych.evaluation.extractors import Extractor
from triptych.hardware import Machine

NAME = "features"  # of the folder, and of the tensor in each file


def kept_features(extractor: Extractor, pixels: Tensor, machine: Machine) -> Tensor:
    """Features of real images [N,F], from the cache where these very images were described before.

    The key is a digest of the pixels and of the extractor, so nothing stale can be found.
    """
    found = hashlib.blake2b(extractor.key.encode(), digest_size=16)
    found.update(str(tuple(pixels.shape)).encode())
    found.update(pixels.contiguous().numpy().tobytes())
    path = cache_folder() / NAME / f"{found.hexdigest()}.safetensors"
    known = read(path)
    if known is not None and len(known) == len(pixels):
        return known
    features = extractor(pixels, machine)
    keep(features, path)
    return features


def read(path: Path) -> Tensor | None:
    """The features in a file; None where there is none, or a damaged one, which is removed."""
    if not path.is_file():
        return None
    try:
        return load_file(path)[NAME]
    except (OSError, KeyError, SafetensorError):
        path.unlink(missing_ok=True)
        return None


def keep(features: Tensor, path: Path) -> None:
    """Write features; where that is impossible they are found anew the next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, save({NAME: features.contiguous()}))
    except OSError:
        path.unlink(missing_ok=True)
