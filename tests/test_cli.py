"""What the command line prints, writes and refuses; bad input is one line and exit code 2."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import safe_open

import triptych
from tests.making import encode, make_images, one_thread, write_folder, write_npz, write_parquet
from triptych import api, files
from triptych.cli import commands, main, parser
from triptych.comparison import compare as comparing
from triptych.data import open
from triptych.data.dataset import ImageData
from triptych.errors import InputError, InterruptedRunError, TrainingFailedError
from triptych.evaluation import classifier, evaluate
from triptych.options import (
    CompareRequest,
    DataOptions,
    TrainRequest,
    is_argument,
    typed_name,
)
from triptych.training import resolve
from triptych.training.run_folder import save_weights

SLOW = ("--threads", "1", "--precision", "fp32", "--device", "cpu")


def picture(path: Path | str) -> np.ndarray:
    """The pixels of a file: uint8 (H,W,C)."""
    with Image.open(path) as image:
        return np.asarray(image)


class Result:
    """What a call of the program gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> Any:
        """The one document on standard output."""
        assert self.code == 0, self.err
        return json.loads(self.out)


Call = Callable[..., Result]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    """The program in this process, in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("triptych.hardware.keep_memory", lambda: None)

    def program(*words: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["triptych", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main.main()
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 0
        return Result(code, *capsys.readouterr())

    return program


@pytest.fixture
def refuses(call: Call, tmp_path: Path) -> Callable[..., str]:
    """Calls the program, checks that it refused as it must, returns the line."""

    def check(*words: str | Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        result = call(*words)
        assert result.code == 2, result.err
        assert result.out == ""
        before_work = ("training ", "note: ")
        [line] = [line for line in result.err.splitlines() if not line.startswith(before_work)]
        assert line.startswith("triptych: ")
        assert "Traceback" not in line
        assert sorted(tmp_path.rglob("*")) == before, "something half-made was left"
        return line.removeprefix("triptych: ")

    return check


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and four runs that tests only read."""
    folder = tmp_path_factory.mktemp("stock")
    images, labels = make_images(300)
    write_npz(folder / "bars.npz", images, labels)
    small = ("widths=8,16", "attention=false,false", "steps=2")
    wanted: dict[str, tuple[str, tuple[str, ...]]] = {
        "vae": ("vae:course", ()),
        "gan": ("gan:course", ()),
        "diffusion": ("diffusion:x0", small),
        "untold": ("diffusion:x0", (*small, "groups=0")),
    }
    for name, (model, sets) in wanted.items():
        triptych.train(
            model,
            str(folder / "bars.npz"),
            budget="0.64kimg",
            set=sets,
            out=folder / name,
            resolution=16,
            machine=one_thread(),
        )
    return folder


@pytest.fixture
def own_run(stock: Path, tmp_path: Path) -> Path:
    """A copy of the VAE's run that a test may spoil."""
    return Path(shutil.copytree(stock / "vae", tmp_path / "run"))


# The parser


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "no command given: choose from compare, train"),
        ("smaple x", "no command 'smaple': did you mean sample? choose from compare"),
        ("--json", "no command '--json': choose from compare"),
        ("sample", "missing RUN and --out PATH: see `triptych sample --help`"),
        ("sample runs/x", "missing --out PATH: see `triptych sample --help`"),
        ("train", "missing MODEL: see `triptych train --help`"),
        ("train --budget 3s", "missing MODEL: see"),
        ("train vae --budgett 3", "no option '--budgett': did you mean --budget? see `triptych tr"),
        ("train vae --budgett=3", "no option '--budgett': did you mean --budget? see `triptych tr"),
        ("sample x --cout 3", "no option '--cout': did you mean --count? see"),
        ("sample x --out a --data b", "no option '--data': see `triptych sample --help`"),
        ("interpolate x --out a --first b", "no option '--first': see"),
        ("train --model vae", "no option '--model': MODEL is typed without a name: see"),
        ("train vae gan", "nothing takes 'gan': see `triptych train --help`"),
        ("train vae --seed x", "--seed takes a whole number, not 'x': correct the value"),
        (f"train vae --seed {2**63}", "seed takes no number of more than 64 bits: give a smaller"),
        ("sample x --out a --steps 2.5", "--steps takes a whole number, not '2.5': correct"),
        ("sample x --out a --temperature h", "--temperature takes a number, not 'h': correct"),
        ("train vae --seed", "--seed has no value: give one after it"),
        ("train vae --out=", "--out takes a path, not empty text: name a file"),
        ("sample x --out=", "--out takes a path, not empty text"),
        ("compare --lang de", "no language 'de': choose from en, fr"),
        ("report a --lang xx", "no language 'xx': choose from en, fr"),
    ],
)
def test_typing_mistakes_are_explained(words: str, line: str, refuses: Callable[..., str]) -> None:
    assert refuses(*words.split()).startswith(line)


@pytest.mark.parametrize(
    "words",
    [("sample", ""), ("likelihood", "runs/x", ""), ("evaluate", "runs/x", ""), ("report", "")],
)
def test_empty_text_is_no_path(refuses: Callable[..., str], words: tuple[str, ...]) -> None:
    """A variable of the shell that is not set must not stand for the folder one is in."""
    line = "an argument takes a path, not empty text: name a file or a folder"
    assert refuses(*words) == line


def options_of(name: str) -> set[str]:
    """The options of a command, as they are typed."""
    command = getattr(commands, parser.COMMANDS[name][0])
    return {typed_name(each) for each in fields(command) if not is_argument(each)}


def test_every_command_parses_what_its_help_names() -> None:
    for name in parser.COMMANDS:
        assert {"--json", "--quiet", "--config"} <= options_of(name), name
    assert {"--from", "--to"} <= options_of("interpolate")
    parsed = parser.parse(["train", "gan:course", "--set", "batch_size=8", "--set", "latent=4"])
    assert isinstance(parsed, commands.Train)
    assert parsed.set == ("batch_size=8", "latent=4")
    assert parsed.data is None and parsed.seed is None and parsed.resolution is None
    sample = parser.parse(["sample", "runs/x", "--out", "a.png", "--label", "3"])
    assert isinstance(sample, commands.Sample) and sample.count == 64 and sample.label == "3"


def test_options_from_a_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is typed beats the file, which beats the environment, which beats the default."""
    config = tmp_path / "options.toml"
    config.write_text('[train]\nbudget = "3s"\nseed = 4\nset = ["a=1", "b=2"]\nflip = true\n')
    monkeypatch.setenv("TRIPTYCH_TRAIN_SEED", "7")
    monkeypatch.setenv("TRIPTYCH_TRAIN_CROP", "2")
    words = ["train", "vae", "--config", str(config), "--budget", "5s"]
    parsed = parser.parse(words)
    assert isinstance(parsed, commands.Train)
    assert (parsed.budget, parsed.seed, parsed.crop, parsed.size) == ("5s", 4, 2, None)
    assert parsed.set == ("a=1", "b=2") and parsed.flip is True


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('budgett = "3s"', "no option '--budgett' in {}: did you mean --budget? see"),
        ('seed = "x"', "--seed takes a whole number, not 'x' in {}: correct the value"),
        ('size = "huge"', "no size 'huge' in {}: choose from tiny, small, base"),
        ("seed = ", "{} is no TOML (Invalid value (at line 2, column 8)): correct the file"),
        (
            "[trian]\nseed = 3",
            "no command is named [trian] in {}: did you mean train? choose",
        ),
        (
            "[x]\n[train.y]\n[sampel]",
            "no command is named [x], [sampel] in {}: choose from",
        ),
        ("[train.y]\nseed = 3", "[train.y] in {} is a table in a table: only [train.set] may be"),
        ('model = "vae"', "no option '--model' in {}: MODEL is typed without a name: see `trip"),
        ("range = 3", "--range 3 is not two numbers: give LOW,HIGH"),
    ],
)
def test_mistakes_in_a_file_are_explained(
    content: str, line: str, refuses: Callable[..., str], tmp_path: Path
) -> None:
    config = tmp_path / "options.toml"
    config.write_text(f"[train]\n{content}\n")
    said = refuses("train", "vae", "--config", config)
    assert said.startswith(line.format(config))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("seed = 3\nflip = true", "seed, flip in {} stand in no table: put them under [train]"),
        ("train = 3", "train in {} stands in no table: put it under [train]"),
        ("[[train]]\nseed = 3", "train in {} stands in no table: put it under [train]"),
    ],
)
def test_options_outside_a_table_are_refused(
    content: str, line: str, refuses: Callable[..., str], tmp_path: Path
) -> None:
    config = tmp_path / "options.toml"
    config.write_text(content)
    assert refuses("train", "vae", "--config", config) == line.format(config)


def test_a_file_of_options_may_write_them_as_toml_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings as a table, a range as a list; saved by an editor of Windows, in one's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    content = (
        "[train]\nrange = [-1, 0.5]\n[train.set]\nbatch_size = 64\nselect = false\n"
        "widths = [8, 16]\noptimizer.learning_rate = 1e-5\n"
    )
    (tmp_path / "options.toml").write_text(content, encoding="utf-8-sig")
    for words in (["--config", "~/options.toml"], ["--config=~/options.toml"]):
        parsed = parser.parse(["train", "vae", *words])
        assert isinstance(parsed, commands.Train) and parsed.range == "-1,0.5"
        assert parsed.set == (
            "batch_size=64", "select=false", "widths=8,16", "optimizer.learning_rate=1e-05"
        )  # fmt: skip


def test_a_misspelt_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, refuses: Callable[..., str]
) -> None:
    monkeypatch.setenv("TRIPTYCH_TRAIN_BUDGT", "3s")
    assert refuses("train", "vae") == (
        "no option 'TRIPTYCH_TRAIN_BUDGT' in the environment: did you mean "
        "TRIPTYCH_TRAIN_BUDGET? see `triptych train --help`"
    )
    assert isinstance(parser.parse(["sample", "run", "--out", "a.png"]), commands.Sample)


def test_files_of_options_that_cannot_be_read(refuses: Callable[..., str], tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert refuses("train", "vae", "--config", missing) == (
        f"cannot read {missing} (no such file or directory): check --config"
    )
    assert f"cannot read {tmp_path} (" in refuses("train", "vae", "--config", tmp_path)
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe[train]")
    assert "a.toml is no TOML (" in refuses("train", "vae", "--config", tmp_path / "a.toml")


def test_required_options_may_stand_in_a_file(refuses: Callable[..., str], tmp_path: Path) -> None:
    """What is given there is not missing, and what is not, still is."""
    config = tmp_path / "options.toml"
    config.write_text('[sample]\nout = "a.png"\n')
    parsed = parser.parse(["sample", "runs/x", "--config", str(config)])
    assert isinstance(parsed, commands.Sample)
    assert parsed.out == Path("a.png") and parsed.path == Path("runs/x")
    assert refuses("sample", "--config", config) == "missing RUN: see `triptych sample --help`"
    assert "no run folder runs/x" in refuses("sample", "runs/x", "--config", config, *SLOW)
    config.write_text("[sample]\ncount = 3\n")
    line = "missing RUN and --out PATH: see `triptych sample --help`"
    assert refuses("sample", "--config", config) == line


def test_what_is_recorded_can_be_typed_again() -> None:
    """`command` is the inverse of the parser."""
    words = ["compare", "vae", "gan:r1,ema=0.1", "--budget", "3s", "--set", "a=1"]
    words += ["--set", "b=2 c", "--seeds", "3", "--resolution", "16", "--flip", "--lang", "fr"]
    parsed = parser.parse(words)
    assert isinstance(parsed, CompareRequest)
    asked = parsed.part(CompareRequest)
    again = parser.parse(shlex.split(asked.command())[1:])
    assert again.part(CompareRequest) == asked
    assert asked.models == ("vae", "gan:r1,ema=0.1") and asked.set == ("a=1", "b=2 c")


def test_python_takes_the_options_of_the_command_line() -> None:
    for verb, request in ((api.train, TrainRequest), (api.compare, CompareRequest)):
        shown = inspect.signature(verb).parameters
        assert {each.name for each in fields(request)} - set(shown) == set()
        assert shown["budget"].default is None and shown["flip"].default is False
        assert "threads: Processor threads" in (verb.__doc__ or "")
    with pytest.raises(InputError, match="train takes no option 'budgett': did you mean budget"):
        triptych.train("vae", budgett="3s")


def test_version(call: Call) -> None:
    assert call("--version").out.strip() == metadata.version("triptych")


@pytest.mark.parametrize("name", ["", *parser.COMMANDS])
def test_help(name: str, call: Call) -> None:
    result = call(*([name] if name else []), "--help")
    assert result.code == 0 and result.err == ""
    if name:
        for option in options_of(name):
            assert f" {option}" in result.out
    else:
        first = min(result.out.rindex(f" {command} ") for command in parser.COMMANDS)
        assert result.out.index("examples:") < result.out.index("triptych compare") < first


# The process


def test_no_module_takes_the_place_of_a_public_name() -> None:
    """Python puts a package that is imported onto its parent."""
    for module in pkgutil.iter_modules(triptych.__path__):
        if module.name != "__main__":
            importlib.import_module(f"triptych.{module.name}")
    for name in triptych.__all__:
        assert not isinstance(getattr(triptych, name), ModuleType), name


@pytest.mark.parametrize("words", [("--help",), ("sample", "--help")])
def test_help_is_quick_for_it_loads_little(words: tuple[str, ...]) -> None:
    """Its time is that of imports, 0.2 s for 290 modules; SciPy alone has 600, torch thousands."""
    code = "import sys; from triptych.cli import main\n"
    code += "try: main.main()\nexcept SystemExit: print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
    )
    loaded = found.stdout.splitlines()[-1].split()
    assert not {"torch", "numpy", "scipy"} & set(loaded) and 100 < len(loaded) < 500


def test_the_process_ends_with_two_and_one_line(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "triptych", "data", "nowhere"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 2
    assert found.stdout == ""
    [line] = found.stderr.splitlines()
    assert line.startswith("triptych: no data 'nowhere': name street-digits, svhn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("wrong\nthing", "mend it"), 2, "triptych: wrong thing: mend it"),
        (TrainingFailedError("not a number"), 1, "triptych: not a number"),
        (
            OSError(28, "No space left on device", "runs/a/log"),
            1,
            "write runs/a/log (No space left",
        ),
        (OSError("nothing more is known"), 1, "write a file (nothing more is known)"),
        (InterruptedRunError(2), 130, "saved"),
        (InterruptedRunError(15), 143, "saved"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    def fail(self: commands.Doctor) -> None:
        raise error

    monkeypatch.setattr(commands.Doctor, "run", fail)
    result = call("doctor")
    assert result.code == code
    assert words in result.err and len(result.err.splitlines()) == bool(words)


# Data


def test_data_tells_what_is_there(call: Call, stock: Path) -> None:
    sheet = Path("sheet.png")
    words = ("data", stock / "bars.npz", "--resolution", "16")
    result = call(*words, "--json", "--out", sheet)
    found = result.json()
    assert found["train"] + found["validation"] + found["test"] == 300
    assert sum(found["histogram"].values()) == 300
    assert found["contact_sheet"] == str(sheet)
    assert picture(sheet).shape == (len(found["classes"]) * 66 - 2, 12 * 66 - 2, 3)
    told = call(*words)
    assert told.code == 0 and f"train {found['train']}, " in told.out
    assert told.out.strip().endswith("contact sheet: runs/data-bars.png (a row for each class)")
    assert picture(Path("runs/data-bars.png")).shape == picture(sheet).shape


def test_bad_files_are_told(call: Call, tmp_path: Path) -> None:
    images, _ = make_images(40)
    write_folder(tmp_path / "photos", images)
    (tmp_path / "photos" / "bad.png").touch()
    words = ("data", tmp_path / "photos", "--resolution", "16")
    assert "bad.png: empty" in call(*words).out
    strict = call(*words, "--strict")
    assert strict.code == 2 and "bad.png: empty" in strict.err


def write_bad_data(folder: Path) -> None:
    images, labels = make_images(30)
    (folder / "empty").mkdir()
    (folder / "bad.parquet").write_bytes(b"PAR1 and no more")
    (folder / "text.txt").write_text("hello")
    write_folder(folder / "one-image", images[:1])
    write_parquet(folder / "a.parquet", images, labels)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nowhere", "no data '{}': name street-digits, svhn, "),
        ("empty", "no images in {}: put .png"),
        ("bad.parquet", "{} is no readable parquet"),
        ("text.txt", "cannot read text.txt: give a folder of images"),
        ("one-image", "1 readable images in one-image are too few: give at least 20"),
    ],
)
@pytest.mark.parametrize("command", ["data", "train", "compare"])
def test_bad_data_are_refused(
    refuses: Callable[..., str], tmp_path: Path, name: str, line: str, command: str
) -> None:
    write_bad_data(tmp_path)
    path = tmp_path / name
    words: tuple[str | Path, ...] = ("data", path)
    if command != "data":
        model = ("vae",) if command == "train" else ()
        words = (command, *model, "--data", path, "--out", "made")
    assert refuses(*words).startswith(line.format(path))


def test_bad_options_of_data_are_refused(refuses: Callable[..., str], tmp_path: Path) -> None:
    write_bad_data(tmp_path)
    parquet = tmp_path / "a.parquet"
    assert "no data ''" in refuses("data", "")
    assert "no resolution 17: choose from 16, 32" in refuses("data", "--resolution", "17")
    assert "no fit 'squash': choose from stretch" in refuses("data", "--fit", "squash")
    assert "no column 'x'" in refuses("data", parquet, "--image-column", "x")
    assert "no column 'y'" in refuses("data", parquet, "--label-column", "y")
    assert "cannot write .gif files" in refuses("data", parquet, "--out", "a.gif")
    assert "a.npz" in refuses("data", parquet, "--out", "a.npz")


# Training


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("vea", "no model 'vea': choose from vae:course"),
        ("vae:corse", "no model 'vae:corse': choose from vae:course"),
        ("vae --budget 3x", "no budget '3x': write one like 90s"),
        ("vae --budget 0s", "no budget '0s'"),
        ("vae --budget=-3s", "no budget '-3s'"),
        ("vae --size huge", "no size 'huge': choose from tiny, small, base"),
        ("vae:sigma --set latent", "--set latent has no '='"),
        ("vae:sigma --set nothing=3", "no setting 'nothing': known are"),
        ("vae:sigma --set latent=many", "latent takes a whole number, not 'many'"),
        ("vae --device tpu", "no device 'tpu': choose cpu, cuda, xpu or mps"),
        ("vae --device cpu --precision fp8", "no precision 'fp8': choose bf16 or fp32"),
        ("vae --threads 0", "--threads 0 is too few: give 1 or more"),
        ("vae --threads 3000", "--threads 3000 are too many"),
        ("vae:course --budget 100img", "the budget 100img pays for 1 steps of 64 images"),
        ("vae:course --crop 16", "a crop of 16 pixels is too large for images of 16: give 15"),
    ],
)
def test_bad_training_requests_are_refused(
    refuses: Callable[..., str], stock: Path, words: str, line: str
) -> None:
    data = ("--data", stock / "bars.npz", "--resolution", "16")
    assert line in refuses("train", *words.split(), *data, "--out", "made")


def test_output_folders_that_are_not_ours(
    refuses: Callable[..., str], stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is trained, a classifier for the measurements among it."""
    monkeypatch.setattr(comparing, "plan_measurement", None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    data = ("--data", stock / "bars.npz", "--resolution", "16", "--budget", "640img")
    for command in (("train", "vae:course"), ("compare", "vae:course")):
        words = (*command, *data, *SLOW, "--out")
        assert f"{tmp_path}/full exists and is not" in refuses(*words, tmp_path / "full")
        assert f"{tmp_path}/file is a file" in refuses(*words, tmp_path / "file")
        assert "cannot make" in refuses(*words, tmp_path / "file" / "inside")
    assert "holds a run of another" in refuses(
        "train", "vae:course", "--seed", "9", *data, *SLOW, "--out", stock / "vae"
    )
    others = refuses(
        "train", "vae:course", "--set", "latent=7", *data, *SLOW, "--out", stock / "vae"
    )
    assert "holds a run of other settings (latent=" in others


def test_dry_run_makes_nothing(call: Call, stock: Path) -> None:
    words = ("train", "vae:course", "--data", stock / "bars.npz", "--resolution", "16")
    found = call(*words, "--dry-run", "--json", "--set", "latent=7").json()
    assert found["model"] == "vae:course" and found["latent"] == 7
    assert list(Path.cwd().iterdir()) == []


def test_training_the_same_again_is_quick_and_says_so(call: Call, stock: Path) -> None:
    data = ("--data", stock / "bars.npz", "--resolution", "16", "--budget", "0.64kimg")
    result = call("train", "vae:course", *data, *SLOW, "--out", stock / "vae", "--json")
    assert result.json()["status"] == "done"
    assert "trained already" in result.err
    quiet = call("train", "vae:course", *data, *SLOW, "--out", stock / "vae", "--quiet")
    assert quiet.err == "" and quiet.out.strip() == str(stock / "vae")


@pytest.mark.parametrize("labels", ["kind", "none"])
def test_the_recorded_command_repeats_the_run(call: Call, tmp_path: Path, labels: str) -> None:
    """Every option that shapes the weights is away from its default."""
    images, kinds = make_images(300, side=24)
    table = write_parquet(tmp_path / "my bars.parquet", images, kinds)
    renamed = pq.read_table(table).rename_columns(["photo", "kind"])
    pq.write_table(renamed, table)
    columns = ("--image-column", "photo", "--label-column", labels)
    changed = ("--seed", "3", "--set", "latent=5", "--set", "widths=8,8", "--size", "small")
    varied = ("--flip", "--crop", "1")
    data = ("--data", table, "--resolution", "16", "--fit", "pad", *columns, *varied)
    words = ("train", "vae:course", *data, *changed, *SLOW, "--budget", "0.64kimg")
    facts = call(*words, "--out", "first", "--json", "--quiet").json()
    assert facts["command"].endswith(" --budget 0.64kimg")
    program, *recorded = shlex.split(facts["command"])
    assert program == "triptych"
    assert facts["data"]["image_column"] == "photo" and facts["data"]["label_column"] == labels
    assert facts["data"]["flip"] is True and facts["data"]["crop"] == 1
    for same in ((), ("--data", table)):  # read again as it was trained
        pictures = call("reconstruct", "first", *same, "--out", "a.npz", "--count", "3", *SLOW)
        assert pictures.code == 0, pictures.err
        opened = open.open_images(
            str(table),
            DataOptions(resolution=16, fit="pad", image_column="photo", label_column=labels),
        )
        np.testing.assert_array_equal(
            arrays("a.npz")["original"], opened.test.images[:3].permute(0, 2, 3, 1)
        )
    again = call(*recorded, "--out", "second", "--json").json()
    for same in ("command", "settings", "data", "seed", "size", "digests"):
        assert again[same] == facts[same], same
    assert files.sha256(Path("second/model.safetensors")) == (facts["digests"]["model.safetensors"])


def test_what_is_usual_is_not_recorded(call: Call, stock: Path) -> None:
    data = ("--data", stock / "bars.npz", "--resolution", "16", "--size", "tiny")
    facts = call("train", "vae:course", *data, "--budget", "0.64kimg", "--json").json()
    recorded = shlex.split(facts["command"])
    assert recorded == ["triptych", "train", "vae:course", *map(str, data[:2]), "--size", "tiny",
                        "--resolution", "16", "--budget", "0.64kimg"]  # fmt: skip


# Runs that cannot be used


def spoil_weights(run: Path) -> None:
    file = run / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        facts = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(facts | changes))

    return change


def alter_settings(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["settings"]["latent"] = 31
    (run / "run.json").write_text(json.dumps(facts))


def rename_recipe(run: Path) -> None:
    """As a later version would write a recipe that this one lacks: both files agree."""
    with safe_open(run / "model.safetensors", framework="pt") as file:
        described = json.loads(file.metadata()["triptych"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    said = {"triptych": json.dumps(described | {"model": "vae:none"})}
    digest = save_weights(run / "model.safetensors", tensors, said)
    digests = {"model.safetensors": digest}
    edit(model="vae:none", recipe="none", digests=digests)(run)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda run: (run / "model.safetensors").unlink(), "model.safetensors is missing"),
        (spoil_weights, "model.safetensors is not the file that training wrote"),
        (lambda run: (run / "run.json").unlink(), "run.json is missing"),
        (lambda run: (run / "run.json").write_text("{"), "run.json is damaged"),
        (lambda run: (run / "run.json").write_text("[]"), "not of this version"),
        (edit(status="running"), "is not trained to its end: finish it"),
        (edit(schema=99), "run.json is not of this version of triptych"),
        (edit(model="gan:course"), "run.json does not fit model.safetensors"),
        (edit(model="vae:none"), "run.json does not fit model.safetensors"),
        (edit(model=["vae"]), "not of this version of triptych (model: Input should be a valid"),
        (edit(family="gan"), "run.json does not fit model.safetensors"),
        (edit(settings={}), "run.json does not fit model.safetensors"),
        (edit(settings=None), "not of this version of triptych (settings: Input should be an"),
        (alter_settings, "run.json does not fit model.safetensors"),
        (rename_recipe, "run.json is not of this version of triptych (no model 'vae:none'"),
    ],
)
def test_spoiled_runs_are_refused(
    refuses: Callable[..., str], own_run: Path, spoil: Callable[[Path], None], line: str
) -> None:
    spoil(own_run)
    assert line in refuses("sample", own_run, "--out", "a.png", *SLOW)


def test_folders_that_are_no_runs(refuses: Callable[..., str], tmp_path: Path) -> None:
    for command in ("sample", "reconstruct", "interpolate"):
        assert "no run folder runs/none" in refuses(command, "runs/none", "--out", "a.png", *SLOW)
    assert "no run folder runs/none" in refuses("likelihood", "runs/none", *SLOW)
    assert "no run folder runs/none" in refuses("evaluate", "runs/none", *SLOW)
    assert "no run folder runs/none" in refuses("report", "runs/none", "runs/other")
    assert "run.json is missing" in refuses("report", tmp_path)
    assert "no run named" in refuses("evaluate", *SLOW)
    assert "no folder named" in refuses("report")


# What runs give


def arrays(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as loaded:
        return dict(loaded)


def test_samples_as_grid_arrays_and_files(call: Call, stock: Path) -> None:
    words = ("sample", stock / "vae", "--count", "10", *SLOW)
    assert call(*words, "--out", "deep/grid.png").out.strip() == "deep/grid.png"
    assert picture("deep/grid.png").shape == (2 * 18 - 2, 8 * 18 - 2, 3)
    found = call(*words, "--out", "a.npz", "--json").json()
    assert found == {"out": "a.npz", "count": 10}
    images = arrays("a.npz")["images"]
    assert images.shape == (10, 16, 16, 3) and images.dtype == np.uint8
    assert call(*words, "--out", "many").code == 0
    files = sorted(Path("many").iterdir())
    assert [file.name for file in files] == [f"images-{i:05d}.png" for i in range(10)]
    for file, image in zip(files, images, strict=True):
        np.testing.assert_array_equal(picture(file), image)
    grid = picture("deep/grid.png")
    np.testing.assert_array_equal(grid[18:34, 18:34], images[9])
    call(*words, "--out", "b.npz", "--seed", "1")
    assert (arrays("b.npz")["images"] != images).any()


@pytest.mark.parametrize("name", ["samples-t0.8", "v1.2", "of.bars", "a.2026"])
def test_a_dot_in_a_folder_s_name_is_no_suffix(call: Call, stock: Path, name: str) -> None:
    assert call("sample", stock / "vae", "--count", "2", *SLOW, "--out", name).code == 0
    assert sorted(path.name for path in Path(name).iterdir()) == [
        "images-00000.png", "images-00001.png",
    ]  # fmt: skip


def test_suffixes_in_capitals_are_suffixes(call: Call, stock: Path) -> None:
    for name in ("a.PNG", "a.Npz"):
        assert call("sample", stock / "vae", "--count", "2", *SLOW, "--out", name).code == 0
        assert Path(name).is_file()
    assert picture("a.PNG").shape == (16, 34, 3)


def test_reconstructions(call: Call, stock: Path) -> None:
    words = ("reconstruct", stock / "vae", "--count", "6", *SLOW)
    assert call(*words, "--out", "a.npz").code == 0
    found = arrays("a.npz")
    assert set(found) == {"original", "reconstruction"}
    assert found["original"].shape == found["reconstruction"].shape == (6, 16, 16, 3)
    test = open.open_images(str(stock / "bars.npz"), DataOptions(resolution=16)).test.images
    np.testing.assert_array_equal(found["original"], test[:6].permute(0, 2, 3, 1))
    assert call(*words, "--out", "a.png").code == 0
    grid = picture("a.png")
    np.testing.assert_array_equal(grid[:16, :16], found["original"][0])
    np.testing.assert_array_equal(grid[18:34, :16], found["reconstruction"][0])


def test_interpolations(call: Call, stock: Path) -> None:
    words = ("interpolate", stock / "vae", "--points", "5", *SLOW)
    assert call(*words, "--out", "a.npz").code == 0
    assert arrays("a.npz")["images"].shape == (8, 5, 16, 16, 3)
    assert call(*words, "--out", "a.png").code == 0
    assert picture("a.png").shape == (8 * 18 - 2, 5 * 18 - 2, 3)
    images, _ = make_images(2)
    for name, image in zip(("a", "b"), images, strict=True):
        Path(f"{name}-photo.png").write_bytes(encode(image))
    ends = ("--from", "a-photo.png", "--to", "b-photo.png")
    assert call(*words, *ends, "--out", "b.npz").code == 0
    assert arrays("b.npz")["images"].shape == (1, 5, 16, 16, 3)


def test_likelihood_has_terms(call: Call, stock: Path) -> None:
    words = (*SLOW, "--count", "12", "--json")
    found = call("likelihood", stock / "vae", *words).json()
    assert found["name"] == "bits_per_dim" and found["kind"] == "upper bound"
    assert set(found["terms"]) == {"reconstruction", "kl"}
    total = sum(term["bits_per_dim"] for term in found["terms"].values())
    assert total == pytest.approx(found["value"])
    for term in found["terms"].values():
        bits = term["nats"] / np.log(2) / (3 * 16 * 16)
        assert term["bits_per_dim"] == pytest.approx(bits)
    gan = call("likelihood", stock / "gan", *words).json()
    assert gan["value"] is None and gan["kind"] == "not defined"
    assert gan["note"] == {"code": "gan_no_density", "values": {}}
    plain = call("likelihood", stock / "gan", *SLOW, "--count", "12")
    assert plain.code == 0 and "not defined: a GAN has no explicit density" in plain.out


def test_evaluate_and_report(
    call: Call, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1280)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    runs = [Path(shutil.copytree(stock / name, tmp_path / name)) for name in ("vae", "gan")]
    found = call("evaluate", *runs, "--json", *SLOW).json()
    assert [run["model"] for run in found["runs"]] == ["vae:course", "gan:course"]
    told = call("evaluate", runs[1], *SLOW)
    assert "reconstruction_psnr (test)" in told.out and "] dB" in told.out
    assert "not defined: a GAN has no explicit density" in told.out
    assert call("report", *runs, "--json").json() == {"report": "report.html"}
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert call("report", *runs, "--json").json() == {"report": "report.html"}  # in its place
    for format in ("html", "md", "tex"):
        own = Path(f"report.{format}")
        own.write_text("my thesis")
        refused = call("report", *runs, "--format", format)
        assert refused.code == 2
        assert f"{own} is there already: name the page by --out" in refused.err
        assert own.read_text() == "my thesis" and not Path("report_figures").exists()
    assert call("report", *runs, "--out", "report.md", "--format", "md").code == 0
    assert call("report", *runs, "--format", "md").code == 0
    assert Path("report.md").read_text().rstrip().endswith("[//]: # (triptych report)")
    Path("folder.html").mkdir()
    for place in (stock / "bars.npz" / "a.html", Path("folder.html")):
        refused = call("report", *runs, "--out", place)
        assert refused.code == 2 and refused.out == ""
        assert refused.err.startswith(f"triptych: cannot write {place} (")
        assert len(refused.err.splitlines()) == 1
    assert not list(Path.cwd().glob("*.part"))


def test_other_data_are_read_as_the_run_was_trained(
    call: Call, stock: Path, tmp_path: Path, refuses: Callable[..., str]
) -> None:
    images, labels = make_images(100, side=24, seed=5)
    write_npz(tmp_path / "other.npz", images, labels)
    words = ("likelihood", stock / "vae", "--data", tmp_path / "other.npz", "--count", "5", *SLOW)
    assert call(*words, "--json").json()["n"] == 5  # at 16, not at the usual 32
    assert "the run (3, 16, 16): leave out --resol" in refuses(*words, "--resolution", "32")
    assert "no fit 'squash'" in refuses(*words, "--fit", "squash")
    own = ("likelihood", stock / "vae", "--count", "5", *SLOW)
    assert "bars is (3, 32, 32), the run (3, 16, 16)" in refuses(*own, "--resolution", "32")
    assert "bars.npz is not what" in refuses(*own, "--label-column", "none")


def test_the_size_follows_the_device(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large:
        total_memory = 80e9

    monkeypatch.setattr("triptych.hardware.find_gpu", lambda: (True, ""))
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda number: Large())
    assert resolve.pick_size(None) == resolve.pick_size(None, "cuda") == "base"
    assert resolve.pick_size(None, "cpu") == "tiny"
    assert resolve.pick_size("small", "cpu") == "small"
    monkeypatch.setattr("triptych.hardware.describe", dict)
    assert call("doctor", "--json", *SLOW).json()["size"] == "tiny"


def test_evaluate_reads_the_real_side_once(
    stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1280)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    read, seen = evaluate.read_real, []

    def count(data: ImageData, *rest: Any) -> Any:
        seen.append(data.fingerprint)
        return read(data, *rest)

    monkeypatch.setattr(evaluate, "read_real", count)
    runs = [Path(shutil.copytree(stock / name, tmp_path / name)) for name in ("vae", "gan")]
    triptych.evaluate(runs, count=10, machine=one_thread())
    assert len(seen) == 1


def test_doctor(call: Call) -> None:
    found = call("doctor", "--json", *SLOW).json()
    assert found["device"] == "cpu" and found["precision"] == "fp32" and found["threads"] == 1
    assert {"hardware", "versions", "size", "choices"} <= set(found)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("sample {vae} --count 0 --out a.png", "--count 0 is too few: give 1 or more"),
        ("reconstruct {vae} --count 0 --out a.png", "--count 0 is too few"),
        ("likelihood {vae} --count 0", "--count 0 is too few"),
        ("evaluate {vae} --count 0", "--count 0 is too few"),
        ("evaluate {vae} --count 2", "2 samples against"),
        ("compare {vae} vae:course {data} --count 0", "--count 0 is too few: give 1 or more"),
        ("compare {vae} vae:course {data} --count 2", "2 samples against 28 test images"),
        ("compare vae:course vae:course {data}", "vae:course is named twice: use --seeds"),
        ("compare {vae} vae:course {data} --budget 1kimg", "budget differs: vae 640.0, new runs 1"),
        ("compare {vae} vae:course {other}", "the data differ: vae "),
        ("compare {vae} {other}", "not trained on the data to measure on: vae"),
        ("compare {vae} {other} --force", "vae makes images of another size than bars"),
        ("evaluate {vae} --features inception", "features 'inception' need torch-fidelity"),
        ("evaluate {vae} --features magic", "no features 'magic': choose from labels, patches"),
        (
            "compare {vae} --features dinov2",
            "torch_fidelity'): pip install 'triptych[fid]' (for a torch without CUDA first: pip ",
        ),
        ("compare vae:course,latent=0,x {data}", "--set x has no '='"),
        ("compare vae:course,size=huge {data}", "no size 'huge'"),
        ("likelihood {vae} --method magic", "no method 'magic' for this model: choose from elbo"),
        ("likelihood {gan} --method elbo", "no method 'elbo' for this model"),
        ("likelihood {vae} --data nowhere", "no data 'nowhere'"),
        ("likelihood {gan} --method ais --noise 2", "--noise 2 is no noise of 8-bit pixels"),
        ("likelihood {gan} --method ais --noise nan", "--noise nan is no noise of 8-bit pixels"),
        ("likelihood {vae} --noise 0.1", "--noise is for --method ais, of a GAN: leave it out"),
        ("reconstruct {vae} --steps 3 --out a.png", "a vae encodes in one step: leave out --steps"),
        ("reconstruct {gan} --steps -1 --out a.png", "--steps -1 is below zero: give 0 or more"),
        ("interpolate {vae} --points 1 --out a.png", "--points 1 is too few"),
        ("interpolate {gan} --way up --out a.png", "no way 'up': choose from straight, spherical"),
        ("interpolate {vae} --from x.png --out a.png", "x.png cannot be read (No such file"),
        ("sample {vae} --temperature 0 --out a.png", "--temperature 0 is not positive"),
        ("sample {vae} --temperature inf --out a.png", "--temperature inf is not positive and fin"),
        ("sample {vae} --steps 5 --out a.png", "a vae samples in one step"),
        ("sample {vae} --guidance 2 --out a.png", "a vae samples in one step"),
        ("sample {diffusion} --guidance -1 --out a.png", "--guidance -1 is no weight"),
        ("sample {untold} --guidance 2 --out a.png", "told no kinds of images has no guidance"),
        ("sample {diffusion} --steps 0 --out a.png", "--steps 0 is too few: give 1 or more"),
        ("sample {diffusion} --sampler magic --out a.png", "no sampler 'magic': choose from"),
        ("sample {diffusion} --eta 2 --sampler ddim --out a.png", "--eta 2 is no share of noise"),
        ("reconstruct {diffusion} --steps 0 --out a.png", "--steps 0 is too few"),
        ("average {vae} --out b", "vae kept no averages to make another one of"),
        ("average {diffusion} --width 2 --out b", "--width 2 is no share of a training"),
        ("train diffusion:consistency {data}", "starts from a trained model: name it: --teacher"),
        ("train vae {data} --teacher {diffusion}", "vae:ladder starts from no trained model"),
        ("train diffusion:consistency {data} --teacher {vae}", "it is vae:course, not one of edm"),
        ("train gan {data} --from {vae}", "vae is vae:course, not gan:"),
        ("train vae:course {data} --from {vae} --set latent=3", "vae are made with latent=32"),
        ("train vae:course {other} --from {vae}", "32), the run (3, 16, 16): leave out --resolu"),
        ("train vae:course --from {stock}", "stock0/run.json is missing: name a folder that"),
        ("train vae:course {data} --budget 0kimg", "no budget '0kimg': write one like"),
        ("sample {vae} --label 3 --out a.png", "was trained without labels"),
        ("sample {vae} --out a.jpg", "cannot write .jpg files: end --out in .png or .npz"),
        ("sample {vae} --out a.WEBP", "samples do not move"),
        ("sample {vae} --out a.gif", "samples do not move"),
        ("sample {vae} --out a.tif", "cannot write .tif files"),
        ("sample {vae} --out a.npy", "cannot write .npy files"),
        ("sample {vae} --out a.tar.gz", "cannot write .tar.gz files"),
        ("sample {vae} --out {stock}", "is a folder that is not empty: name another --out"),
        ("sample {vae} --out {stock}/bars.npz/x", "cannot write"),
    ],
)
def test_bad_requests_to_runs_are_refused(
    refuses: Callable[..., str], stock: Path, words: str, line: str
) -> None:
    names = ("vae", "gan", "diffusion", "untold")
    places = {name: stock / name for name in names} | {"stock": stock}
    bars = f"--data {stock / 'bars.npz'} --budget 0.64kimg --resolution"
    places |= {"data": f"{bars} 16", "other": f"{bars} 32"}
    assert line in refuses(*words.format(**places).split(), *SLOW)


def test_a_dry_run_shows_what_is_gone_on_with(call: Call, stock: Path) -> None:
    words = ("--from", stock / "untold", "--set", "steps=3", "--dry-run", "--json", *SLOW)
    shown = call("train", "diffusion:x0", *words).json()
    assert (shown["widths"], shown["steps"], shown["groups"]) == ([8, 16], 3, 0)
    assert shown["from"]["run"] == str(stock / "untold")
    assert shown["from"]["images_seen"] == 640
    assert shown["from"]["last_checkpoint"] == "0-000000000640"


def test_a_bad_picture_to_interpolate_from(
    refuses: Callable[..., str], stock: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_text("hello")
    ends = ("--from", tmp_path / "bad.png", "--to", tmp_path / "bad.png")
    line = refuses("interpolate", stock / "vae", *ends, "--out", "a.png", *SLOW)
    assert "bad.png is bad: not an image format we read: give another image" in line


def test_a_picture_with_a_warning_says_nothing(
    stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow warns above; a warning is an error
    (tmp_path / "a.png").write_bytes(encode(make_images(1)[0][0]))
    found = triptych.Run(stock / "vae", one_thread()).read_images(tmp_path / "a.png")
    assert found.shape == (1, 3, 16, 16)


def test_output_that_the_system_refuses(
    call: Call, stock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(np, "savez_compressed", full)
    result = call("sample", stock / "vae", "--count", "2", "--out", "a.npz", *SLOW)
    assert result.code == 2
    assert (
        result.err == "triptych: cannot write a.npz (No space left on device): name another --out\n"
    )
