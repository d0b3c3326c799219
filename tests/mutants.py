"""What became of the mutants of the formulas: the score, and the survivors nobody has explained.

    mutmut run                 plants them one at a time and runs the tests that reach each
    python -m tests.mutants    reads what came of it

mutmut's settings, with the files and tests that it takes, are in pyproject.toml; it is no part of
the development tools (`pip install mutmut`), so it is imported late. Mutants that no test can tell
from the code are listed in `equal-mutants.toml` with the reason.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = ROOT / "mutants"
EQUAL = Path(__file__).with_name("equal-mutants.toml")
NOTICED = {"killed", "segfault"}  # a time limit that was passed says nothing on a busy machine


@dataclass(frozen=True)
class Equal:
    """Mutants that are as good as the code: lines that they make, or a pattern of the change.

    module:  under src/triptych, without .py; every one where it is empty
    pattern: of "what is taken away => what is made"
    """

    why: str
    module: str = ""
    lines: tuple[str, ...] = ()
    pattern: str = ""

    def explains(self, module: str, gone: str, made: str) -> bool:
        """Whether this is such a change, of a module of ours."""
        if self.module not in ("", module):
            return False
        change = f"{gone} => {made}"
        return made in self.lines or bool(self.pattern and re.search(self.pattern, change))


@dataclass
class Count:
    """How many mutants of a module were noticed, are equal to the code, and survived."""

    noticed: int = 0
    equal: int = 0
    survived: list[str] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The share noticed of those that could have been."""
        return self.noticed / max(1, self.noticed + len(self.survived))

    def to_json(self) -> dict[str, object]:
        return {
            "score": round(self.score, 4),
            "noticed": self.noticed,
            "equal": self.equal,
            "survived": len(self.survived),
        }


def read_equal() -> list[Equal]:
    """The reasons in `equal-mutants.toml`."""
    listed = tomllib.loads(EQUAL.read_text(encoding="utf-8"))["equal"]
    return [Equal(**entry | {"lines": tuple(entry.get("lines", ()))}) for entry in listed]


def changes(name: str, path: Path) -> tuple[str, str]:
    """The lines that a mutant takes away and makes, each stripped and joined by a space."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(name, path=path).splitlines()[2:]
    sides = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
    gone, made = (" ".join(side) for side in sides)
    return gone, made


def results() -> Iterator[tuple[str, Path, dict[str, int | None]]]:
    """Module, source file and pytest's exit codes by mutant, of every module that was mutated."""
    for path in sorted(MUTANTS.glob("src/**/*.meta")):
        source = path.relative_to(MUTANTS).with_suffix("")
        module = source.relative_to("src/triptych").with_suffix("").as_posix()
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        if codes:
            yield module, source, codes


def count(codes: dict[str, int | None], module: str, path: Path, reasons: list[Equal]) -> Count:
    """What became of the mutants of one module; ValueError where some were not tried."""
    from mutmut.stats import status_by_exit_code

    counted = Count()
    for name, code in codes.items():
        status = status_by_exit_code[code]
        if status == "not checked":
            raise ValueError(f"{name} was not tried: mutmut run")
        if status in NOTICED:
            counted.noticed += 1
            continue
        gone, made = changes(name, path)
        if any(reason.explains(module, gone, made) for reason in reasons):
            counted.equal += 1
        else:
            counted.survived.append(f"{name} ({status})\n  - {gone}\n  + {made}")
    return counted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, help="a JSON file for the score of each module")
    out = parser.parse_args(arguments).out
    reasons, total, modules = read_equal(), Count(), {}
    for module, path, codes in results():
        counted = count(codes, module, path, reasons)
        total.noticed += counted.noticed
        total.equal += counted.equal
        total.survived += counted.survived
        modules[module] = counted.to_json()
        print(f"{counted.score:6.1%}  {len(counted.survived):3} survived  {module}")
    print("\n".join(total.survived))
    print(f"{total.score:.1%} noticed, {len(total.survived)} survived, {total.equal} are equal")
    if out is not None:
        out.write_text(json.dumps({"all": total.to_json(), "modules": modules}, indent=1) + "\n")


if __name__ == "__main__":
    main()
