"""What metrics say of themselves reaches results, tables and words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from triptych import metrics
from triptych.metrics import Metric, all_metrics, entry
from triptych.metrics.intervals import Estimate
from triptych.pages.columns import make_columns
from triptych.pages.language import Language, languages
from triptych.pages.load import Metric as Shown
from triptych.pages.load import Run, load_metric
from triptych.pages.tables import group_of, make_tables

LOWER = {
    "frechet_distance", "kernel_distance", "label_balance", "memorised", "path_length",
    "path_uniformity", "bits_per_dim",
}  # fmt: skip


def test_directions_and_units_are_those_of_the_definitions() -> None:
    """As docs/evaluation.md has them."""
    for name, metric in all_metrics().items():
        expected = "floor" if name == "sharpness" else "lower" if name in LOWER else "higher"
        assert (metric.name, metric.better) == (name, expected)
    units = {metric.unit for metric in all_metrics().values()}
    assert units == {"", "share", "dB", "ratio to real", "ratio to straight", "bits per dimension"}


def test_every_metric_has_its_words() -> None:
    for code in languages():
        for name in all_metrics():
            assert f"metric.{name}" in Language(code) and f"definition.{name}" in Language(code)


def test_results_that_say_less_are_shown_alike() -> None:
    """Those of the version before have neither group nor whether a value moves with its count."""
    for metric in all_metrics().values():
        earlier = Shown(name=metric.name)
        assert (earlier.table, earlier.needs_equal_n) == (metric.group, metric.moves_with_n)


@pytest.mark.parametrize(("group", "shown_in"), [("samples", "samples"), ("toys", "other")])
def test_a_new_metric_is_one_file_and_its_words(
    group: str, shown_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with `METRICS`; what calls it makes an entry, which the page shows by its facts."""
    toy = Metric(name="toy", better="lower", group=group, unit="toys", moves_with_n=True)
    module = SimpleNamespace(METRICS=metrics.named(toy))
    found = SimpleNamespace(name="toy")
    monkeypatch.setattr(metrics.pkgutil, "iter_modules", lambda path: [found])
    monkeypatch.setattr(metrics.importlib, "import_module", lambda name: module)
    monkeypatch.setattr(metrics, "all_metrics", all_metrics.__wrapped__)
    made = [
        entry("toy", Estimate(v, v - 1, v + 1), n, reference="test") for v, n in ((3, 9), (5, 8))
    ]
    runs = [
        Run(name=m, model=m, metrics=(load_metric(e),)) for m, e in zip("ab", made, strict=True)
    ]
    columns = make_columns(runs)
    assert [group_of(column) for column in columns] == [shown_in] * 2  # other counts: two columns
    tables, _ = make_tables(runs, Language("fr"))
    [table] = [table for table in tables if table.key == shown_in]
    assert [heading.label for heading in table.headings][:2] == ["toy", "toy"]
