"""What metrics say of themselves reaches results, tables and words."""

from __future__ import annotations

from typing import Any

import pytest

from triptych.metrics import Metric, entry, own_metrics
from triptych.metrics.intervals import Estimate
from triptych.pages.columns import make_columns
from triptych.pages.language import Language
from triptych.pages.load import Run
from triptych.pages.tables import group_of, make_tables
from triptych.records import EARLIER_GROUPS, MetricRecord
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
