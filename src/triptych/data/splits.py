"""Which part an image belongs to, by its own pixels alone.

So files may be added, renamed or resized, and copies of one image never cross parts.
"""

from __future__ import annotations

import hashlib

import numpy as np

PARTS = ("train", "validation", "test")
TEST_SHARE = 0.1  # of all images, where the source has no test part
VALIDATION_SHARE = 0.1  # of the images left for training


def pixel_digest(pixels: np.ndarray) -> bytes:
    """Digest of the decoded full-size image, 16 bytes."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def assign(digest: bytes, given: str | None, has_test: bool, has_validation: bool) -> int:
    """Index into PARTS: the part the source gave, else one picked by the digest."""
    if given in ("test", "validation"):
        return PARTS.index(given)
    test_draw = int.from_bytes(digest[:8], "little") / 2**64
    validation_draw = int.from_bytes(digest[8:], "little") / 2**64
    if not has_test and test_draw < TEST_SHARE:
        return PARTS.index("test")
    if not has_validation and validation_draw < VALIDATION_SHARE:
        return PARTS.index("validation")
    return PARTS.index("train")


def without_leaks(digests: list[bytes], parts: list[int]) -> list[int]:
    """Indices to keep so that no image is in two parts: a copy stays where it is held out."""
    strictest: dict[bytes, int] = {}
    for digest, part in zip(digests, parts, strict=True):
        strictest[digest] = max(part, strictest.get(digest, 0))
    return [i for i, digest in enumerate(digests) if parts[i] == strictest[digest]]
