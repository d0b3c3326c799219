"""What holds for whatever comes in: images, words, values of options, measurements.

Hypothesis draws the examples, the same ones in every run, and shows the smallest that fails.
"""

from __future__ import annotations

import io
import json
import math
import shlex
import tarfile
import typing
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import savemat
from torch import Tensor

from tests.making import encode, read_first
from tests.test_comparison import FACTS
from triptych import config, files
from triptych.cli import parser
from triptych.cli.output import check as check_target
from triptych.comparison.seeds import mean_metric
from triptych.comparison.significance import Difference, difference
from triptych.config import Budget, ImageShape, OptimizerConfig
from triptych.data.ranges import NumberSummary, decide, summarize, to_uint8
from triptych.data.sources import Columns, Item, Source
from triptych.data.sources.find import find_path
from triptych.data.sources.layout import class_of
from triptych.data.sources.levels import find_levels
from triptych.distributed import Group
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.metrics.intervals import jackknife, mean_interval, wilson
from triptych.options import (
    CompareRequest,
    LikelihoodOptions,
    MeasureRequest,
    Options,
    SamplingOptions,
    TrainRequest,
)
from triptych.records import MetricRecord, Note, RunRecord
from triptych.run import Run
from triptych.training.run_folder import RunFolder
from triptych.words import MINUS, NO_BREAK, Words

# Machines compute without the smallest floats (`hardware.pick`): Hypothesis must draw none.
floats = partial(st.floats, allow_subnormal=False)


def examples(most: int) -> Callable[[Any], Any]:
    """So many examples, the same in every run; a folder of pytest's serves all of them."""
    return settings(
        max_examples=most,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def one_line(error: InputError) -> bool:
    return "\n" not in str(error) and bool(error.wrong) and bool(error.mend)


# Sources of images

sides = st.integers(5, 9)  # of arrays: 4 and less at either end could be channels


@st.composite
def stacks(draw: st.DrawFn) -> np.ndarray:
    """Grey or coloured images: uint8 (N,H,W) or (N,H,W,3)."""
    shape = (draw(st.integers(5, 7)), draw(sides), draw(sides), *draw(st.sampled_from([(), (3,)])))
    return draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 255)))


def as_zip(path: Path, images: np.ndarray) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number, image in enumerate(images):
            archive.writestr(f"{number}.png", encode(image))


def as_tar(path: Path, images: np.ndarray) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for number, image in enumerate(images):
            content = encode(image)
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def as_parquet(path: Path, images: np.ndarray) -> None:
    pq.write_table(pa.table({"image": [encode(image) for image in images]}), path)


def as_matlab(path: Path, images: np.ndarray) -> None:
    savemat(path, {"X": np.moveaxis(images, 0, -1)})  # SVHN's order


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "a.npy": lambda path, images: np.save(path, images),
    "a.npz": lambda path, images: np.savez_compressed(path, images=images),
    "a.zip": as_zip,
    "a.tar.gz": as_tar,
    "a.parquet": as_parquet,
    "a.mat": as_matlab,
}


def read(path: Path) -> Source:
    return find_path(path, Columns()).read(lambda done, total: None)


def read_all(path: Path) -> list[Item]:
    source = read(path)
    items = list(source.items())
    assert len(items) == source.count
    return items


@pytest.mark.parametrize("name", WRITERS)
@given(images=stacks())
@examples(12)
def test_every_image_comes_back_to_the_byte_in_its_order(
    tmp_path: Path, name: str, images: np.ndarray
) -> None:
    height, width, count = images.shape[1], images.shape[2], images.shape[0]
    # these look as if the images came first
    assume(name != "a.mat" or images.ndim == 4 or not width == count != height)
    WRITERS[name](tmp_path / name, images)
    found = [read_first(item.content).pixels for item in read_all(tmp_path / name)]
    np.testing.assert_array_equal(np.stack(found), images)


STARTS = [b"", b"PK\3\4", b"\x93NUMPY\1\0", b"PAR1", b"MATLAB 5.0 MAT-file", b"\x1f\x8b\x08"]


@pytest.mark.parametrize("name", [*WRITERS, "a.tar", "a.tgz"])
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=600))
@examples(40)
def test_any_bytes_are_images_or_one_line(
    tmp_path: Path, name: str, start: bytes, rest: bytes
) -> None:
    (tmp_path / name).write_bytes(start + rest)
    try:
        read_all(tmp_path / name)
    except InputError as error:
        assert one_line(error) and name in str(error)


class_names = st.text(min_size=1, max_size=12).map(class_of).filter(bool)


@given(
    names=st.lists(class_names, min_size=2, max_size=4, unique=True),
    numbers=st.lists(st.integers(0, 1), min_size=1, max_size=6),
)
@examples(12)
def test_classes_of_samples_are_read_back_whatever_they_are_called(
    tmp_path_factory: pytest.TempPathFactory, names: list[Any], numbers: list[int]
) -> None:
    """The folder and the file that `sample` writes are data with the model's own classes."""
    images = torch.zeros(len(numbers), 3, 4, 4, dtype=torch.uint8)
    written = [names[number] for number in numbers]
    for out in ("samples", "samples.npz"):
        path = tmp_path_factory.mktemp("made") / out
        check_target(path).write({"images": images}, torch.tensor(numbers), tuple(names))
        source = read(path)
        labels = [item.label for item in source.items()]
        if source.classes is not None:
            labels = [source.classes[int(label)] for label in labels if label is not None]
        assert list(map(str, labels)) == written


folders = st.text("abcdefgh", min_size=1, max_size=3)


@given(
    classes=st.lists(folders, min_size=2, max_size=5, unique=True),
    below=st.lists(folders, max_size=2),
    counts=st.lists(st.integers(1, 9), min_size=10, max_size=10),
    seed=st.randoms(use_true_random=False),
)
@examples(60)
def test_folders_are_parts_and_classes_whatever_they_are_called(
    classes: list[str], below: list[str], counts: list[int], seed: Any
) -> None:
    """PART/CLASS/...: neither names, order, counts nor what lies further down change that."""
    meant = {(part, name, *below): (part, name) for part in ("train", "test") for name in classes}
    listed = list(zip(meant, counts, strict=False))
    seed.shuffle(listed)
    levels = find_levels(dict(listed))
    assert {folder: levels.parts[folder] for folder in meant} == {
        f: p for f, (p, _) in meant.items()
    }


@given(
    kind=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
    drawn=st.lists(st.integers(-300, 70_000) | floats(-9, 9), min_size=1, max_size=20),
    odd=st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 1e30, -3e38]), max_size=3),
    cuts=st.lists(st.integers(0, 20), max_size=3),
)
@examples(60)
def test_numbers_of_a_source_have_one_range_however_they_are_cut(
    kind: str, drawn: list[float], odd: list[float], cuts: list[int]
) -> None:
    numbers = np.array(drawn + odd if kind[0] == "f" else list(map(int, drawn))).astype(kind)
    whole = summarize(numbers, (0, 100))
    pieces = np.split(numbers, sorted(cuts))
    assert sum((summarize(piece, (0, 100)) for piece in pieces), NumberSummary()) == whole
    finite = numbers[np.isfinite(numbers)]
    assert whole.values == len(finite) and whole.not_finite == len(numbers) - len(finite)
    low, high = decide(kind, whole)
    assert low < high
    if kind[0] != "f" and len(finite):
        assert low <= finite.min() and finite.max() <= high
    levels = to_uint8(numbers, (low, high)).astype(int)
    order = np.argsort(np.where(np.isfinite(numbers), numbers, low), kind="stable")
    assert (np.diff(levels[order]) >= 0).all()


@given(
    numbers=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=20),
    low=st.integers(-(2**15), 2**15 - 1),
    width=st.integers(1, 2**16),
)
@examples(60)
def test_numbers_become_the_nearest_grey_level(numbers: list[int], low: int, width: int) -> None:
    found = to_uint8(np.array(numbers, np.int16), (low, low + width)).tolist()
    exact = [
        min(Fraction(255), max(Fraction(0), Fraction(255 * (n - low), width))) for n in numbers
    ]
    assert found == [round(level) for level in exact]


# Options

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
plain_words = st.text("abcxyz019_./=: -", min_size=1, max_size=8)
budgets = st.builds("{}{}".format, st.integers(1, 900), st.sampled_from(["s", "m", "kimg"]))
requests = st.builds(
    TrainRequest,
    model=st.sampled_from(["vae", "gan:course", "diffusion:edm,ema=0.1"]),
    data=plain_words,
    seed=st.integers(-(2**31), 2**31),
    out=st.none() | plain_words.map(Path),
    on_trouble=st.sampled_from(["rewind", "stop"]),
    budget=st.none() | budgets,
    size=st.sampled_from([None, "tiny", "small", "base"]),
    conditional=st.booleans(),
    set=st.lists(plain_words, max_size=3).map(tuple),
    flip=st.booleans(),
    crop=st.integers(0, 15),
    resolution=st.sampled_from([None, 16, 32, 64, 128]),
    fit=st.sampled_from([None, "stretch", "crop", "pad"]),
    strict=st.booleans(),
    image_column=st.none() | plain_words,
    label_column=st.none() | plain_words,
    range=st.none() | st.sampled_from(["0,4095", "-1,1", "-0.5,0.25"]),
    threads=st.none() | st.integers(1, 64),
    microbatch=st.none() | st.integers(1, 99),
    compile=st.booleans(),
)


@given(asked=requests)
@examples(10)
def test_a_recorded_command_asks_for_the_same(asked: TrainRequest) -> None:
    parsed = parser.parse(shlex.split(asked.command())[1:])
    assert isinstance(parsed, TrainRequest)
    assert parsed.part(TrainRequest) == asked


def as_toml(value: Any) -> str:
    """JSON's texts, numbers and lists are TOML's too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


@given(asked=requests)
@examples(10)
def test_a_file_of_options_asks_for_the_same(tmp_path: Path, asked: TrainRequest) -> None:
    lines = ["[train]"]
    for each in fields(asked):
        value = getattr(asked, each.name)
        if value is not None and each.name != "model":
            written = str(value) if isinstance(value, Path) else value
            lines.append(f"{each.name} = {as_toml(written)}")
    (tmp_path / "c.toml").write_text("\n".join(lines), encoding="utf-8")
    parsed = parser.parse(["train", asked.model, "--config", str(tmp_path / "c.toml")])
    assert isinstance(parsed, TrainRequest)
    assert parsed.part(TrainRequest) == asked


options = ["--seed", "--set", "--out", "--range", "--budget", "--crop", "--size", "--config", "--"]


@given(
    command=st.sampled_from(list(parser.COMMANDS)),
    typed=st.lists(st.sampled_from(options) | words, max_size=4),
)
@examples(12)
def test_any_words_are_a_command_or_one_line(command: str, typed: list[str]) -> None:
    try:
        parsed = parser.parse([command, *typed])
    except InputError as error:
        assert one_line(error)
    except SystemExit as stopped:  # help was asked for
        assert stopped.code == 0
    else:
        assert isinstance(parsed, Options)


@given(
    amount=st.integers(1, 10**6),
    decimals=st.integers(0, 3),
    unit=st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("kimg", 1000), ("img", 1)]),
    space=st.sampled_from(["", " "]),
    upper=st.booleans(),
)
@examples(60)
def test_budgets_are_amounts_in_their_units(
    amount: int, decimals: int, unit: tuple[str, int], space: str, upper: bool
) -> None:
    exact = Fraction(amount, 10**decimals)
    number = f"{amount // 10**decimals}"
    number += f".{amount % 10**decimals:0{decimals}d}" if decimals else ""
    text = f" {number}{space}{unit[0].upper() if upper else unit[0]}"
    budget = Budget.parse(text)
    assert budget.amount == pytest.approx(float(exact * unit[1]), rel=1e-12)
    assert budget.unit == ("images" if "img" in unit[0] else "seconds")
    assert budget.asked == text.strip()


positive = floats(1e-9, 1e9)
optimizers = st.builds(
    OptimizerConfig,
    learning_rate=positive,
    betas=st.tuples(floats(0, 0.9999), floats(0, 0.9999)),
    weight_decay=floats(0, 1),
    warmup=floats(0, 1),
    decay=st.sampled_from(["constant", "linear", "cosine"]),
    clip_norm=st.none() | positive,
    muon_lr=st.none() | positive,
)
RECIPES = list(map(ModelName.parse, registry.known_models()))


@given(name=st.sampled_from(RECIPES), optimizer=optimizers, batch=st.integers(1, 512))
@examples(20)
def test_settings_come_back_from_json_and_from_set(
    name: ModelName, optimizer: OptimizerConfig, batch: int
) -> None:
    usual = registry.defaults(name, "tiny", ImageShape(channels=3, resolution=32), 1000)
    nested = [f.name for f in fields(usual) if f.type == "OptimizerConfig"]
    flags = {f.name: not getattr(usual, f.name) for f in fields(usual) if f.type == "bool"}
    changed = replace(usual, batch_size=batch, **flags, **dict.fromkeys(nested, optimizer))
    written = json.loads(json.dumps(config.to_json(changed)))
    assert config.from_json(type(usual), written) == changed
    texts = [f"batch_size={batch}", *(f"{flag}={value}" for flag, value in flags.items())]
    for outer in nested:
        for inner in fields(optimizer):
            value = getattr(optimizer, inner.name)
            text = ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)
            texts.append(f"{outer}.{inner.name}={text}")
    assert config.override(usual, texts) == changed
    with pytest.raises(InputError, match="unknown setting"):
        config.from_json(type(usual), {**written, "batch_sizes": 1})


# Requests

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.integers() | st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.just(object()),
    hnp.arrays(np.float32, 2, elements=st.just(0.5)),
)
KINDS = [TrainRequest, CompareRequest, MeasureRequest, SamplingOptions, LikelihoodOptions]


def of_kind(value: Any, hint: Any) -> bool:
    """Whether a value is one of those that a field is declared to hold."""
    origin = typing.get_origin(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(of_kind(v, typing.get_args(hint)[0]) for v in value)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin is not None:  # a union
        return any(of_kind(value, each) for each in typing.get_args(hint))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint or (hint is Path and isinstance(value, Path))


@pytest.mark.parametrize("kind", KINDS)
@given(value=junk)
@examples(40)
def test_any_value_of_an_option_is_held_or_refused_in_one_line(
    kind: type[Options], value: Any
) -> None:
    """What is held is of the type that the field declares, and a number is the one given."""
    more = {"model": "vae"} if kind is TrainRequest else {}
    hints = typing.get_type_hints(kind)
    for name in (each.name for each in fields(kind)):
        try:
            held = getattr(kind.of(**(more | {name: value})), name)
        except InputError as error:
            assert one_line(error), name
        else:
            assert of_kind(held, hints[name]), name
            if isinstance(value, int | float):
                assert held == value or math.isnan(value), name


@given(name=st.text("abcdeflnorst_", min_size=1, max_size=10), kind=st.sampled_from(KINDS))
@examples(60)
def test_no_unknown_keyword_is_passed_over(name: str, kind: type[Options]) -> None:
    if name not in {each.name for each in fields(kind)}:
        with pytest.raises(InputError, match=rf"takes no option '{name}': (did you|choose)"):
            kind.of(**{name: None})


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run as far as requests are checked before its model does anything."""
    from triptych import hardware

    run = object.__new__(Run)
    name = ModelName.parse("vae:course")
    shape = ImageShape(channels=3, resolution=16)
    run.folder = RunFolder(tmp_path_factory.mktemp("run"))
    run.machine = hardware.pick("cpu", "fp32", threads=1)
    run.model = registry.build(name, registry.defaults(name, "tiny", shape, 99), shape, seed=0)
    run.record, run.labels = RunRecord.read(FACTS), None
    return run


not_numbers = junk.filter(lambda value: not isinstance(value, int))


@given(value=not_numbers)
@examples(60)
def test_what_is_no_whole_number_is_refused_by_every_task(untrained: Run, value: Any) -> None:
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    calls: list[Callable[[], Any]] = [
        lambda: untrained.draw_latents(value),
        lambda: untrained.sample("" if value is None else value),  # None is for 64
        lambda: untrained.sample(1, value),
        lambda: untrained.reconstruct(images, value),
        lambda: untrained.interpolate(points=value),
        lambda: untrained.interpolate(paths=0 if value is None else value),  # None is for 1
        lambda: untrained.interpolate(seed=value),
        lambda: untrained.traverse(images, value),
        lambda: untrained.traverse(images, points=value),
        lambda: untrained.traverse(images, seed=value),
        lambda: untrained.log_likelihood(images, value),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()


def test_no_path_is_too_few(untrained: Run) -> None:
    with pytest.raises(InputError, match=r"^0 paths are too few: give 1 or more$"):
        untrained.interpolate(paths=0)


@given(value=junk)
@examples(60)
def test_what_are_no_images_is_refused_by_every_task(untrained: Run, value: Any) -> None:
    for verb in (untrained.reconstruct, untrained.represent, untrained.traverse):
        with pytest.raises(InputError, match="images come as uint8"):
            verb(value)
    if value is not None:
        with pytest.raises(InputError):
            untrained.interpolate(value, value)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 16, 16),
        torch.zeros(3, 16, 16, dtype=torch.uint8),
        torch.zeros(1, 3, 16, 16, dtype=torch.int64),
        torch.zeros(1, 1, 16, 16, dtype=torch.uint8),
        torch.zeros(0, 3, 16, 16, dtype=torch.uint8),
    ],
)
def test_tensors_of_another_kind_or_size_are_no_images(untrained: Run, images: Tensor) -> None:
    for verb in (untrained.reconstruct, untrained.represent, untrained.log_likelihood):
        with pytest.raises(InputError, match=r"^(images|there are no images)"):
            verb(images)


# Records

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def is_finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


@given(value=json_values)
@examples(30)
def test_json_comes_back_and_never_holds_what_is_no_number(tmp_path: Path, value: Any) -> None:
    if is_finite(value):
        files.write_json(tmp_path / "a.json", value)
        assert files.read_json(tmp_path / "a.json", "mend it") == value
    else:
        with pytest.raises(ValueError, match="JSON"):
            files.write_json(tmp_path / "b.json", value)
        assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "9" * 19, "[" * 100_000]
)
def test_json_with_what_is_no_number_of_ours_is_not_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json is damaged \(.*\): mend it$"):
        files.read_json(tmp_path / "a.json", "mend it")


numbers = st.none() | floats(allow_nan=False, allow_infinity=False)
notes = st.builds(Note, st.text(max_size=5), st.dictionaries(st.text(max_size=3), st.integers()))
metrics = st.builds(
    MetricRecord,
    name=st.text(max_size=5),
    value=numbers,
    low=numbers,
    high=numbers,
    floor=numbers,
    n=st.none() | st.integers(0, 10**9),
    note=st.none() | notes,
    left_out=st.none() | st.just({"samples": (0.5, 1.5)}),
    values=st.none() | st.just((1.0, 2.0)),
    no_interval=st.none() | notes,
)


@given(record=metrics, name=st.text(min_size=1, max_size=5))
@examples(60)
def test_records_come_back_and_hold_no_unknown_name(record: MetricRecord, name: str) -> None:
    written = json.loads(json.dumps(record.to_json()))
    assert MetricRecord.read(written) == record
    if name not in {each.name for each in fields(MetricRecord)}:
        with pytest.raises(ValueError, match="no such name"):
            MetricRecord.read({**written, name: None})


# Intervals and differences

values = st.lists(floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(count=st.integers(1, 400), share=floats(0, 1))
@examples(60)
def test_an_interval_of_a_share_holds_it_and_mirrors(count: int, share: float) -> None:
    successes = round(share * count)
    found, mirrored = wilson(successes, count), wilson(count - successes, count)
    assert 0 <= found.low <= successes / count <= found.high <= 1
    assert found.low < found.high
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low))
    assert (
        found.high - found.low
        > wilson(4 * successes, 4 * count).high - wilson(4 * successes, 4 * count).low
    )


@given(values=values, shift=st.integers(-99, 99), scale=st.integers(1, 50))
@examples(25)
def test_an_interval_of_a_mean_moves_with_its_values(
    values: list[float], shift: int, scale: int
) -> None:
    plain = mean_interval(torch.tensor(values))
    moved = mean_interval(scale * torch.tensor(values).double() + shift)
    turned = mean_interval(torch.tensor(values[::-1]))
    assert plain.low <= plain.value <= plain.high
    assert (plain.low < plain.high) == (len(set(torch.tensor(values).tolist())) > 1)
    ends = (scale * plain.low + shift, scale * plain.high + shift)
    assert (moved.low, moved.high) == pytest.approx(ends, rel=1e-6, abs=1e-3)
    assert (turned.low, turned.high) == pytest.approx((plain.low, plain.high), abs=1e-6)


@given(value=floats(0, 100), ours=values, theirs=values)
@examples(60)
def test_a_jackknife_holds_its_value_and_does_not_heed_the_order(
    value: float, ours: list[float], theirs: list[float]
) -> None:
    found = jackknife(value, {"samples": ours, "reference": theirs})
    turned = jackknife(value, {"reference": theirs[::-1], "samples": sorted(ours)})
    alone = jackknife(value, {"samples": ours})
    assert 0 <= found.low <= value <= found.high
    assert (turned.low, turned.high) == pytest.approx((found.low, found.high))
    assert (found.low == found.high) == (len(set(ours)) == len(set(theirs)) == 1) or value == 0
    assert alone.left_out == {"samples": ours}


@st.composite
def measured(draw: st.DrawFn, better: str = "lower") -> MetricRecord:
    """A number with its interval, and perhaps its values without groups or of trainings."""
    value = draw(floats(-50, 50))
    below, above = draw(floats(0.01, 9)), draw(floats(0.01, 9))
    near = floats(value - 3, value + 3)
    groups = st.lists(near, min_size=4, max_size=4).map(tuple)
    return MetricRecord(
        name="a", better=better, value=value, low=value - below, high=value + above,
        left_out=draw(st.none() | st.fixed_dictionaries({"samples": groups, "reference": groups})),
        values=draw(st.none() | groups),
    )  # fmt: skip


def negated(metric: MetricRecord) -> MetricRecord:
    """The same where higher is better."""
    assert metric.low is not None and metric.high is not None and metric.value is not None
    return replace(
        metric,
        better="higher",
        value=-metric.value,
        low=-metric.high,
        high=-metric.low,
        left_out={side: tuple(-v for v in each) for side, each in (metric.left_out or {}).items()},
        values=None if metric.values is None else tuple(-v for v in metric.values),
    )


OTHER = {"first": "second", "second": "first", "undecided": "undecided"}


def told(found: Difference | None) -> tuple[float, float, float]:
    assert found is not None
    return found.value, found.low, found.high


@given(first=measured(), second=measured())
@examples(40)
def test_a_difference_turns_with_its_models(first: MetricRecord, second: MetricRecord) -> None:
    one, other = difference(first, second), difference(second, first)
    assert one is not None and other is not None
    assert one.low <= one.value <= one.high
    assert told(other) == pytest.approx((-one.value, -one.high, -one.low))
    assert other.better == OTHER[one.better]
    assert told(difference(negated(first), negated(second))) == pytest.approx(told(one))


@given(trainings=st.lists(measured(), min_size=2, max_size=5), seed=st.randoms())
@examples(20)
def test_a_mean_of_trainings_does_not_heed_their_order(
    trainings: list[MetricRecord], seed: Any
) -> None:
    mean = mean_metric(trainings)
    seed.shuffle(trainings)
    again = mean_metric(trainings)
    singles = [metric.value for metric in trainings if metric.value is not None]
    assert mean.value is not None and mean.low is not None and mean.high is not None
    assert mean.value == pytest.approx(float(np.mean(singles)))
    assert mean.low <= mean.value <= mean.high
    assert again.value == pytest.approx(mean.value) and again.low == pytest.approx(mean.low)


# Shares and numbers in words


@given(count=st.integers(0, 10**6), size=st.integers(1, 12))
@examples(60)
def test_processes_share_all_rows_and_none_twice(count: int, size: int) -> None:
    shares = [Group(rank, size).rows(count) for rank in range(size)]
    assert [share.start for share in shares] == [0, *(share.stop for share in shares[:-1])]
    assert shares[-1].stop == count
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


UNITS = {
    "h": 3600, "min": 60, "s": 1, "ms": 1e-3, "µs": 1e-6,
    "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1, "G": 1e9, "M": 1e6, "k": 1e3, "%": 0.01, "": 1,
}  # fmt: skip


def read_back(text: str) -> float:
    """A number with its unit, as a reader of English takes it."""
    number, _, unit = text.replace(",", "").replace(MINUS, "-").partition(NO_BREAK)
    return float(number) * UNITS[unit]


@given(size=floats(0, 9.99), magnitude=st.integers(-5, 11))
@examples(150)
def test_numbers_in_words_are_read_back_near_to_what_they_are(size: float, magnitude: int) -> None:
    words, value = Words(), size * 10.0**magnitude
    if size >= 1:
        assert read_back(words.number(value)) == pytest.approx(value, rel=0.0051)
        assert read_back(words.number(-value)) == pytest.approx(-value, rel=0.0051)
        assert read_back(words.short(value)) == pytest.approx(value, rel=0.0051)
        assert read_back(words.number(value, "time")) == pytest.approx(value, rel=0.0051, abs=5e-9)
        if value >= 1:
            assert read_back(words.number(value, "bytes")) == pytest.approx(
                value, rel=0.051, abs=0.5
            )
    share = value / 10.0**magnitude / 10
    assert read_back(words.number(share, "percent")) == pytest.approx(share, abs=0.00051)
