"""What metrics say of themselves reaches results, tables and words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from triptych.config import ImageShape
from triptych.metrics import (
    Metric,
    NotDefinedError,
    bits_per_dim,
    entry,
    own_metrics,
    threads_for,
)
from triptych.metrics.frechet_distance import frechet_distance
from triptych.metrics.intervals import Estimate
from triptych.pages.columns import make_columns
from triptych.pages.language import Language
from triptych.pages.load import Run
from triptych.pages.tables import group_of, make_tables
from triptych.records import EARLIER_GROUPS, MetricRecord, Note
from triptych.words import languages

LOWER = {
    "frechet_distance", "kernel_distance", "sliced_distance", "label_balance", "memorised",
    "path_length", "path_uniformity", "bits_per_dim", "copied", "drawn_path_length",
    "drawn_path_uniformity",
}  # fmt: skip
FLOOR = {"sharpness", "real_or_fake"}
NEITHER = {"copied_control", "own_exemplar"}  # they say how to read another number


def test_directions_and_units_are_those_of_the_definitions() -> None:
    """As docs/evaluation.md has them."""
    for metric in own_metrics():
        name = metric.name
        expected = "floor" if name in FLOOR else "lower" if name in LOWER else "higher"
        assert metric.better == ("" if name in NEITHER else expected), name
    units = {metric.unit for metric in own_metrics()}
    assert units == {"", "share", "dB", "ratio to real", "ratio to straight", "bits per dimension"}


def test_every_metric_has_its_words() -> None:
    for code in languages():
        for name in {metric.name for metric in own_metrics()}:
            assert f"metric.{name}" in Language(code) and f"definition.{name}" in Language(code)


def test_results_that_say_less_are_shown_alike() -> None:
    """Those of the version before have neither group nor whether a value moves with its count."""
    then = {name for names in EARLIER_GROUPS.values() for name in names}
    for metric in (each for each in own_metrics() if each.name in then):
        earlier = MetricRecord.read({"name": metric.name})
        assert (earlier.group, earlier.moves_with_n) == (metric.group, metric.moves_with_n)


def toy(**more: Any) -> Metric:
    facts: dict[str, Any] = {"better": "lower", "group": "samples", "needs": ("images",)}
    return Metric(name="toy", compute=lambda ours, real: Estimate(1, 0, 2), **(facts | more))


@pytest.mark.parametrize(("group", "shown_in"), [("samples", "samples"), ("toys", "other")])
def test_a_new_metric_is_shown_by_what_it_says_of_itself(group: str, shown_in: str) -> None:
    """Its entry holds all that a page needs, words apart."""
    metric = toy(group=group, unit="toys", moves_with_n=True)
    made = [entry(metric, Estimate(v, v - 1, v + 1), n) for v, n in ((3, 9), (5, 8))]
    read = [MetricRecord.read(each.to_json()) for each in made]
    runs = [Run(name=m, model=m, metrics=(e,)) for m, e in zip("ab", read, strict=True)]
    columns = make_columns(runs)
    assert [group_of(column) for column in columns] == [shown_in] * 2  # other counts: two columns
    tables, _ = make_tables(runs, Language("fr"))
    [table] = [table for table in tables if table.key == shown_in]
    assert [heading.label for heading in table.headings][:2] == ["toy", "toy"]


@pytest.mark.parametrize("needs", [(), ("test_images",), ("images", "pictures")])
def test_a_metric_needs_what_is_given_and_an_output_first(needs: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"metric 'toy' needs (pictures|no output first)"):
        toy(needs=needs)


def test_an_entry_holds_all_that_is_known_of_a_number() -> None:
    metric = Metric(
        name="mine", better="higher", group="samples", needs=("features", "test_features"),
        compute=lambda a, b: Estimate(0, 0, 0), reference="train", method="counting", unit="share",
        moves_with_n=True,
    )  # fmt: skip
    estimate = Estimate(0.5, 0.25, 0.75, {"samples": [0.5, 0.625]})
    known = {
        "name": "mine", "better": "higher", "group": "samples", "unit": "share",
        "moves_with_n": True, "reference": "train", "method": "counting", "n": 7, "floor": 0.875,
        "features": "labels", "note": Note("why"),
    }  # fmt: skip
    given: dict[str, Any] = {"floor": 0.875, "features": "labels", "note": Note("why")}
    number = MetricRecord(
        **known, value=0.5, low=0.25, high=0.75, kind="estimate", left_out={"samples": (0.5, 0.625)}
    )
    assert entry(metric, estimate, 7, **given) == number
    assert entry(metric, None, 7, **given) == MetricRecord(**known, kind="not defined")


def test_a_reason_in_words_is_kept_as_words() -> None:
    assert NotDefinedError("no luck").note == Note("text", {"text": "no luck"})
    assert NotDefinedError(Note("no_edges")).note == Note("no_edges")


def test_nats_and_bits_have_one_interval() -> None:
    """Nats 1 to 5 of 12 numbers: mean 3, deviation sqrt(2.5), 2.776 standard errors each way."""
    found = bits_per_dim.in_units(torch.arange(1.0, 6.0), ImageShape(channels=3, resolution=2))
    margin = 2.7764451051977987 * math.sqrt(2.5 / 5)  # Student's table, 4 degrees of freedom
    nats = (3 - margin, 3.0, 3 + margin)
    assert (found.nats_low, found.nats, found.nats_high) == pytest.approx(nats, rel=1e-6)
    bits = (found.bits_per_dim_low, found.bits_per_dim, found.bits_per_dim_high)
    assert bits == pytest.approx([each / 12 / math.log(2) for each in nats], rel=1e-6)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of threads that torch was told to use, the latest last: 2 at first."""
    counts = [2]
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])
    return counts


def test_small_pieces_are_not_shared_by_threads(threads: list[int]) -> None:
    """Two threads that wait for each other after every small step cost more than they bring."""
    for products, expected in ((128**3, 1), (2048**3, 2)):
        with threads_for(products):
            assert threads[-1] == expected
        assert threads[-1] == 2
    with pytest.raises(ZeroDivisionError), threads_for(1):
        raise ZeroDivisionError
    assert threads[-1] == 2


@pytest.mark.parametrize("features", [16, pytest.param(1300, marks=pytest.mark.sweep)])
def test_distances_are_computed_on_as_many_threads_as_they_are_worth(
    features: int, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    eigenvalues = torch.linalg.eigvalsh

    def watched(matrix: torch.Tensor) -> torch.Tensor:
        counts.append(threads[-1])
        return eigenvalues(matrix[:16, :16])

    monkeypatch.setattr(torch.linalg, "eigvalsh", watched)
    frechet_distance(*torch.randn(2, 40, features, generator=torch.manual_seed(0)))
    assert set(counts) == {1 if features == 16 else 2}
