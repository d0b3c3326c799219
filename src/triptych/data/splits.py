"""The part of an image: train, validation or test, determined by its own pixels alone.

So an image keeps its part when files are added or renamed, and copies of one image are never in
two parts. Pages of one file stay together, for neighbours may be nearly the same picture.

digests: big-endian uint64 (N,2), the two halves of each image's digest
parts:   int8 (N,), numbers in PARTS
"""

from __future__ import annotations

import hashlib

import numpy as np

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
NOT_GIVEN = -1
TEST_SHARE = 0.1  # of all images, where the source has no test part
VALIDATION_SHARE = 0.1  # of the images left for training
LEAST = 3  # different images of a part that is picked: with fewer nothing can be measured on it
LEAST_FILES = 20  # different files that keep their pages together: with fewer no shares come out
DIGEST = np.dtype((">u8", (2,)))


def pixel_digest(pixels: np.ndarray) -> bytes:
    """Digest of the decoded full-size image, 16 bytes."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def assign(digests: np.ndarray, given: np.ndarray, owners: np.ndarray | None = None) -> np.ndarray:
    """The part of each image: as the source says (`given`), else by the digest; int8 (N,).

    Where the source has no test part, a tenth of the images become one; then a tenth of the rest
    become the validation part likewise.

    given:  int8 (N,), NOT_GIVEN where the source says nothing
    owners: the number of the file that each image is a page of, ascending, int (N,); None where
            every image is a file
    """
    free = ~np.isin(given, (VALIDATION, TEST))
    if owners is not None:
        of_files = file_digests(digests, owners)
        if len(np.unique(of_files[free, 0])) >= LEAST_FILES:
            digests = of_files
    draws = digests.byteswap().view("<u8").astype(np.float64) / 2**64  # [N,2] on [0, 1)
    parts = np.full(len(digests), TRAIN, dtype=np.int8)
    parts[~free] = given[~free]
    if not (given == TEST).any():
        parts[picked(draws[:, 0], free, TEST_SHARE)] = TEST
    if not (given == VALIDATION).any():
        parts[picked(draws[:, 1], free & (parts == TRAIN), VALIDATION_SHARE)] = VALIDATION
    return parts


def file_digests(digests: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """One digest for all pages of a file, (N,2); an image that is alone in its file keeps its own.

    owners: as in `assign`
    """
    shared = digests.copy()
    _, starts, counts = np.unique(owners, return_index=True, return_counts=True)
    stacks = counts > 1
    for start, count in zip(starts[stacks].tolist(), counts[stacks].tolist(), strict=True):
        pages = slice(start, start + count)
        digest = hashlib.blake2b(digests[pages].tobytes(), digest_size=16).digest()
        shared[pages] = np.frombuffer(digest, DIGEST)
    return shared


def picked(draws: np.ndarray, free: np.ndarray, share: float) -> np.ndarray:
    """Which images a part takes of those that are free, bool (N,): those with the lowest draws.

    As a rule those below the share, so that others change nothing. Where these are but one or two
    different images, by chance, the three lowest; or fewer, where that would be over a fifth.
    """
    chosen = free & (draws < share)
    if len(np.unique(draws[chosen])) >= LEAST:
        return chosen
    different = np.unique(draws[free])
    least = min(LEAST, max(len(different) // 5, 1)) if len(different) > 1 else 0
    return chosen | (free & np.isin(draws, different[:least]))


def without_leaks(digests: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, int]:
    """Which images to keep so that none is in two parts, bool (N,), and the number of copies.

    Of equal images in several parts, those in the part nearest to training are kept.
    """
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    first = np.ones(len(order), dtype=bool)  # of its group of equal images
    first[1:] = (ordered[1:] != ordered[:-1]).any(1)
    nearest = np.minimum.reduceat(parts[order], np.flatnonzero(first))
    keep = np.empty(len(parts), dtype=bool)
    keep[order] = parts[order] == nearest[np.cumsum(first) - 1]
    return keep, len(parts) - int(first.sum())
