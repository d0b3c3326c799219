"""What people told in blind tests: how often they knew a real image from one of a model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych import files
from triptych.errors import InputError
from triptych.pages.columns import named_runs
from triptych.pages.language import Interval, Language, Quantity, Sentence, Value
from triptych.pages.load import Run
from triptych.records import BlindTest, Record, TrialMode

MOST_FILE = 2**25  # bytes
WEIGHTS = "model.safetensors"
MODES: tuple[TrialMode, ...] = ("one", "two")


@dataclass(frozen=True, kw_only=True)
class Accuracy(Record):
    """How often people told the images of one run, with its 95 % interval (Wilson 1927, eq. 2).

    run:           its path where it was judged last
    weights:       the digest of its weights, by which runs are told apart
    n:             judgements
    people:        tests in which somebody judged this run
    above_chance:  whether the interval lies above one half, which is guessing
    """

    run: str
    model: str
    weights: str
    n: int
    people: int
    value: float
    low: float
    high: float
    above_chance: bool


def accuracies(tests: Sequence[BlindTest]) -> list[Accuracy]:
    """Of each run, over the judgements of all these tests together.

    Judgements of one person are not independent, so the interval of several people is too narrow
    by as much as they differ: whoever shows it says so.
    """
    from scipy import stats  # takes half a second, which pages without such tests need not wait

    shares = []
    runs = {trial.weights: trial for test in tests for trial in test.trials}
    for weights, last in runs.items():
        by_test = [
            [t.right for t in test.trials if t.weights == weights and t.judged is not None]
            for test in tests
        ]
        n, right = sum(map(len, by_test)), sum(map(sum, by_test))
        if n == 0:
            continue
        interval = stats.binomtest(right, n).proportion_ci(method="wilson")
        shares.append(
            Accuracy(
                run=last.run,
                model=last.model,
                weights=weights,
                n=n,
                people=sum(map(bool, by_test)),
                value=right / n,
                low=float(interval.low),
                high=float(interval.high),
                above_chance=bool(interval.low > 0.5),
            )
        )
    return shares


def read_tests(path: Path) -> list[BlindTest]:
    """Blind tests that the live page exported; InputError on a file of anything else."""
    mend = "give a file that the live page exported"
    try:
        values = files.parse_json(files.read_bytes(path, MOST_FILE))
    except FileNotFoundError:
        raise InputError(f"{path} is missing", mend) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error})", mend) from error
    return tests_of(values, str(path), mend)


def tests_of(values: object, source: str, mend: str) -> list[BlindTest]:
    """Blind tests from JSON; InputError, which names the source, on anything else."""
    if not isinstance(values, list):
        raise InputError(f"{source} holds no blind tests", mend)
    try:
        return [BlindTest.read(value) for value in values]
    except ValueError as error:
        raise InputError(f"{source} holds what is no blind test ({error})", mend) from None


def told_by_people(
    tests: Sequence[BlindTest], runs: Sequence[Run], language: Language
) -> list[str]:
    """A sentence for each of these runs and way of asking.

    Runs of the same name are told apart by their weights; those of other comparisons are left out.
    """
    sentences = []
    for mode in MODES:
        judged = accuracies([test for test in tests if test.mode == mode])
        by_weights = {each.weights: each for each in judged}
        for run, name in named_runs(runs):
            weights = "" if run.record is None else run.record.digests.get(WEIGHTS, "")
            accuracy = by_weights.get(weights)
            if accuracy is None:
                continue
            spread = accuracy.high - accuracy.low
            values: dict[str, Value] = {
                "who": name,
                "value": Quantity(accuracy.value, "percent", spread),
                "interval": Interval(accuracy.low, accuracy.high, "percent"),
                "n": accuracy.n,
                "people": accuracy.people,
            }
            sentences.append(language.tell(Sentence(f"people.{mode}", values)))
    return sentences
