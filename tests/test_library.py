"""What the live page finds under the served folder, and what it does not look at."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.test_page import change, write_comparison
from triptych.errors import InputError
from triptych.pages.panels import find_progress
from triptych.training.run_folder import RunFolder, alone_in
from triptych.web.library import Library, NotFoundError, check_root

EARLIER = Path(__file__).parent / "earlier"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A comparison of three finished runs, and a run beside it that was stopped."""
    write_comparison(tmp_path / "compared")
    for folder in (tmp_path / "compared").glob("*-s0"):
        family, recipe, _ = folder.name.split("-")
        named = {"model": f"{family}:{recipe}", "family": family, "recipe": recipe}
        change(folder / "run.json", lambda record, named=named: record.update(named))
    shutil.copytree(EARLIER / "interrupted", tmp_path / "stopped")
    return tmp_path


def test_runs_of_a_comparison_stand_there_alone_and_in_the_order_of_families(served: Path) -> None:
    shown = Library(served).shown()
    [comparison] = shown.comparisons
    assert comparison.path == comparison.name == "compared" and not comparison.report
    assert [run.family for run in comparison.runs] == ["vae", "gan", "diffusion"]
    assert comparison.runs[0].path == "compared/vae-sigma-s0"
    assert {run.state for run in comparison.runs} == {"done"}
    assert [run.path for run in shown.runs] == ["stopped"]
    (served / "compared" / "report.html").write_text("<!doctype html>")
    assert Library(served).shown().comparisons[0].report


def test_a_served_comparison_is_shown_itself(served: Path) -> None:
    [comparison] = Library(served / "compared").shown().comparisons
    assert comparison.path == "." and comparison.runs[0].path == "vae-sigma-s0"


def test_runs_that_are_being_compared_are_one_comparison_before_there_is_a_contract(
    served: Path,
) -> None:
    (served / "compared" / "contract.json").unlink()
    assert [each.path for each in Library(served).shown().comparisons] == ["compared"]


def losses(images: int, seconds: float, phase: int = 0) -> str:
    line = {"event": "losses", "images": images, "phase": phase, "seconds": seconds}
    return json.dumps(line | {"images_per_second": 10.0, "memory_bytes": 1, "losses": {}}) + "\n"


def test_how_far_a_run_has_come_follows_from_its_log(served: Path) -> None:
    """A third of the images in ten seconds: two thirds are left, which take twenty."""
    folder = served / "stopped"
    record = json.loads((folder / "run.json").read_text())
    record |= {"planned_images": 300, "deadline": None, "calibration": {}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "log.jsonl").write_text(losses(50, 5.0) + losses(100, 10.0) + '{"torn')
    run = Library(served).run(folder)
    assert (run.state, run.images, run.planned) == ("stopped", 100, 300)
    assert run.seconds == 10.0 and run.remaining == pytest.approx(20.0)


def test_images_of_all_phases_count_together(served: Path) -> None:
    folder = served / "stopped"
    calibration = {"per_image": [0.1, 0.1], "shares": [1.0, 0.5], "grid": 0.1, "checkpoint": 0.1}
    change(folder / "run.json", lambda r: r.update(planned_images=200, calibration=calibration))
    (folder / "log.jsonl").write_text(losses(200, 20.0) + losses(30, 25.0, phase=1))
    run = Library(served).run(folder)
    assert (run.images, run.planned) == (230, 300)


def test_under_a_budget_in_seconds_the_deadline_tells_what_is_left(served: Path) -> None:
    folder = served / "stopped"
    deadline = {"seconds": 75.0, "per_image": [0.01], "finishing": 0.0}
    change(folder / "run.json", lambda r: r.update(deadline=deadline))
    (folder / "log.jsonl").write_text(losses(50, 15.0))
    assert Library(served).run(folder).remaining == pytest.approx(60.0)


def test_a_run_trains_as_long_as_a_process_holds_its_folder(served: Path) -> None:
    folder = served / "stopped"
    with alone_in(folder):
        assert Library(served).run(folder).state == "training"
        holder = folder / ".holder.json"
        change(holder, lambda owner: owner.update(process=2**22 + 1))  # there is no such process
        assert Library(served).run(folder).state == "stopped"
        holder.write_text("{")
        assert Library(served).run(folder).state == "stopped"
    assert Library(served).run(folder).state == "stopped"


def test_a_finished_run_is_read_again_when_its_record_changes(served: Path) -> None:
    library, folder = Library(served), served / "compared" / "vae-sigma-s0"
    before = library.run(folder)
    change(folder / "run.json", lambda record: record.update(seed=17))
    stat = (folder / "run.json").stat()
    os.utime(folder / "run.json", (stat.st_atime, stat.st_mtime + 5))
    assert library.run(folder).seed == 17 != before.seed


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', "\x00\xff", "[" * 100_000])
def test_a_damaged_run_is_named_with_the_reason(served: Path, content: str) -> None:
    (served / "stopped" / "run.json").write_text(content, encoding="latin-1")
    [run] = Library(served).shown().runs
    assert (run.state, run.name) == ("damaged", "stopped") and run.problem


def test_pictures_are_the_grids_of_samples_by_images_seen(served: Path) -> None:
    folder = served / "stopped" / "samples"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shown = ("000000064", "000000008", "999999936", "1000000000")
    for name in (*shown, "x", "12", "preview"):  # the others are not of our making
        (folder / f"{name}.png").write_bytes(b"")
    (folder / "000000128.png").mkdir()
    (folder / "000000256.txt").touch()
    assert Library(served).run(served / "stopped").pictures == (8, 64, 999999936, 1000000000)
    names = [f"{number:09d}.png" for number in (8, 64, 999999936, 1000000000)]
    assert [path.name for path in RunFolder(served / "stopped").pictures()] == names
    assert [path.name for _, path in find_progress(served / "stopped")] == [
        names[index] for index in (0, 2, 3)
    ]


def test_a_folder_that_may_not_be_looked_into_hides_no_other(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague's on a shared disk; before Python 3.12 `is_file` passes such an error on."""
    real = Path.is_file

    def is_file(self: Path, **options: Any) -> bool:
        if self.parent.name == "stopped":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **options)

    monkeypatch.setattr(Path, "is_file", is_file)
    shown = Library(served).shown()
    assert [each.name for each in shown.comparisons] == ["compared"] and not shown.runs


CLIMBING = ["..", "../x", "a/../../x", "/etc", "//etc", "\\..", "a\0b", ".live", "x/.live/jobs"]
CLIMBING += ["link", "link/inner", "circle", "x" * 5000, "./../x", "compared/../..", "%2e%2e"]


@pytest.mark.parametrize("path", CLIMBING)
def test_nothing_outside_the_served_folder_is_found(served: Path, path: str) -> None:
    outside = served.parent / f"{served.name}-outside"
    (outside / "inner").mkdir(parents=True)
    (served / "link").symlink_to(outside)
    (served / "circle").symlink_to(served / "circle")
    (served / ".live").mkdir()
    library = Library(served)
    with pytest.raises(NotFoundError):
        library.folder(path)
    assert all("link" not in run.path for run in library.shown().runs)


def test_links_inside_the_folder_lead_on(served: Path) -> None:
    (served / "again").symlink_to(served / "compared")
    assert Library(served).folder("again") == (served / "compared").resolve()


@pytest.mark.parametrize("named", [True, False])
def test_what_can_be_served(tmp_path: Path, named: bool) -> None:
    check_root(tmp_path, named)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file"):
        check_root(file, named)
    if named:
        with pytest.raises(InputError, match="no folder"):
            check_root(tmp_path / "absent", named)
    else:
        check_root(tmp_path / "absent", named)
        assert Library(tmp_path / "absent").shown().runs == ()


def test_many_folders_are_not_all_looked_into(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("triptych.web.library.MOST_FOLDERS", 3)
    for name in "abcdef":
        (tmp_path / name / "below").mkdir(parents=True)
    assert len(list(Library(tmp_path).folders())) < 13


def test_numbers_beyond_all_bounds_damage_one_run_alone(served: Path) -> None:
    """Of a stranger's folder: the list of all others is still shown."""
    library = Library(served)
    folder = next(path.parent for path in served.rglob("run.json"))
    record = json.loads((folder / "run.json").read_text())
    calibration = {**(record["calibration"] or {}), "shares": [1e308, 1e308]}
    endless = {**record, "calibration": calibration, "planned_images": 10**9, "done": False}
    (folder / "run.json").write_text(json.dumps(endless))
    assert library.run(folder).state == "damaged"
    (folder / "run.json").write_text(json.dumps({**record, "deadline": None, "done": False}))
    (folder / "log.jsonl").write_text(losses(1, 1e300) + losses(2, 1e308) + "\n")
    assert library.run(folder).remaining is None or library.run(folder).remaining < math.inf
