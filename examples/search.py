"""Which settings are best on my images? An Optuna study over the Python verbs.

    pip install optuna
    python examples/search.py [DATA] [BUDGET] [TRIALS]

Each trial trains a short run and is judged by its samples' kernel distance to validation images.
These are kept from every model, and test images are never looked at, so that a comparison of
the best settings afterwards is fair. The study is a file: the same command goes on.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import optuna

import triptych

OUT = Path("runs/search")


def main(
    source: str = "street-digits",
    budget: str = "20s",
    trials: str = "20",
    out: Path = OUT,
    count: int = 500,
    resolution: int = 32,
) -> optuna.Study:
    """The study, whose best trial is printed.

    count: samples of each run, and at most as many validation images
    """
    data = triptych.open_images(source, triptych.DataOptions(resolution=resolution))
    judged_on = replace(data, test=data.validation)  # in the place of test images
    count = min(count, len(data.validation))

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "optimizer.learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
        }
        run = triptych.train(
            "vae:course",
            data,
            budget=budget,
            size="tiny",
            set=[f"{name}={value}" for name, value in settings.items()],
            out=out / f"trial-{trial.number}",
        )
        results = triptych.measure(run.sample(count, seed=0), judged_on, count=count)
        distances = [m.value for m in results.metrics if m.name == "kernel_distance"]
        distance = distances[0]  # where there are labels, it is measured on two kinds of features
        if distance is None:  # a run that failed is no candidate
            raise optuna.TrialPruned
        return distance

    out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="search",
        storage=f"sqlite:///{out / 'study.db'}",
        sampler=optuna.samplers.TPESampler(seed=0),
        load_if_exists=True,
    )
    study.optimize(objective, n_trials=max(0, int(trials) - len(study.trials)))
    print(f"best: {study.best_params}, kernel distance {study.best_value:.5f} on validation images")
    return study


if __name__ == "__main__":
    main(*sys.argv[1:4])
