"""Trainings that the live page starts: a queue of processes that outlive the page.

The processes here are small stand-ins that make what a training makes, or do not.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from triptych.errors import InputError
from triptych.web.jobs import MOST_WAITING, Asked, Jobs, is_alive, name_of
from triptych.web.library import Library, NotFoundError

# Stands in for `python -P -m triptych compare ... --out FOLDER`: what its first model says.
STAND_IN = """
import pathlib, signal, sys, time
words = sys.argv[1:]
out, how = pathlib.Path(words[words.index('--out') + 1]), words[words.index('--budget') + 1]
def leave(number, frame):
    print('triptych: saved; the same command goes on from here', file=sys.stderr)
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
out.mkdir(exist_ok=True)
print('training', flush=True)
if how == '1s':
    (out / 'contract.json').write_text('{}')
    (out / 'report.html').write_text('')
elif how == '2s':
    sys.exit('triptych: no images in photos: name a folder that holds some')
elif how == '3s':
    raise ZeroDivisionError('a mistake of ours')
else:
    time.sleep(60)
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Of an empty folder; what they begin is the stand-in, and ends with the test."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    real, children = subprocess.Popen, []

    def begin(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        assert command[:4] == [sys.executable, "-P", "-m", "triptych"]
        child = real([sys.executable, str(script), *command[4:]], **options)  # type: ignore[call-overload]
        children.append(child)
        return child  # type: ignore[no-any-return]

    monkeypatch.setattr("triptych.web.jobs.subprocess.Popen", begin)
    served = tmp_path / "served"
    served.mkdir()
    yield Jobs(Library(served))
    for child in children:
        child.kill()
        child.wait()


def asked(budget: str = "60s", models: tuple[str, ...] = ("vae", "gan")) -> Asked:
    return Asked(models=models, data="street-digits", budget=budget)


def wait(jobs: Jobs, until: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, jobs.all()
        time.sleep(0.05)
        jobs.refresh()


def test_a_job_is_the_command_that_could_be_typed(jobs: Jobs) -> None:
    job = jobs.add(asked())
    out = jobs.library.root / job.out
    assert job.command == (
        f"triptych compare vae gan --data street-digits --out {out} --budget 60s"
    )
    assert job.state == "running" and job.process is not None and is_alive(job)
    jobs.stop(job.number)
    wait(jobs, lambda: jobs.get(job.number).state == "stopped")
    assert jobs.get(job.number).message == ""


def test_one_runs_and_the_others_wait_in_their_order(jobs: Jobs) -> None:
    first, second, third = jobs.add(asked()), jobs.add(asked("1s")), jobs.add(asked("1s"))
    assert [job.state for job in jobs.all()] == ["waiting", "waiting", "running"]
    assert len({first.out, second.out, third.out}) == 3
    jobs.stop(first.number)
    wait(jobs, lambda: jobs.get(third.number).state == "done")
    assert [job.state for job in jobs.all()] == ["done", "done", "stopped"]


def test_what_waits_can_be_taken_out(jobs: Jobs) -> None:
    first, second = jobs.add(asked()), jobs.add(asked("1s"))
    assert jobs.stop(second.number).state == "stopped"
    jobs.stop(first.number)
    wait(jobs, lambda: jobs.get(first.number).state == "stopped")
    jobs.refresh()
    assert jobs.get(second.number).state == "stopped"
    assert not (jobs.library.root / second.out).exists()


def test_a_refusal_is_told_in_its_own_words(jobs: Jobs) -> None:
    job = jobs.add(asked("2s"))
    wait(jobs, lambda: jobs.get(job.number).state == "failed")
    assert jobs.get(job.number).message == "no images in photos: name a folder that holds some"


def test_a_mistake_of_ours_is_told_by_its_last_line(jobs: Jobs) -> None:
    job = jobs.add(asked("3s"))
    wait(jobs, lambda: jobs.get(job.number).state == "failed")
    assert jobs.get(job.number).message == "ZeroDivisionError: a mistake of ours"


def test_a_stopped_job_goes_on_with_the_same_command(jobs: Jobs) -> None:
    job = jobs.add(asked())
    os.kill(job.process or 0, signal.SIGKILL)
    wait(jobs, lambda: jobs.get(job.number).state == "interrupted")
    assert jobs.get(job.number).message == ""  # what it said last is no reason
    again = jobs.resume(job.number)
    assert (again.state, again.words, again.out) == ("running", job.words, job.out)
    assert again.process != job.process
    with pytest.raises(InputError, match="running"):
        jobs.resume(job.number)
    jobs.stop(job.number)
    wait(jobs, lambda: jobs.get(job.number).state == "stopped")


def test_a_killed_server_loses_nothing(jobs: Jobs) -> None:
    """Another one finds the process by its number and its beginning, and begins what waited."""
    running, waiting = jobs.add(asked()), jobs.add(asked("1s"))
    other = Jobs(jobs.library)
    other.refresh()
    assert [job.state for job in other.all()] == ["waiting", "running"]
    assert other.get(running.number).process == running.process
    other.stop(running.number)
    wait(other, lambda: other.get(waiting.number).state == "done")
    assert other.get(running.number).state == "stopped"


def test_a_job_that_is_just_beginning_is_alive(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the call that starts a program and its first instruction Linux tells no words."""
    job = jobs.add(asked())
    with monkeypatch.context() as patched:
        patched.setattr(psutil.Process, "cmdline", lambda process: [])
        assert is_alive(job)
        assert not is_alive(replace(job, began=(job.began or 0) - 60))  # a thread of the kernel
    os.kill(job.process or 0, signal.SIGKILL)
    wait(jobs, lambda: not is_alive(job))  # dead, buried or not


def test_another_process_of_that_number_is_not_the_job(jobs: Jobs) -> None:
    job = jobs.add(asked())
    file = jobs.folder / f"{job.number:06d}.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"process": os.getpid()}))
    other = Jobs(jobs.library)
    other.refresh()
    assert other.get(job.number).state == "interrupted"
    other.stop(job.number)
    assert psutil.pid_exists(os.getpid())
    jobs.stop(job.number)
    wait(jobs, lambda: jobs.get(job.number).state == "stopped")


def test_a_report_of_before_does_not_make_a_job_done(jobs: Jobs) -> None:
    job = jobs.add(asked())
    folder = jobs.library.root / job.out
    wait(jobs, folder.is_dir)
    for name in ("contract.json", "report.html"):
        (folder / name).write_text("")
        os.utime(folder / name, (0, time.time() - 3600))
    jobs.stop(job.number)
    wait(jobs, lambda: jobs.get(job.number).state == "stopped")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ("cow",)}, "no model 'cow'"),
        ({"models": ("vae", "vae")}, "named twice"),
        ({"budget": "soon"}, "no budget"),
        ({"size": "huge"}, "no size"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_made(
    jobs: Jobs, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        jobs.add(Asked(**{"models": ("vae",), "data": "x", "budget": "1s", **changes}))  # type: ignore[arg-type]
    assert not list(jobs.library.root.iterdir())


def test_what_cannot_begin_does_not_hold_up_the_queue(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = subprocess.Popen

    def refuse(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        if "60s" in command:
            raise OSError(7, "Argument list too long")
        return begin(command, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr("triptych.web.jobs.subprocess.Popen", refuse)
    first, second = jobs.add(asked("60s")), jobs.add(asked("1s"))
    assert jobs.get(first.number).state == "failed"
    assert "Argument list too long" in jobs.get(first.number).message
    wait(jobs, lambda: jobs.get(second.number).state == "done")


@pytest.mark.parametrize("data", ["a\0b", "x" * 1001, "a\nb"])
def test_names_that_no_command_takes_are_refused(data: str) -> None:
    with pytest.raises(ValueError, match="1,000 letters"):
        Asked(models=("vae",), data=data)


def test_paths_are_made_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For the next server, which takes the job up, may be started elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert Asked(models=("vae",), data="photos").request().data == str(tmp_path / "photos")
    for name in ("mnist", "hf:me/birds"):
        assert Asked(models=("vae",), data=name).request().data == name


def test_a_queue_has_an_end(jobs: Jobs) -> None:
    for _ in range(MOST_WAITING):
        jobs.add(asked())
    with pytest.raises(InputError, match="wait already"):
        jobs.add(asked())
    for job in jobs.all():
        jobs.stop(job.number)
    wait(jobs, lambda: all(job.state == "stopped" for job in jobs.all()))


def test_there_is_no_job_of_another_number(jobs: Jobs) -> None:
    with pytest.raises(NotFoundError):
        jobs.stop(7)


def test_a_damaged_job_is_passed_over(jobs: Jobs) -> None:
    jobs.folder.mkdir(parents=True)
    (jobs.folder / "000001.json").write_text("{")
    (jobs.folder / "000002.json").write_text('{"number": "x"}')
    assert Jobs(jobs.library).all() == []


@pytest.mark.parametrize(
    ("models", "data", "name"),
    [
        (("gan:r1",), "street-digits", "gan-r1-street-digits-1s"),
        (("vae", "gan"), "/home/me/my photos/", "compare-my-photos-1s"),
        (("vae",), "hf:me/birds", "vae-birds-1s"),
        (("vae",), "../..", "vae-..-1s"),
    ],
)
def test_folders_are_called_by_what_is_trained(
    models: tuple[str, ...], data: str, name: str
) -> None:
    assert name_of(Asked(models=models, data=data, budget="1s").request()) == name


def test_a_job_is_asked_to_stop_once(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked twice, a training ends at once and what it was saving is lost."""
    job = jobs.add(asked())
    told: list[int] = []
    monkeypatch.setattr("triptych.web.jobs.ask_to_end", told.append)
    assert jobs.stop(job.number).told_to_stop and jobs.stop(job.number).told_to_stop
    assert told == [job.process]


def test_no_model_is_no_comparison_of_all(jobs: Jobs) -> None:
    with pytest.raises(InputError, match="no model is chosen: choose one or more"):
        jobs.add(Asked(models=(), data="street-digits"))


def test_a_user_who_is_not_there_is_no_fault_of_ours() -> None:
    assert str(Asked(models=("vae",), data="~nosuchuser/a").request().data).endswith("nosuchuser/a")


def test_after_the_served_folder_moved_a_job_goes_on_in_it(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.add(asked())
    os.kill(job.process or 0, signal.SIGKILL)
    wait(jobs, lambda: jobs.get(job.number).state == "interrupted")
    jobs.library.root.rename(tmp_path / "moved")
    moved = Jobs(Library(tmp_path / "moved"))
    again = moved.resume(job.number)
    assert again.words[again.words.index("--out") + 1] == str(tmp_path / "moved" / job.out)
    assert is_alive(again) and not (tmp_path / "served").exists()
    moved.stop(job.number)
    wait(moved, lambda: moved.get(job.number).state == "stopped")


def test_what_ended_can_be_taken_off_the_list(jobs: Jobs) -> None:
    """A folder that was mistyped would stand there for ever; what is made stays."""
    failed, waiting = jobs.add(asked("2s")), jobs.add(asked("60s"))
    wait(jobs, lambda: jobs.get(failed.number).state == "failed")
    with pytest.raises(InputError, match="stop it first"):
        jobs.forget(waiting.number)
    jobs.forget(failed.number)
    assert [job.number for job in jobs.all()] == [waiting.number]
    assert [job.number for job in Jobs(jobs.library).all()] == [waiting.number]
    assert not list(jobs.folder.glob(f"{failed.number:06d}*"))
    assert (jobs.library.root / failed.out).is_dir()
    with pytest.raises(NotFoundError):
        jobs.forget(failed.number)
