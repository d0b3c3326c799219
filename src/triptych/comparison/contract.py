"""What must be equal before two runs are compared, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from triptych import config
from triptych.config import Budget
from triptych.data.dataset import ImageData
from triptych.families import registry
from triptych.hardware import Machine
from triptych.records import DataRecord, Note, ResultsRecord, RunRecord, SamplesRecord
from triptych.training.resolve import ResolvedRequest
from triptych.training.snapshots import samples_for

TIME_TOLERANCE = 0.1  # true training times may differ by so much under a wall-clock budget


@dataclass(frozen=True)
class Spent:
    """The budget of a training with those of all that it went on from.

    units:  of the budget, several where they cannot be added up
    amount: their sum; what was asked, one after another, where there is none
    asked:  in the user's words
    """

    units: str
    amount: float | str
    asked: str

    @classmethod
    def by(cls, run: RunRecord) -> Self:
        """Of a trained run. Epochs of other data are no unit of these."""
        budgets = [origin.budget for origin in reversed(run.origins)] + [run.budget]
        budgets = [budget for budget in budgets if budget.amount] or budgets[-1:]
        asked = " + ".join(budget.asked for budget in budgets)
        units = dict.fromkeys(budget.unit for budget in budgets)
        same_data = all(origin.fingerprint == run.data.fingerprint for origin in run.origins)
        if len(units) > 1 or ("epochs" in units and not same_data):
            return cls(" + ".join(units), asked, asked)
        amount = sum(budget.amount for budget in budgets)
        return cls(units=budgets[0].unit, amount=amount, asked=asked)


def whole_budget(run: RunRecord) -> Budget:
    """The budget of a trained run and of all that it went on from, as a contract holds it."""
    spent = Spent.by(run)
    amount = run.budget.amount if isinstance(spent.amount, str) else spent.amount
    return replace(run.budget, amount=amount, asked=spent.asked)


@dataclass(frozen=True)
class Conditions:
    """The conditions of a training, each by the code of the note that says that it differs."""

    values: Mapping[str, object]

    @classmethod
    def of(
        cls,
        data: DataRecord,
        device: str,
        precision: str,
        spent: Spent | None,
        before: str = "-",
        hardware: str | None = None,
    ) -> Self:
        """The conditions of these values: all that must agree between runs.

        spent:    None of a model that is not trained, which may stand beside any
        before:   other data that it was trained on before these
        hardware: as `hardware_kind` names it; it decides what seconds are worth, and nothing else
        """
        budget: dict[str, object] = {}
        if spent is not None:
            budget = {"budget_unit_differs": spent.units, "budget_differs": spent.amount}
            budget["earlier_data_differ"] = before
            if "seconds" in spent.units and hardware is not None:
                budget["hardware_differs"] = hardware
        return cls(
            {
                "data_differ": data.fingerprint,
                "resolution_differs": data.resolution,
                "training_images_differ": data.train,
                "test_images_differ": data.test,
                "flips_differ": data.flip,
                "crops_differ": data.crop,
                "device_differs": device,
                "precision_differs": precision,
                **budget,
            }
        )

    @classmethod
    def of_run(cls, run: RunRecord) -> Self:
        """The conditions of a trained run."""
        spent = Spent.by(run) if registry.is_trained(run.family) else None
        hardware = hardware_kind(run.device, run.hardware)
        return cls.of(run.data, run.device, run.precision, spent, earlier_data(run), hardware)

    @classmethod
    def of_request(
        cls,
        request: ResolvedRequest,
        data: ImageData,
        machine: Machine,
        hardware: str | None = None,
    ) -> Self:
        """The conditions of a run that is yet to be trained.

        hardware: its kind; None where an engine will decide it
        """
        budget, spent = request.budget, None
        if registry.is_trained(request.name.family):
            spent = Spent(budget.unit, budget.amount, budget.asked)
        return cls.of(data.describe(), machine.device, machine.precision, spent, hardware=hardware)


def earlier_data(run: RunRecord) -> str:
    """The data that a run's origins were trained on, where those are not its own; else a dash."""
    other = {
        f"{origin.data} ({origin.fingerprint})": None
        for origin in reversed(run.origins)
        if origin.fingerprint != run.data.fingerprint and origin.images_seen
    }
    return ", ".join(other) or "-"


# What results.json of runs that were measured one by one must agree in.
MEASURED_ALIKE: dict[str, Callable[[ResultsRecord], object]] = {
    "sample_counts_differ": lambda results: samples_measured(results),
    "measured_data_differ": lambda results: results.data.fingerprint,
    "features_differ": lambda results: features_used(results),
    "classifiers_differ": lambda results: results.extractor and results.extractor.key,
}


def differences(runs: Mapping[str, Conditions]) -> list[Note]:
    """What differs between the conditions of runs, with the runs' names."""
    return differing({name: conditions.values for name, conditions in runs.items()})


def measured_differently(results: Mapping[str, ResultsRecord]) -> list[Note]:
    """What differs between the measurements of runs."""
    return differing(
        {
            name: {
                code: value
                for code, value_of in MEASURED_ALIKE.items()
                if (value := value_of(result)) is not None or code != "classifiers_differ"
            }
            for name, result in results.items()
        }
    )


def differing(runs: Mapping[str, Mapping[str, object]]) -> list[Note]:
    """A note for each code whose values are not those of all runs that have one, with these."""
    notes = []
    for code in dict.fromkeys(code for of_run in runs.values() for code in of_run):
        values = {name: of_run[code] for name, of_run in runs.items() if code in of_run}
        if len(set(map(str, values.values()))) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in values.items())
            notes.append(Note(code, {"runs": listed}))
    return notes


def trained_on_other_data(runs: Mapping[str, RunRecord], fingerprint: str) -> list[Note]:
    """A note naming the runs to be measured on data unlike their own, or none."""
    other = [name for name, run in runs.items() if run.data.fingerprint != fingerprint]
    return [Note("trained_on_other_data", {"runs": ", ".join(other)})] if other else []


def samples_measured(results: ResultsRecord) -> int:
    """How many samples the distances of a results.json were found with."""
    counts = [m.n for m in results.metrics if m.name in ("sharpness", "frechet_distance")]
    return max((count for count in counts if count is not None), default=0)


def features_used(results: ResultsRecord) -> str | None:
    """The extractor that the distances of a results.json were found on."""
    return None if results.extractor is None else results.extractor.name


def marks(
    runs: Mapping[str, RunRecord], samples: Mapping[str, SamplesRecord] | None = None
) -> list[Note]:
    """What belongs on the page though it does not forbid comparing.

    samples: those from elsewhere, by name
    """
    return [
        *origin_marks(runs),
        *label_marks(runs, samples or {}),
        *snapshot_marks(runs),
        *time_marks(runs),
        *thread_marks(runs),
        *hardware_marks(runs),
    ]


def origin_marks(runs: Mapping[str, RunRecord]) -> list[Note]:
    """Which models went on from a finished run, whose images and seconds count with theirs."""
    going_on = [name for name, run in runs.items() if run.origins]
    return [Note("went_on", {"runs": ", ".join(going_on)})] if going_on else []


def label_marks(runs: Mapping[str, RunRecord], samples: Mapping[str, SamplesRecord]) -> list[Note]:
    """Whether some models were given the labels and others were not."""
    conditional = [name for name, run in runs.items() if run.labels is not None]
    conditional += [name for name, record in samples.items() if record.labels]
    if len(conditional) in (0, len(runs) + len(samples)):
        return []
    return [Note("labels_given_to_some", {"runs": ", ".join(conditional)})]


def snapshot_marks(runs: Mapping[str, RunRecord]) -> list[Note]:
    """Whether some models are the best of several snapshots and others the last weights."""
    trained = {name: run for name, run in runs.items() if registry.is_trained(run.family)}
    chosen = [name for name, run in trained.items() if chooses(run)]
    if len(chosen) in (0, len(trained)):
        return []
    return [Note("snapshots_of_some", {"runs": ", ".join(chosen)})]


def chooses(run: RunRecord) -> bool:
    """Whether it was to choose among snapshots, and its budget was long enough for it."""
    known = registry.own_recipes(run.family) if run.family in registry.FAMILIES else []
    if run.recipe not in known:
        return False
    recipe = registry.recipe(registry.ModelName(run.family, run.recipe))
    settings = config.from_json(recipe.settings, run.settings)
    return bool(settings.select) and samples_for(run.planned_images) > 0


def hardware_kind(device: str, hardware: Mapping[str, str | int | None]) -> str | None:
    """The GPU or the processor by name, which trains on a device; None where nobody recorded it.

    hardware: as run.json has it
    """
    name = hardware.get("processor" if device == "cpu" else "gpu")
    return None if name is None else str(name)


def hardware_marks(runs: Mapping[str, RunRecord]) -> list[Note]:
    """Whether costs were measured on unlike hardware; budgets in seconds forbid it already."""
    trained = {name: run for name, run in runs.items() if registry.is_trained(run.family)}
    if any(run.budget.unit == "seconds" for run in trained.values()):
        return []
    kinds = {name: hardware_kind(run.device, run.hardware) for name, run in trained.items()}
    if len(set(kinds.values()) - {None}) < 2:
        return []
    listed = ", ".join(f"{name} {kind}" for name, kind in kinds.items() if kind)
    return [Note("costs_of_unlike_hardware", {"runs": listed})]


def thread_marks(runs: Mapping[str, RunRecord]) -> list[Note]:
    """Whether budgets in seconds were spent on unlike numbers of processor threads.

    Where nobody asked for a number, each training took what was fastest of all its cores.
    """
    counts = {
        name: run.hardware.get("cores") if "threads" in run.choices else run.threads
        for name, run in runs.items()
        if registry.is_trained(run.family)
        and run.device == "cpu"
        and "seconds" in Spent.by(run).units
    }
    if len(set(counts.values()) - {None}) < 2:
        return []
    listed = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return [Note("threads_differ", {"runs": listed})]


def time_marks(runs: Mapping[str, RunRecord]) -> list[Note]:
    """Whether true training times are apart though budgets in seconds were equal."""
    trained = {name: run for name, run in runs.items() if registry.is_trained(run.family)}
    seconds = {name: run.total_seconds or 0.0 for name, run in trained.items()}
    timed = trained and all(Spent.by(run).units == "seconds" for run in trained.values())
    if not timed or max(seconds.values()) <= (1 + TIME_TOLERANCE) * min(seconds.values()):
        return []
    listed = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    return [Note("training_times_differ", {"most": TIME_TOLERANCE, "runs": listed})]
