"""The lowest versions that pyproject.toml allows, as constraints of pip: `make lowest`.

`python -m tests.lowest` prints one line for each package that Triptych itself needs, and for those
of the extras that are named: `python -m tests.lowest web`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
BOUND = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?>=(?P<version>[\d.]+)")


def lowest(*extras: str) -> list[str]:
    """`name==version` for each requirement; ValueError on one that has no lower bound."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    named = [line for extra in extras for line in project["optional-dependencies"][extra]]
    pins = []
    for requirement in project["dependencies"] + named:
        bound = BOUND.fullmatch(requirement)
        if bound is None:
            raise ValueError(f"no lower bound alone: {requirement}")
        pins.append(f"{bound['name']}=={bound['version']}")
    return sorted(set(pins))


if __name__ == "__main__":
    print("\n".join(lowest(*sys.argv[1:])))
