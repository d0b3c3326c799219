"""The folder of a run or a comparison as it lies on the Hub: what others need, and nothing else.

A run is run.json, the weights, its numbers and its figures; a comparison is its contract and its
numbers, with a folder for each run. Beside them lie a card, an app for a Space, and the numbers as
the Hub reads them. Checkpoints and logs stay, and so does every path of this machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from PIL import Image

from triptych import files, images
from triptych.comparison.compare import CONTRACT, RESULTS, read_comparison
from triptych.console import Console
from triptych.errors import InputError
from triptych.evaluation.evaluate import PRIOR
from triptych.export import private, space
from triptych.export.card import PICTURE, Licenses, Subject, eval_results, write_card
from triptych.families.capabilities import exemplar_numbers
from triptych.pages import load
from triptych.pages.page import PAGE, write_page
from triptych.records import (
    BASELINE,
    ComparisonResults,
    ContractRecord,
    Note,
    ResultsRecord,
    RunRecord,
    read_record,
)
from triptych.run import Run
from triptych.training.run_folder import WEIGHTS, RunFolder, load_model
from triptych.words import without_repeats

CARD = "README.md"
EVAL_RESULTS = ".eval_results/triptych.yaml"
RUN_JSON = "run.json"
RECORDS = (RUN_JSON, RESULTS)
LOG = "log.jsonl"  # of a training
IN_RUN = (WEIGHTS, *RECORDS)  # files of a run's folder
FIGURES = ("figures", "samples", "tables")  # folders of pictures, and of numbers behind them
FIGURE_ENDINGS = (".png", ".json")
PAGE_ENDINGS = (".svg", ".csv", ".tex")  # of what a page writes beside it
MADE = (CARD, PICTURE, EVAL_RESULTS, PAGE, *space.FILES)  # what is written anew for the Hub
SHOWN, COLUMNS = 32, 8  # samples on the card
LEAST_SIDE = 64  # pixels of each of them


def write(run: Run, out: Path, console: Console, licenses: Licenses | None = None) -> None:
    """Fill the empty folder `out` with what `push` uploads of a run."""
    write_run_for_hub(run, out, console, licenses or Licenses(), Subject.name)


def write_run_for_hub(
    run: Run, out: Path, console: Console, licenses: Licenses, name: str
) -> Subject:
    """The same for a name on the Hub; gives what its card is of."""
    copy_run(run.folder, out)
    results = results_of(out, run)
    shown = load.load_run(results, out)
    with console.bar("  samples for the card", SHOWN):
        picture = draw_samples(run, out / PICTURE)
    same_data = results.data.fingerprint == run.record.data.fingerprint
    subject = Subject(
        title=f"{run.record.model} on {run.record.data.name}",
        runs=(replace(shown, name=run.record.model),),
        data=private.private_data(run.record.data),
        other_data=None if same_data else results.data,
        picture=picture,
        name=name,
    )
    write_around(subject, out, licenses)
    space.write(out)
    return subject


def write_comparison_for_hub(folder: Path, out: Path, licenses: Licenses, name: str) -> Subject:
    """Fill the empty folder `out` with what `push` uploads of a comparison."""
    path, mend = folder / CONTRACT, "make the comparison with `triptych compare` again"
    contract = read_record(ContractRecord, files.read_json(path, mend), path, mend)
    results = read_comparison(folder)
    names = new_names(contract.runs)
    for run, new in names.items():
        copy_measured(folder / run, out / new)
    if results.baseline is not None and (folder / BASELINE).is_dir():
        copy_measured(folder / BASELINE, out / BASELINE)
    private_contract = private.private_contract(contract, tuple(names.values()))
    files.write_json(out / CONTRACT, private_contract.to_json())
    warned = {run: warnings_in(folder / run) for run in contract.runs}
    files.write_json(out / RESULTS, with_names(with_warnings(results, warned), names).to_json())
    copy_figures(folder, out)
    write_page(out)
    shown = load.load_comparison(out)
    models = ", ".join(dict.fromkeys(run.model for run in shown.runs))
    subject = Subject(
        title=f"{models} on {contract.data.name}",
        runs=shown.runs,
        comparison=True,
        trainings=shown.trainings,
        data=private_contract.data,
        baseline=shown.baseline,
        picture=picture_of(shown.runs, out / PICTURE),
        name=name,
    )
    write_around(subject, out, licenses)
    return subject


def write_around(subject: Subject, out: Path, licenses: Licenses) -> None:
    """The card, and the numbers as the Hub reads them."""
    files.write_bytes(out / CARD, write_card(subject, licenses).encode())
    results = eval_results(subject)
    if results is not None:
        files.make_folder((out / EVAL_RESULTS).parent)
        files.write_bytes(out / EVAL_RESULTS, results.encode())


# Runs


def copy_run(folder: RunFolder, out: Path) -> None:
    """A run's weights as they are, its records without this machine's paths, its figures."""
    _, record = load_model(folder)  # nothing goes out that others could not load
    files.make_folder(out)
    shutil.copyfile(folder.weights, out / WEIGHTS)
    RunFolder(out).write(private.private_run(record))
    copy_results(folder.results, out / RESULTS)
    copy_figures(folder.path, out)


def copy_measured(folder: Path, out: Path) -> None:
    """A run of a comparison, or what was measured of samples from elsewhere."""
    if RunFolder(folder).is_run():
        copy_run(RunFolder(folder), out)
        return
    files.make_folder(out)
    copy_results(folder / RESULTS, out / RESULTS)
    copy_figures(folder, out)


def copy_results(path: Path, out: Path) -> None:
    """results.json of a run, where it was measured, with what its log warned of."""
    if path.is_file():
        mend = "measure it with `triptych evaluate` again"
        values = files.read_json(path, mend, files.MOST_RESULTS)
        record = read_record(ResultsRecord, values, path, mend)
        record = warning_of(record, warnings_in(path.parent))
        files.write_json(out, private.private_results(record).to_json())


def warnings_in(folder: Path) -> tuple[Note, ...]:
    """What the log of a run warned of: pages read it beside the results, and it stays here."""
    return load.load_log(folder / LOG).warnings


def warning_of(record: ResultsRecord, warned: Iterable[Note]) -> ResultsRecord:
    """Results with further warnings, each once."""
    return replace(record, warnings=without_repeats((*record.warnings, *warned)))


def copy_figures(folder: Path, out: Path) -> None:
    """Pictures, and the numbers behind them without this machine's paths."""
    for path in figures_in(folder):
        target = out / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            values = files.read_json(path, "measure the run again")
            files.write_json(target, private.without_paths(values))
        else:
            shutil.copyfile(path, target)


def figures_in(folder: Path) -> Iterator[Path]:
    """The files of the folders of figures; no links, which may lead anywhere."""
    for name in FIGURES:
        inside = folder / name
        if inside.is_dir() and not inside.is_symlink():
            for path in sorted(files.visible(inside)):
                regular = path.is_file() and not path.is_symlink()
                if regular and path.suffix in FIGURE_ENDINGS:
                    yield path


def results_of(out: Path, run: Run) -> ResultsRecord:
    """The numbers of a run as they were copied; where it was not measured, its warnings alone."""
    measured = load.load_results(out / RESULTS)
    if measured is not None:
        return measured
    warned = warnings_in(run.folder.path)
    if exemplar_numbers(run.model):
        warned = (*warned, PRIOR)
    return private.private_results(warning_of(unmeasured(run.record), warned))


def unmeasured(record: RunRecord) -> ResultsRecord:
    """Results without a number."""
    data = record.data
    return ResultsRecord.read(
        {
            "model": record.model,
            "run": record.model,
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "train": data.train,
                "validation": data.validation,
                "test": data.test,
            },
            "metrics": [],
            "cost": {"images_seen": record.total_images, "train_seconds": record.total_seconds},
        }
    )


def draw_samples(run: Run, path: Path) -> str:
    """A grid of the first samples of seed 0, enlarged; gives what it shows."""
    drawn = run.sample(SHOWN, 0, quiet=True)
    pixels = images.grid(drawn, columns=COLUMNS).pixels
    factor = max(1, -(-LEAST_SIDE // drawn.shape[-1])) if not run.model.shape.is_point else 1
    picture = images.to_pil(pixels)
    size = (factor * picture.width, factor * picture.height)
    picture.resize(size, Image.Resampling.NEAREST).save(path)
    return f"{SHOWN} samples: the first of seed 0, none left out."


# Comparisons


def new_names(paths: Iterable[str]) -> dict[str, str]:
    """The name of each run's folder on the Hub: runs from elsewhere come to lie beside the others.

    >>> new_names(["gan", "../old/gan"])
    {'gan': 'gan', '../old/gan': 'gan-2'}
    """
    names: dict[str, str] = {}
    for path in paths:
        plain = PurePosixPath(Path(path).as_posix()).name or "run"
        name, number = plain, 2
        while name in {*names.values(), BASELINE, *FIGURES}:
            name, number = f"{plain}-{number}", number + 1
        names[path] = name
    return names


def with_warnings(
    results: ComparisonResults, warned: Mapping[str, tuple[Note, ...]]
) -> ComparisonResults:
    """Results with what the logs of their runs warned of, by the runs' names."""

    def warning(result: ResultsRecord) -> ResultsRecord:
        runs = (result.run,) if result.runs is None else result.runs
        return warning_of(result, [note for run in runs for note in warned.get(run, ())])

    models = None if results.models is None else tuple(map(warning, results.models))
    return replace(results, runs=tuple(map(warning, results.runs)), models=models)


def with_names(results: ComparisonResults, names: dict[str, str]) -> ComparisonResults:
    """Results whose runs have these names, without this machine's paths."""

    def renamed(result: ResultsRecord) -> ResultsRecord:
        runs = None if result.runs is None else tuple(names.get(run, run) for run in result.runs)
        result = replace(result, run=names.get(result.run, result.run), runs=runs)
        return private.private_results(result)

    models = None if results.models is None else tuple(map(renamed, results.models))
    results = replace(results, runs=tuple(map(renamed, results.runs)), models=models)
    differences = [
        replace(
            each, **{k: names.get(getattr(each, k), getattr(each, k)) for k in ("first", "second")}
        )
        for each in results.differences
    ]
    results = replace(results, differences=tuple(differences))
    return ComparisonResults.read(private.without_paths(results.to_json()))


def picture_of(runs: Iterable[load.Run], path: Path) -> str | None:
    """The measured samples of the first models in one picture; None where no figure is there."""
    rows, names = [], []
    for run in runs:
        figure = None if run.folder is None else run.folder / "figures" / "samples.png"
        if figure is not None and figure.is_file():
            with Image.open(figure, formats=("PNG",)) as image:
                rows.append(image.convert("RGB"))
            names.append(run.name)
    if not rows:
        return None
    width, gap = max(row.width for row in rows), 8
    height = sum(row.height for row in rows) + gap * (len(rows) - 1)
    sheet, top = Image.new("RGB", (width, height), "white"), 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + gap
    sheet.save(path)
    return f"Samples, from above: {', '.join(names)}."


# What is what, for others' folders


def is_comparison(folder: Path) -> bool:
    """Whether a folder is one of several runs under a contract."""
    return (folder / CONTRACT).is_file()


def is_pushed(name: str) -> bool:
    """Whether a file on the Hub is one that `push` writes: it is replaced, or removed, with it."""
    of_page = in_figures(name) and PurePosixPath(name).suffix in PAGE_ENDINGS
    return is_pulled(name) or name in MADE or of_page


def is_pulled(name: str) -> bool:
    """Whether a file on the Hub is one that `pull` takes: a record, weights, a picture, the card.

    Neither code nor a page: pages are written anew, from the records.
    """
    path = PurePosixPath(name)
    if path.name in IN_RUN:
        return len(path.parts) <= 2
    return (in_figures(name) and path.suffix in FIGURE_ENDINGS) or name in (CARD, PICTURE, CONTRACT)


def in_figures(name: str) -> bool:
    """Whether a file lies in a folder of figures, of a comparison or of a run."""
    parts = PurePosixPath(name).parts
    return 2 <= len(parts) <= 3 and parts[-2] in FIGURES


def check_pushable(folder: Path) -> None:
    """InputError unless a folder is a finished run or a comparison."""
    if not folder.is_dir():
        raise InputError(f"no folder {folder}", "name a run or a comparison")
    if not is_comparison(folder) and not RunFolder(folder).is_run():
        raise InputError(
            f"{folder} is no run and no comparison", "name a folder that triptych made"
        )
