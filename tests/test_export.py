"""Exported programs: equal to the run, for any number of images, with nothing of ours at hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import triptych
from tests.making import one_thread, open_tiny
from tests.test_conformance import fresh
from tests.truths import MACHINE, independent, normal
from triptych import export, images
from triptych.cli.parser import parse
from triptych.config import POINT, ImageShape
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.errors import InputError
from triptych.export import FORMATS, programs, source
from triptych.export.description import drawn
from triptych.export.programs import MOST_CALLS, Program, Programs, programs_of, trace
from triptych.families import registry
from triptych.families.capabilities import Encodes, Iterative
from triptych.families.diffusion.model import NoiseToImage
from triptych.families.diffusion.recipes import PatchDiffusion
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.families.registry import ModelName
from triptych.options import ExportRequest
from triptych.records import ExportRecord, TensorRecord
from triptych.run import Run
from triptych.seeding import ImageStreams
from triptych.training.run_folder import RunFolder

EXACT = 1e-6  # on images of -1 to 1, in float32
STEPS = 2  # of a sampler: one between noise levels, one to the image
CLASSES = 3
CHAINS = {"diffusion:course": 1, "diffusion:consistency": 3}  # the second with noise twice
DEFAULTS = ("vae", "gan", "diffusion", "mixture")


def small(defaults: Any) -> Any:
    """Settings as they are, but of smaller networks where a program holds several calls of them."""

    def shrunk(*asked: Any) -> Any:
        settings = defaults(*asked)
        if not isinstance(settings, PatchDiffusion):
            return settings
        return replace(settings, widths=(8, 16), attention=(False, True))

    return shrunk


def standing_in(name: str, classes: int | None = None) -> Run:
    """An untrained model in the place of a run: stirred, so that no weight is zero."""
    points = registry.recipe(ModelName.parse(name)).points
    shape = POINT if points else ImageShape(channels=1, resolution=16, classes=classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "defaults", small(registry.defaults))
        model = fresh(name, shape)
    if isinstance(model, Iterative):
        model = model.with_sampler(steps=CHAINS.get(name, STEPS))
    data = types.SimpleNamespace(resolution=shape.resolution, channels=shape.channels)
    record = types.SimpleNamespace(model=name, total_images=0, data=data)
    labels = None
    if classes is not None:
        labels = Labels(names=tuple("abc"[:classes]), counts=(1,) * classes)
    return cast(Run, types.SimpleNamespace(model=model, record=record, labels=labels))


def only(made: Programs, name: str) -> Program:
    [program] = [each for each in made.programs if each.name == name]
    return program


class ByHand(ImageStreams):
    """Streams that keep what is drawn, apart from those of the package."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(seed, "by hand", range(count))
        self.drawn: list[Tensor] = []

    def _stack(self, draw: Any) -> Tensor:
        self.drawn.append(super()._stack(draw))
        return self.drawn[-1]


def own_sample(
    model: GenerativeModel, count: int, classes: Tensor | None, seed: int = 1
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """What the model itself draws: numbers of the draw, noise of the steps, images."""
    rng = ByHand(count, seed)
    with torch.no_grad():
        latent = model.draw_latent(count, rng, classes)
        first = len(rng.drawn)
        made = model.decode(latent, rng)
    noise = [torch.stack(rng.drawn[first:], dim=1)] if rng.drawn[first:] else []
    return rng.drawn[:first], noise, made


def check_same(found: Tensor, expected: Tensor) -> None:
    """As floats, and as the pixels that they are rounded to."""
    assert found.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)
    assert torch.equal(images.to_uint8(found), images.to_uint8(expected))


# To trace a sampler's many calls takes a minute of some: those are tried by `make sweeps`.
LONG = ("vae:course", "diffusion:course", "diffusion:consistency")
CASES: list[Any] = [
    pytest.param(name, None, marks=[pytest.mark.sweep] if name in LONG else [])
    for name in registry.known_models()
]
CASES += [
    ("gan:r3", CLASSES),
    ("diffusion:x0", CLASSES),
    pytest.param("vae:ladder", CLASSES, marks=pytest.mark.sweep),
]


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_every_recipe_draws_and_samples_as_its_run(
    name: str, classes: int | None, tmp_path: Path
) -> None:
    """From random numbers to images, one image and five, by programs that were in a file."""
    run = standing_in(name, classes)
    made = programs_of(run)
    programs = {}
    for each in ("draw", "sample"):
        torch.export.save(trace(only(made, each)), tmp_path / "it.pt2")
        programs[each] = torch.export.load(tmp_path / "it.pt2").module()
    for count in (1, 5):
        numbers = None if classes is None else torch.arange(count) % (classes + 1)
        drawn, noise, expected = own_sample(run.model, count, numbers)
        told = [] if numbers is None else [numbers]
        with torch.no_grad():
            check_same(programs["sample"](*programs["draw"](*drawn, *told), *noise), expected)


@pytest.mark.parametrize(
    ("name", "classes"),
    [("diffusion:x0", CLASSES), ("diffusion:edm", None), ("diffusion:flow", None)],
)
def test_a_module_of_a_chain_encodes_as_its_run(
    name: str, classes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where samples take as many steps as encoding does, both hold the same noise levels."""
    run = standing_in(name, classes)
    monkeypatch.setattr(source, "write_description", lambda *given: None)
    source.write(run, tmp_path, Console())
    module: dict[str, Any] = {}
    exec((tmp_path / source.MODULE).read_text(), module)
    weights, x = load_file(tmp_path / source.WEIGHTS), normal(2, 1, 16, 16, seed=0).float()
    with torch.no_grad():
        found = module["encode"](weights, x)
        latent = run.model.encode(x)  # type: ignore[attr-defined] # it encodes
    own = [*latent.tensors.values(), *([] if latent.labels is None else [latent.labels])]
    for ours, theirs in zip(own, [found] if isinstance(found, Tensor) else found, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=EXACT, atol=EXACT)


# Trained runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def data(folder: Path) -> ImageData:
    return open_tiny(folder)


@cache
def trained(family: str, folder: Path, data: ImageData) -> Path:
    """The default recipe of a family, barely trained, whose sampler takes few steps."""
    more: dict[str, Any] = {}
    if family != "mixture":
        more = {"budget": "0.32kimg"}
    if family == "diffusion":
        more |= {"set": (f"steps={STEPS}", f"inverse_steps={STEPS}"), "conditional": True}
    run = triptych.train(family, data, out=folder / family, machine=one_thread(), **more)
    return run.folder.path


@cache
def exported(family: str, format: str, folder: Path, data: ImageData) -> tuple[Path, ExportRecord]:
    run, out = trained(family, folder, data), folder / f"{family}-{format}"
    assert triptych.export_run(run, out, format) == out
    return out, ExportRecord.read(json.loads((out / "export.json").read_text()))


def snippet(out: Path) -> str:
    """The Python that README.md tells its reader to run."""
    [code] = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    return str(code)


ALONE = """
import os, sys
for name in ("triptych", {forbidden}):
    sys.modules[name] = None  # whoever imports it fails
import torch
for folder in {folders}:
    os.chdir(folder)
    sys.path.insert(0, folder)
    torch.manual_seed(7)
    space = {{}}
    exec(open("snippet.py").read(), space)
    torch.save({{"images": space["images"].detach(), "pixels": space["pixels"]}}, "drawn.pt")
    sys.modules.pop("model", None)
"""
FORBIDDEN = '"safetensors", "numpy", "scipy", "PIL"'


def run_alone(folders: list[Path], forbidden: str) -> None:
    """Do what each README.md says in another process, which has no package of ours."""
    for each in folders:
        (each / "snippet.py").write_text(snippet(each))
    script = ALONE.format(folders=[str(each) for each in folders], forbidden=forbidden)
    subprocess.run([sys.executable, "-I", "-W", "ignore", "-c", script], check=True, timeout=300)


class InOrder(ImageStreams):
    """Streams of numbers that are there already."""

    def __init__(self, numbers: list[Tensor]) -> None:
        super().__init__(0, "in order", ())
        self.numbers = numbers

    def _stack(self, draw: Any) -> Tensor:
        return self.numbers.pop(0)


def expected_of(run: Run, record: ExportRecord, count: int = 16) -> Tensor:
    """The images that the run itself makes of what the snippet draws at seed 7."""
    torch.manual_seed(7)
    makers = {"normal": torch.randn, "uniform": torch.rand}
    drawn, classes, steps = [], None, []
    for each in record.programs["draw"].inputs:
        if each.holds == "class":
            assert record.class_counts is not None
            shares = torch.tensor(record.class_counts).double()
            classes = torch.multinomial(shares, count, replacement=True)
        else:
            drawn.append(makers[each.holds](count, *each.shape[1:]))
    for each in record.programs["sample"].inputs:
        if each.holds == "normal":
            steps += torch.randn(count, *each.shape[1:]).unbind(1)
    with torch.no_grad():
        latent = run.model.draw_latent(count, InOrder(drawn), classes)
        return run.model.decode(latent, InOrder(steps))


def check_snippets(format: str, families: tuple[str, ...], forbidden: str, *given: Any) -> None:
    folders = [exported(family, format, *given)[0] for family in families]
    run_alone(folders, forbidden)
    for family in families:
        out, record = exported(family, format, *given)
        drawn = torch.load(out / "drawn.pt")
        expected = expected_of(Run(trained(family, *given), MACHINE), record)
        check_same(drawn["images"], expected)
        assert torch.equal(drawn["pixels"], images.to_uint8(expected))


@pytest.mark.parametrize(
    "families", [("gan",), pytest.param(DEFAULTS, marks=pytest.mark.sweep)], ids=["one", "all"]
)
@pytest.mark.timeout(300)
def test_programs_make_the_run_s_images_with_torch_alone(
    families: tuple[str, ...], folder: Path, data: ImageData
) -> None:
    """Of every family's default recipe, by the very lines of README.md."""
    check_snippets("pt2", families, FORBIDDEN, folder, data)


@pytest.mark.sweep
@pytest.mark.timeout(300)
def test_a_module_makes_the_run_s_images_without_this_package(
    folder: Path, data: ImageData
) -> None:
    check_snippets("safetensors", ("vae", "gan"), '"scipy", "PIL"', folder, data)


@pytest.mark.sweep
@pytest.mark.parametrize("family", DEFAULTS)
@pytest.mark.parametrize("count", [1, 5])
def test_programs_encode_and_denoise_as_the_run(
    family: str, count: int, folder: Path, data: ImageData
) -> None:
    out, record = exported(family, "pt2", folder, data)
    run = Run(trained(family, folder, data))
    x = images.to_float(data.test.images[:count])
    with torch.no_grad():
        model = run.model.with_refinement(0) if family == "gan" else run.model  # type: ignore
        assert isinstance(model, Encodes)
        latent = model.encode(x)
        encoded = torch.export.load(out / "encode.pt2").module()(x)
        own = [*latent.tensors.values(), *([] if latent.labels is None else [latent.labels])]
        for found, expected in zip(encoded, own, strict=True):
            torch.testing.assert_close(found, expected, rtol=EXACT, atol=EXACT)
        assert (out / "denoise.pt2").exists() == isinstance(model, NoiseToImage)
        if isinstance(model, NoiseToImage):
            sigma = torch.linspace(0.1, 3, count)
            labels = torch.eye(len(record.classes or ()) + 1)[[0] * count]
            program = torch.export.load(out / "denoise.pt2").module()
            check_same(program(x, sigma, labels), model.denoiser(x, sigma, labels))
    assert set(record.programs) | set(record.absent) >= {"draw", "sample", "encode"}
    assert all(each.difference is not None for each in record.programs.values())


def test_programs_hold_no_weights_that_they_do_not_use() -> None:
    """Who samples needs no discriminator: it is not given away."""
    made = programs_of(standing_in("gan:points"))
    held = {
        each.name: {key.split(".")[1] for key in each.module.state_dict()} for each in made.programs
    }
    assert held == {"draw": set(), "sample": {"generator"}, "encode": {"encoder"}}


def test_a_program_is_measured_as_samples_from_elsewhere(folder: Path, data: ImageData) -> None:
    """A vae's sampling takes one standard normal z, and so `pt2:` reads it."""
    run = standing_in("vae:sigma")
    path = folder / "sample.pt2"
    torch.export.save(trace(only(programs_of(run), "sample")), path)
    from triptych.evaluation.generators import of_pt2, sample

    drawn = sample(of_pt2(path, one_thread()), 3, one_thread(), lambda done: None)
    assert drawn.shape == (3, 1, 16, 16) and not torch.equal(drawn[0], drawn[1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("family", ["gan", "mixture"])
def test_onnx_makes_nearly_the_run_s_images(family: str, folder: Path, data: ImageData) -> None:
    """By the lines of README.md, and each program within 1e-4 of the run's own output."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        independent(package)
    out, record = exported(family, "onnx", folder, data)
    assert set(record.programs) == {"draw", "sample", "encode"}
    for each in record.programs.values():
        assert each.difference is not None and each.difference <= 1e-4
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        space: dict[str, Any] = {}
        exec(snippet(out), space)
    assert space["pixels"].shape == (16, 3, 16, 16) and space["pixels"].dtype == "uint8"
    assert (space["pixels"][0] != space["pixels"][1]).any()


# What is refused, and what is told


def test_nothing_is_written_where_something_is(folder: Path, data: ImageData) -> None:
    run, full = trained("mixture", folder, data), folder / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    with pytest.raises(InputError, match="full is not empty: name a new folder as --out"):
        triptych.export_run(run, full)
    with pytest.raises(InputError, match="is there already, and is no folder"):
        triptych.export_run(run, full / "mine")
    assert [each.name for each in full.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_replaced_is_refused_first(
    folder: Path, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a link or a mount point, or one works in it."""
    run, work = trained("mixture", folder, data), folder / "work"
    mounted, link = folder / "mounted", folder / "link"
    work.mkdir()
    mounted.mkdir()
    link.symlink_to(work)
    monkeypatch.chdir(work)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == mounted)
    monkeypatch.setattr("triptych.export.pt2.write", lambda *_: pytest.fail("it was written"))
    for out in (Path(), link, mounted):
        with pytest.raises(InputError, match="cannot be replaced: name a new folder as --out"):
            triptych.export_run(run, out)
    assert link.is_symlink() and work.is_dir() and mounted.is_dir()


def test_a_format_that_fails_leaves_nothing(
    folder: Path, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder stays as it was, and a new one is not made."""
    run, empty = trained("mixture", folder, data), folder / "empty"
    empty.mkdir()

    def broken(run: Run, out: Path, console: Any) -> None:
        (out / "half").write_text("half")
        raise OSError("no space")

    monkeypatch.setattr("triptych.export.pt2.write", broken)
    for out in (empty, folder / "fresh"):
        with pytest.raises(OSError, match="no space"):
            triptych.export_run(run, out)
    assert list(empty.iterdir()) == []
    assert not (folder / "fresh").exists()
    assert not list(folder.glob(".*.tmp"))


def test_an_empty_folder_is_filled(
    folder: Path, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(run: Run, out: Path, console: Any) -> None:
        assert list(out.iterdir()) == []
        (out / "it").write_text("it")

    monkeypatch.setattr("triptych.export.pt2.write", written)
    out = folder / "deep" / "waiting"
    out.mkdir(parents=True)
    triptych.export_run(trained("mixture", folder, data), out)
    assert [each.name for each in out.iterdir()] == ["it"]


def test_unknown_formats_and_impossible_samplers_are_named(folder: Path, data: ImageData) -> None:
    run = trained("mixture", folder, data)
    with pytest.raises(InputError, match="no --format 'tar': choose from pt2, onnx, safetensors"):
        triptych.export_run(run, folder / "no", "tar")
    with pytest.raises(InputError, match="samples in one step: leave out --sampler"):
        triptych.export_run(run, folder / "no", steps=3)
    for asked in ({"sampler": "ddim"}, {"steps": 3}, {"eta": 0.0}, {"guidance": 1.0}):
        with pytest.raises(InputError, match=r"hub holds the run itself, .*: leave out --sampler"):
            triptych.export_run(run, folder / "no", "hub", **asked)
    assert not (folder / "no").exists()


def test_a_run_that_is_not_finished_is_refused(
    folder: Path, data: ImageData, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "unfinished")
    run.path.mkdir()
    run.write(replace(RunFolder(trained("mixture", folder, data)).read(), status="running"))
    with pytest.raises(InputError, match="is not trained to its end"):
        triptych.export_run(run.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_packages_of_onnx_are_named(
    folder: Path, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match="pip install onnx onnxscript"):
        triptych.export_run(trained("mixture", folder, data), folder / "none", "onnx")
    assert not (folder / "none").exists()


def test_a_sampler_of_very_many_calls_gives_way_to_a_quick_one() -> None:
    """The practical's takes 1,000: its recipe names another, and the user is told."""
    run = standing_in("diffusion:course")
    assert isinstance(run.model, Iterative)
    run.model = run.model.with_sampler("ancestral", 1000)
    made, calls = programs.affordable(run)
    assert calls and calls[0].code == "exported_quick_sampler"
    assert calls[0].values == {"calls": 1000, "sampler": "dpm-solver++", "steps": 25}
    assert made.network_calls == 25
    run = standing_in("diffusion:points")
    assert isinstance(run.model, Iterative)
    run.model = run.model.with_sampler("euler", MOST_CALLS + 1)
    with pytest.raises(InputError, match="201 times, and a program holds every call"):
        programs.affordable(run)
    run.model = run.model.with_sampler("euler", MOST_CALLS)
    assert programs.affordable(run) == (run.model, ())


def test_the_command_says_what_it_wrote(
    folder: Path, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(run: Run, out: Path, console: Any) -> None:
        (out / "sample.pt2").write_text("it")

    monkeypatch.setattr("triptych.export.pt2.write", written)
    run, out = str(trained("mixture", folder, data)), folder / "typed"
    command = parse(["export", run, "--out", str(out), "--json"])
    assert command.run() == {"out": str(out), "files": ["sample.pt2"]}
    again = folder / "again"
    assert parse(["export", run, "--out", str(again)]).run() == f"{again}\n  sample.pt2"


@pytest.mark.parametrize("with_numpy", [False, True])
def test_snippets_draw_classes_by_their_counts(with_numpy: bool) -> None:
    """As a run does without a label: never one without training images."""
    tensor = TensorRecord(name="class_number", holds="class", shape=(None,), dtype="int64")
    counts = np.array([3, 0, 1]) if with_numpy else torch.tensor([3.0, 0.0, 1.0])
    torch.manual_seed(0)
    space = {"np": np, "torch": torch, "rng": np.random.default_rng(0), "counts": counts}
    classes = torch.as_tensor(eval(drawn([tensor], with_numpy), {**space, "n": 1_000}))
    often = classes.bincount(minlength=3)
    assert classes.dtype == torch.int64 and often[1] == 0 and 700 < often[0] < 800


def test_help_names_every_format() -> None:
    [help] = [
        each.metadata["help"] for each in ExportRequest.__dataclass_fields__.values()
        if each.name == "format"
    ]  # fmt: skip
    assert all(f"{name}:" in help for name in FORMATS)
    assert all(callable(export.writer(name)) for name in FORMATS)
