"""From what is asked to what is trained: usual budgets and sizes, what may be gone on with."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.making import make_images, one_thread, open_tiny, write_npz
from tests.test_comparison import FACTS
from triptych import api, config, hardware
from triptych.config import Budget, ImageShape
from triptych.data.augment import Augment
from triptych.data.dataset import ImageData
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.labels import Labels
from triptych.hardware import Machine
from triptych.options import DataOptions, TrainRequest
from triptych.records import DataRecord, Note, RunRecord
from triptych.run import own_options
from triptych.training.resolve import (
    ResolvedRequest,
    check_output,
    check_teacher,
    machine_options,
    pick_size,
    request_to_repeat,
    resolve,
    run_name,
)
from triptych.training.run_folder import RunFolder, labels_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"))


def resolved(data: ImageData, model: str = "vae:course", **options: Any) -> ResolvedRequest:
    return resolve(TrainRequest(model=model, **options), "cpu", data)


def written(path: Path, request: ResolvedRequest, **changes: Any) -> RunFolder:
    """A folder with the run.json of a request that was trained."""
    facts = copy.deepcopy(FACTS)
    facts |= {
        "model": str(request.name), "family": request.name.family, "recipe": request.name.recipe,
        "settings": config.to_json(request.settings), "identity": request.identity(),
        "data": request.data.describe().to_json(), "seed": request.seed,
    } | changes  # fmt: skip
    path.mkdir()
    (path / "run.json").write_text(json.dumps(facts))
    return RunFolder(path)


@pytest.mark.parametrize(
    ("model", "size", "budget"),
    [
        ("vae:course", "tiny", "30epochs"),
        ("gan:course", "base", "30epochs"),
        ("vae:sigma", "tiny", "75s"),
        ("vae:sigma", "small", "10m"),
        ("vae:sigma", "base", "10m"),
    ],
)
def test_usual_budgets(data: ImageData, model: str, size: Any, budget: str) -> None:
    assert resolved(data, model, size=size).budget == Budget.parse(budget)


@pytest.mark.parametrize(("memory", "size"), [(8e9, "small"), (24e9, "small"), (40e9, "base")])
def test_sizes_follow_the_memory_of_the_gpu(
    monkeypatch: pytest.MonkeyPatch, memory: float, size: str
) -> None:
    class Properties:
        total_memory = memory

    monkeypatch.setattr("triptych.hardware.find_gpu", lambda: (True, ""))
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda number: Properties())
    assert pick_size(None, "cuda") == size


def test_a_run_is_named_by_model_words_and_seed(data: ImageData) -> None:
    assert run_name(resolved(data, seed=3)) == "vae-course-s3"
    assert run_name(resolved(data, "vae:course,latent=4")) == "vae-course-latent=4-s0"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"budget": Budget.parse("900img")}, "budget"),
        ({"seed": 1}, "seed"),
        ({"crop": 2}, "crops"),
        ({"flip": True}, "flips"),
        ({"settings": {"latent": 4}}, "settings"),
        ({"fingerprint": "f9"}, "data fingerprint"),
    ],
)
def test_another_request_does_not_go_on_in_a_folder(
    data: ImageData, tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    request = resolved(data, budget="640img")
    folder = written(tmp_path / "run", request)
    check_output(folder, request)
    varied = {k: v for k, v in change.items() if k in ("crop", "flip")}
    other = replace(request.data, augment=Augment(**({"flip": False, "crop": 0} | varied)))
    if "fingerprint" in change:
        other = replace(other, fingerprint=change["fingerprint"])
    settings = replace(request.settings, **change.get("settings", {}))
    rest = {k: v for k, v in change.items() if k in ("budget", "seed")}
    asked = replace(request, data=other, settings=settings, **rest)
    told = "other settings" if what == "settings" else f"another {what}"
    with pytest.raises(InputError, match=f"holds a run of {told}"):
        check_output(folder, asked)


def test_a_finished_run_s_folder_is_not_free(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    request = resolved(data)
    assert api.free_folder(request, one_thread()) == Path("runs/vae-course-s0")
    done = written(Path("runs/vae-course-s0"), request)
    assert api.free_folder(request, one_thread()) == Path("runs/vae-course-s0-2")
    done.run_json.write_text(done.run_json.read_text().replace('"done"', '"running"'))
    assert api.free_folder(request, one_thread()) == Path("runs/vae-course-s0")
    other = replace(request, budget=Budget.parse("900img"))
    assert api.free_folder(other, one_thread()) == Path("runs/vae-course-s0-2")


def test_what_is_repeated_is_varied_and_split_as_it_was(data: ImageData, tmp_path: Path) -> None:
    request = resolved(data, budget="640img")
    described = request.data.describe().to_json() | {"flip": True, "crop": 2}
    folder = written(tmp_path / "run", request, data=described, microbatch=8, threads=2)
    again, machine = request_to_repeat(folder, data, one_thread())
    assert (again.data.augment.flip, again.data.augment.crop) == (True, 2)
    assert (machine.microbatch, machine.threads) == (8, 2)
    assert again.settings == request.settings and again.seed == 0


def test_what_was_asked_of_the_machine_is_recorded() -> None:
    machine = Machine(device="cpu", precision="fp32", threads=3, choices={})
    assert machine_options(machine) == " --device cpu --precision fp32 --threads 3"
    picked = {"device": Note("no_gpu"), "threads": Note("own_cores")}
    machine = replace(machine, choices=picked, microbatch=8, compile=True)
    assert machine_options(machine) == " --precision fp32 --microbatch 8 --compile"


def test_a_command_says_how_open_images_were_read(tmp_path: Path) -> None:
    """Of images that Python opened before, no option of the request tells."""
    path = write_npz(tmp_path / "long.npz", make_images(200, side=24)[0][:, :18])
    read = open_images(str(path), DataOptions(resolution=16, fit="pad", range="0,200"))
    words = resolved(read).command.split()
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options == {
        "--data": str(path), "--size": "tiny", "--resolution": "16", "--fit": "pad",
        "--range": "0,200",
    }  # fmt: skip


def test_a_teacher_has_the_classes_of_its_student(data: ImageData, tmp_path: Path) -> None:
    labels = {"names": ["a", "b"], "counts": [3, 9]}
    teacher = written(tmp_path / "teacher", resolved(data), labels=labels)
    check_teacher(ImageShape(channels=3, resolution=16, classes=2), teacher)
    for classes in (None, 3):
        with pytest.raises(InputError, match="was trained with 2 classes"):
            check_teacher(ImageShape(channels=3, resolution=16, classes=classes), teacher)


def test_classes_keep_their_shares_from_run_json() -> None:
    labels = {"names": ["a", "b"], "counts": [3, 9]}
    found = labels_of(RunRecord.read(FACTS | {"labels": labels}))
    assert found == Labels(names=("a", "b"), counts=(3, 9))
    assert labels_of(RunRecord.read(FACTS)) is None


def test_columns_and_range_belong_to_a_run_s_own_source() -> None:
    own = DataRecord.read(
        FACTS["data"] | {"fit": "pad", "image_column": "i", "label_column": "l", "range": "0,9"}
    )
    same, other = own_options(own, "a"), own_options(own, "b")
    assert (same.image_column, same.label_column, same.range) == ("i", "l", "0,9")
    assert (other.image_column, other.label_column, other.range) == (None, None, None)
    assert (other.resolution, other.fit) == (same.resolution, same.fit) == (32, "pad")


@pytest.mark.parametrize(
    ("budget", "size", "begins"),
    [
        ("75s", "tiny", True),
        ("150s", "tiny", True),
        ("5m", "tiny", True),
        ("331s", "tiny", False),
        ("50kimg", "tiny", True),
        ("100kimg", "tiny", True),
        ("100.1kimg", "tiny", False),
        ("1epochs", "tiny", True),
        ("9999epochs", "tiny", False),
        ("75s", "small", False),
    ],
)
def test_a_brief_training_of_the_ladder_begins_at_the_mixture(
    data: ImageData, budget: str, size: str, begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For few images make no vector of its own; what is set goes before."""
    monkeypatch.setattr(hardware, "is_fast", lambda device, precision: False)
    found = resolved(data, "vae:ladder", budget=budget, size=size).settings
    assert (found.mppca_rank > 0) == (found.groups > 0) == (found.patch_rank > 0) == begins
    other = resolved(data, "vae:ladder", budget=budget, size=size, set=["mppca_rank=7"]).settings
    assert other.mppca_rank == 7


@pytest.mark.parametrize(
    ("has_bf16", "device", "precision", "begins"),
    [
        (False, "cpu", None, True),
        (True, "cpu", None, False),
        (True, "cpu", "fp32", True),
        (False, "cpu", "bf16", True),  # computed, but not fast
        (False, "cuda", "fp32", False),
    ],
)
def test_where_more_images_are_seen_fewer_seconds_are_brief(
    data: ImageData,
    monkeypatch: pytest.MonkeyPatch,
    has_bf16: bool,
    device: str,
    precision: str | None,
    begins: bool,
) -> None:
    """In five minutes processors with bfloat16 see enough for a vector that is learned."""
    monkeypatch.setattr(hardware, "cpu_has", lambda flag: has_bf16)
    for budget, brief in (("90s", True), ("5m", begins), ("60kimg", True)):
        asked = TrainRequest(model="vae:ladder", budget=budget, size="tiny")
        found = resolve(asked, device, data, precision=precision).settings
        assert (found.mppca_rank > 0) == brief


@pytest.mark.parametrize(
    ("images", "budget", "rank"),
    [  # of colour images; of grey ones 128 are enough
        (None, "75s", 128), (1, "75s", 1), (149, "75s", 14), (1279, "75s", 127),
        (5000, "75s", 128), (5000, "50kimg", 128), (5000, "51kimg", 256), (5000, "5m", 256),
        (1279, "5m", 127),
    ],
)  # fmt: skip
def test_the_ladder_s_mixture_has_a_direction_for_ten_images(
    images: int | None, budget: str, rank: int
) -> None:
    """With as many as images its residual is nothing in training and everything after it.

    More of them than 128 take more than the shortest trainings.
    """
    grey = ImageShape(channels=1, resolution=32)
    ladder = registry.ModelName.parse("vae:ladder")
    plain = registry.defaults(ladder, "tiny", grey, images, Budget.parse(budget))
    assert plain.mppca_rank == min(rank, 128)
    found = registry.defaults(
        registry.ModelName.parse("vae:ladder"),
        "tiny",
        ImageShape(channels=3, resolution=32),
        images,
        Budget.parse(budget),
    )
    assert found.mppca_rank == rank
