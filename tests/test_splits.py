"""Parts follow from pixels alone, in the right shares, and no image is in two of them."""

from __future__ import annotations

import numpy as np
import pytest

from triptych.data import splits
from triptych.data.splits import NOT_GIVEN, TEST, TRAIN, VALIDATION


def digests_of(numbers: range) -> np.ndarray:
    found = b"".join(splits.pixel_digest(np.array([number])) for number in numbers)
    return np.frombuffer(found, dtype=splits.DIGEST)


def given(*parts: int, count: int = 20_000) -> np.ndarray:
    return np.resize(np.array(parts, dtype=np.int8), count)


@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        ((NOT_GIVEN,), [0.81, 0.09, 0.1]),
        ((TRAIN, TEST), [0.45, 0.05, 0.5]),
        ((TRAIN, TRAIN, VALIDATION), [2 / 3 * 0.9, 1 / 3, 2 / 3 * 0.1]),
        ((TRAIN, VALIDATION, TEST, TEST), [0.25, 0.25, 0.5]),
    ],
)
def test_shares(parts: tuple[int, ...], shares: list[float]) -> None:
    found = splits.assign(digests_of(range(20_000)), given(*parts))
    np.testing.assert_allclose(np.bincount(found, minlength=3) / 20_000, shares, atol=0.008)


def test_given_parts_are_kept() -> None:
    asked = given(VALIDATION, TEST, TRAIN, count=300)
    np.testing.assert_array_equal(splits.assign(digests_of(range(300)), asked), asked)


def test_an_image_stays_in_its_part_whatever_else_is_there() -> None:
    whole = splits.assign(digests_of(range(1000)), given(NOT_GIVEN, count=1000))
    some = splits.assign(digests_of(range(400, 600)), given(NOT_GIVEN, count=200))
    np.testing.assert_array_equal(some, whole[400:600])


def test_the_two_draws_are_independent() -> None:
    """A test draw must not decide the validation draw: their halves of the digest differ."""
    draws = digests_of(range(20_000)).byteswap().view("<u8") / 2**64
    assert abs(np.corrcoef(draws.T)[0, 1]) < 4 / np.sqrt(20_000)


def test_pages_of_a_file_are_in_one_part() -> None:
    """Of 30 files some hold several pages; those that hold one are divided as before."""
    digests, counts = digests_of(range(1000)), [1] * 15 + [2] * 10 + [193] * 5
    owners = np.repeat(np.arange(30), counts)
    found = splits.assign(digests, given(NOT_GIVEN, count=1000), owners)
    assert [len(set(found[owners == owner])) for owner in range(30)] == [1] * 30
    assert set(found) == {TRAIN, VALIDATION, TEST}
    alone = given(NOT_GIVEN, count=1000)
    np.testing.assert_array_equal(
        splits.assign(digests, alone, np.arange(1000)), splits.assign(digests, alone)
    )
    later = digests.copy()
    later[owners == 29] = later[owners == 29][::-1]  # by all pages, in their order
    changed = splits.file_digests(later, owners) != splits.file_digests(digests, owners)
    assert set(owners[changed.any(1)]) == {29}


def test_few_files_are_divided_page_by_page() -> None:
    """Twenty are kept whole, nineteen are not; held-out files that are given do not count."""
    digests, free = digests_of(range(400)), given(NOT_GIVEN, count=400)
    for files, held_out, whole in ((20, 0, True), (19, 0, False), (20, 1, False), (1, 0, False)):
        owners = np.sort(np.arange(400) % files)
        parts = np.where(owners < held_out, TEST, free).astype(np.int8)
        found = splits.assign(digests, parts, owners)
        apart = [len(set(found[owners == owner])) > 1 for owner in range(files)]
        assert any(apart) is not whole
        if not whole:
            np.testing.assert_array_equal(found, splits.assign(digests, parts))


def test_copies_leave_the_test_side() -> None:
    digests = digests_of(range(5))[[0, 1, 0, 2, 2, 1, 3, 3, 4]]
    parts = np.array([TEST, TRAIN, TRAIN, TEST, VALIDATION, TRAIN, TEST, TEST, TEST])
    keep, copies = splits.without_leaks(digests, parts.astype(np.int8))
    # 0 is in training too, 2 in validation too; 1 is twice in training and 3 twice in test
    np.testing.assert_array_equal(keep, [False, True, True, False, True, True, True, True, True])
    assert copies == 4 and keep.dtype == bool


def test_images_are_equal_only_where_the_whole_digest_is() -> None:
    """One half in common makes no copy, whichever half it is and whatever the order."""
    numbers = [[1, 5], [2, 5], [1, 5], [1, 6], [2, 5], [2, 6]]
    digests = np.array(numbers, dtype=np.uint64).astype(splits.DIGEST.base)
    parts = np.array([TRAIN, TRAIN, TEST, TEST, TEST, TEST], dtype=np.int8)
    keep, copies = splits.without_leaks(digests, parts)
    assert keep.tolist() == [True, True, False, True, False, True] and copies == 2


def test_a_part_is_what_lies_below_the_share() -> None:
    """Draws are on [0, 1), so a share of one tenth ends before 0.1; parts are one byte each."""
    free = np.ones(40, dtype=bool)
    draws = np.concatenate([[0.1, 0.0, 0.05, 0.0999], np.linspace(0.2, 0.9, 36)])
    assert np.flatnonzero(splits.picked(draws, free, 0.1)).tolist() == [1, 2, 3]
    assert splits.assign(digests_of(range(9)), given(NOT_GIVEN, count=9)).dtype == np.int8


@pytest.mark.parametrize(("count", "least"), [(1, 0), (2, 1), (9, 1), (10, 2), (15, 3), (99, 3)])
def test_where_chance_gives_nothing_a_fifth_is_taken_and_three_at_most(
    count: int, least: int
) -> None:
    draws = np.linspace(0.5, 0.9, count)
    found = splits.picked(draws, np.ones(count, dtype=bool), 0.1)
    assert np.flatnonzero(found).tolist() == list(range(least))


def test_digests_tell_shape_and_pixels_apart() -> None:
    image = np.arange(12, dtype=np.uint8)
    found = {splits.pixel_digest(image.reshape(shape)) for shape in ((3, 4), (4, 3), (2, 2, 3))}
    assert len(found) == 3
    assert splits.pixel_digest(image) == splits.pixel_digest(image.repeat(2)[::2])  # not in a row
    assert splits.pixel_digest(image) != splits.pixel_digest(image[::-1])


def test_a_digest_is_the_same_for_ever() -> None:
    """BLAKE2b of the shape's text and the pixels; a change would move users' images between parts.

    By coreutils: printf '(2, 2)\\0\\1\\2\\3' | b2sum -l 128
    """
    digest = splits.pixel_digest(np.arange(4, dtype=np.uint8).reshape(2, 2))
    assert digest.hex() == "a817f34e38dc0eec619e80a54920ebb8"


def test_a_part_that_chance_leaves_empty_takes_the_lowest_draws() -> None:
    """And no more than chance would have given it, had it been kinder."""
    digests = digests_of(range(2000))
    draws = digests.byteswap().view("<u8") / 2**64
    unlucky = digests[(draws > 0.2).all(1)][:30]
    found = splits.assign(unlucky, given(NOT_GIVEN, count=30))
    assert np.bincount(found).tolist() == [24, 3, 3]
    own = unlucky.byteswap().view("<u8")
    assert set(np.flatnonzero(found == TEST)) == set(np.argsort(own[:, 0])[:3])
    rest = np.flatnonzero(found != TEST)
    assert set(np.flatnonzero(found == VALIDATION)) == set(rest[np.argsort(own[rest, 1])[:3]])
    twice = splits.assign(np.repeat(unlucky, 4, axis=0), given(NOT_GIVEN, count=120))
    np.testing.assert_array_equal(twice, np.repeat(found, 4))
    few = splits.assign(unlucky[:7], given(TRAIN, count=7))
    assert np.bincount(few).tolist() == [5, 1, 1]
    assert splits.assign(unlucky[:1], given(NOT_GIVEN, count=1)).tolist() == [TRAIN]
