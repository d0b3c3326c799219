"""Plant faults one at a time, in copies of the tree, and see whether the tests notice.

    python -m tests.faults.plant [--at-once 2] [NAME ...]

A fault is a patch `NAME.patch` beside this file. Its first lines say what is wrong and which tests
guard the place; git passes over them:

    # Fault: the penalty of some steps has its usual weight
    # Tests: tests/test_penalties.py::test_a_penalty_of_some_steps_weighs_as_much_as_one_of_all
    --- a/src/triptych/families/gan/losses.py
    +++ b/src/triptych/families/gan/losses.py
    @@ ...

A fault is caught if one of its tests fails. Tests that cannot even be collected have noticed
nothing: then the patch itself is at fault.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, NoReturn

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
PATIENCE = 300  # seconds for the tests of one fault, which should take a few
# What every test imports is imported once; the tests of each fault run in a fork of that process.
FORKS = multiprocessing.get_context("forkserver")
HEAVY = ["pytest", "torch", "scipy.stats", "pydantic", "safetensors.torch"]
PASSED, FAILED = 100, 101  # 100 and pytest's exit code: an error of ours ends with 1

Verdict = Literal["caught", "SURVIVED", "BROKEN"]


@dataclass(frozen=True)
class Fault:
    """One patch, with the sentence that says what is wrong and the tests that guard the place."""

    path: Path
    wrong: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class Outcome:
    """What came of planting one fault. told: what pytest or git said, where that is of use."""

    fault: Fault
    verdict: Verdict
    seconds: float
    told: str = ""


def read_fault(path: Path) -> Fault:
    """ValueError where the first lines do not say what is wrong and which tests guard it."""
    head: dict[str, list[str]] = {"Fault": [], "Tests": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        name, _, words = line.removeprefix("# ").partition(": ")
        if name not in head:
            raise ValueError(f"{path.name}: a line of its head is neither Fault nor Tests: {line}")
        head[name].append(words)
    if not all(head.values()):
        raise ValueError(f"{path.name}: it begins with '# Fault: ...' and '# Tests: ...'")
    return Fault(path, " ".join(head["Fault"]), tuple(" ".join(head["Tests"]).split()))


def all_faults() -> list[Fault]:
    return [read_fault(path) for path in sorted(FOLDER.glob("*.patch"))]


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults whose names hold any of these words; all where there are none."""
    return [f for f in all_faults() if not names or any(name in f.name for name in names)]


def apply(fault: Fault, tree: Path, *options: str) -> str:
    """Apply the patch in a tree; what git says against it, or nothing."""
    # Where the tree lies inside a repository, git must not take that one for it.
    alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command = ["git", "apply", *options, str(fault.path)]
    done = subprocess.run(command, cwd=tree, env=alone, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def copy_tree(tree: Path) -> None:
    """All files that git knows or would know, as they are now, but not what it ignores."""
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # not one that was removed
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)
    # Compiled once; a changed file is known by its content, however soon it was changed again.
    hashed = ("-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "src", "tests")
    subprocess.run([sys.executable, *hashed], cwd=tree, check=True)


def run_tests(tests: Sequence[str], tree: Path) -> tuple[int | None, str]:
    """How these tests end in a tree, None where they take too long; and pytest's output."""
    told = tree.with_suffix(".log")
    process = FORKS.Process(target=pytest_in, args=(tree, tuple(tests), told))
    process.start()
    process.join(PATIENCE)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code, told.read_text(encoding="utf-8", errors="replace") if told.exists() else ""


def pytest_in(tree: Path, tests: Sequence[str], told: Path) -> NoReturn:
    """What a process does that is forked for the tests of one fault: its exit code is their end."""
    log = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    # Forget the tree from which it was forked: tests and package are those of the copy.
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "triptych")]:
        del sys.modules[name]
    elsewhere = [path for path in sys.path if Path(path).resolve() not in (ROOT, ROOT / "src")]
    sys.path[:] = [str(tree / "src"), str(tree), *elsewhere]
    os.environ |= {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    os.chdir(tree)
    import pytest

    sys.exit(PASSED + pytest.main(["-x", "-q", "-m", "", "-p", "no:cacheprovider", *tests]))


def plant(fault: Fault, tree: Path) -> Outcome:
    """Apply one patch, run its tests, take it back."""
    began = time.perf_counter()

    def outcome(verdict: Verdict, told: str = "") -> Outcome:
        return Outcome(fault, verdict, time.perf_counter() - began, told)

    if refused := apply(fault, tree):
        return outcome("BROKEN", f"the patch no longer applies: {refused}")
    try:
        code, output = run_tests(fault.tests, tree)
    finally:
        apply(fault, tree, "--reverse")
    if code is None:
        return outcome("BROKEN", f"its tests took more than {PATIENCE} s")
    if code == PASSED:
        return outcome("SURVIVED", " ".join(fault.tests))
    return outcome("caught") if code == FAILED else outcome("BROKEN", output)


def plant_all(faults: Sequence[Fault], at_once: int) -> list[Outcome]:
    """Plant each fault alone, `at_once` of them in trees of their own; prints as it goes."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # read when torch is loaded
    FORKS.set_forkserver_preload(HEAVY)
    with ExitStack() as stack:
        trees: SimpleQueue[Path] = SimpleQueue()
        for _ in range(at_once):
            tree = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fault-"))) / "tree"
            tree.mkdir()
            copy_tree(tree)
            trees.put(tree)
        print(f"without a fault: the tests of {len(faults)} faults", flush=True)
        code, output = check_sound(faults, trees)
        if code != PASSED:
            raise SystemExit(f"the tests do not even pass without a fault:\n{output}")

        def next_one(fault: Fault) -> Outcome:
            tree = trees.get()
            try:
                outcome = plant(fault, tree)
            finally:
                trees.put(tree)
            print(f"{outcome.verdict:8} {outcome.seconds:5.1f} s  {fault.name}", flush=True)
            return outcome

        pool = stack.enter_context(ThreadPoolExecutor(at_once))
        return list(pool.map(next_one, faults))


def check_sound(faults: Sequence[Fault], trees: SimpleQueue[Path]) -> tuple[int | None, str]:
    """Run the tests of all these faults without any: a test that always fails catches nothing."""
    tree = trees.get()
    try:
        return run_tests(list(dict.fromkeys(test for f in faults for test in f.tests)), tree)
    finally:
        trees.put(tree)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only faults whose names hold one of these words")
    parser.add_argument("--at-once", type=int, default=2, help="faults at once (default: 2)")
    asked = parser.parse_args()
    faults, began = chosen(asked.names), time.perf_counter()
    if not faults:
        raise SystemExit(f"no fault is named {' or '.join(asked.names)}")
    outcomes = plant_all(faults, asked.at_once)
    bad = [outcome for outcome in outcomes if outcome.verdict != "caught"]
    for outcome in bad:
        print(f"\n{outcome.verdict} {outcome.fault.name}: {outcome.fault.wrong}\n{outcome.told}")
    seconds = time.perf_counter() - began
    print(f"\n{len(faults) - len(bad)} of {len(faults)} faults caught in {seconds:.0f} s")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
