"""The planted faults fit the code of today: `make faults` itself takes minutes and runs apart."""

from __future__ import annotations

import ast
import shutil
from functools import cache
from pathlib import Path

import pytest

from tests.faults.plant import ROOT, Fault, all_faults, apply, read_fault


@cache
def functions_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def missing_tests(fault: Fault) -> list[str]:
    """The tests that a fault names and that there are not."""
    missing = []
    for test in fault.tests:
        path, _, name = test.partition("::")
        known = functions_in(ROOT / path) if (ROOT / path).is_file() else frozenset()
        if not known or (name and name.partition("[")[0] not in known):
            missing.append(test)
    return missing


@pytest.mark.skipif(shutil.which("git") is None, reason="patches are applied by git")
def test_every_fault_can_still_be_planted() -> None:
    """Write the patch anew where the code moved on; remove it where the place is gone."""
    refused = {fault.name: apply(fault, ROOT, "--check") for fault in all_faults()}
    assert len(refused) > 50
    assert not {name: said for name, said in refused.items() if said}


def test_every_fault_names_tests_that_there_are() -> None:
    missing = {fault.name: missing_tests(fault) for fault in all_faults()}
    assert not {name: tests for name, tests in missing.items() if tests}


@pytest.mark.parametrize("head", ["", "# Fault: a\n", "# Tests: b\n", "# Fault: a\n# Test: b\n"])
def test_a_patch_that_does_not_say_what_it_is_is_refused(head: str, tmp_path: Path) -> None:
    path = tmp_path / "new.patch"
    path.write_text(head + "--- a/x\n+++ b/x\n")
    with pytest.raises(ValueError, match=r"new\.patch"):
        read_fault(path)


def test_a_patch_says_what_is_wrong_and_who_guards_it(tmp_path: Path) -> None:
    path = tmp_path / "new.patch"
    path.write_text("# Fault: a: b\n# Tests: c d\n# Tests: e\n--- a/x\n+++ b/x\n# Tests: f\n")
    assert read_fault(path) == Fault(path, "a: b", ("c", "d", "e"))
