"""Which part an image belongs to, by its own pixels alone.

So files may be added, renamed or resized, and copies of one image never cross parts.

digests: big-endian uint64 (N,2), the two halves of each image's digest
parts:   int8 (N,), places in PARTS
"""

from __future__ import annotations

import hashlib

import numpy as np

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
NOT_GIVEN = -1
TEST_SHARE = 0.1  # of all images, where the source has no test part
VALIDATION_SHARE = 0.1  # of the images left for training
DIGEST = np.dtype((">u8", (2,)))


def pixel_digest(pixels: np.ndarray) -> bytes:
    """Digest of the decoded full-size image, 16 bytes."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def assign(digests: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Parts: those the source gave (NOT_GIVEN where it did not), else picked by the digest.

    Where the source has no test part at all, a tenth becomes one; then likewise for validation.
    """
    draws = digests.byteswap().view("<u8").astype(np.float64) / 2**64  # [N,2] on [0, 1)
    parts = np.full(len(digests), TRAIN, dtype=np.int8)
    free = ~np.isin(given, (VALIDATION, TEST))
    parts[~free] = given[~free]
    if not (given == VALIDATION).any():
        parts[free & (draws[:, 1] < VALIDATION_SHARE)] = VALIDATION
    if not (given == TEST).any():
        parts[free & (draws[:, 0] < TEST_SHARE)] = TEST
    return parts


def without_leaks(digests: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, int]:
    """Which images to keep so that no image is in two parts, and how many are copies of others.

    A copy goes from the test side: it stays in the part nearest to training. bool (N,), count
    """
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    first = np.ones(len(order), dtype=bool)  # of its group of equal images
    first[1:] = (ordered[1:] != ordered[:-1]).any(1)
    nearest = np.minimum.reduceat(parts[order], np.flatnonzero(first))
    keep = np.empty(len(parts), dtype=bool)
    keep[order] = parts[order] == nearest[np.cumsum(first) - 1]
    return keep, len(parts) - int(first.sum())
