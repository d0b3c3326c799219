"""Imports point one way, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from triptych.families.registry import FAMILIES

SOURCE = Path(__file__).resolve().parents[1] / "src"
PACKAGE = SOURCE / "triptych"

# From the bottom up: a layer may import those below it, and itself where it is a folder. Layers of
# one height know nothing of each other, but for the lowest.
LAYERS = [
    {"config", "errors", "images", "seeding", "files", "options", "console", "hardware"}
    | {"distributed", "plugins", "records", "words"},
    {"data", "nn", "metrics"},
    {"families"},
    {"tasks"},
    {"training"},
    {"run"},
    {"evaluation"},
    {"comparison"},
    {"pages"},
    {"export"},
    {"api"},
    {"web"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports anywhere, also inside functions and for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & NAMES) or {node.module}
    return found


def layer_of(module: str) -> str | None:
    """`triptych.data.store` -> `data`; None for the package itself and for others' modules."""
    parts = module.split(".")
    return parts[1] if parts[0] == "triptych" and len(parts) > 1 else None


def inner(path: Path) -> set[str]:
    return {module for module in imports_of(path) if module.startswith("triptych")}


def test_every_module_has_a_layer() -> None:
    """And every layer its modules: rules for a folder that was renamed would hold of nothing."""
    assert {layer_of(name) for name in NAMES} - {None} == set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    ours = layer_of(name_of(path))
    if ours is None:
        return  # the package itself only names its public names
    for module in inner(path):
        theirs = layer_of(module)
        assert theirs is not None, f"{name_of(path)} imports the package itself"
        lowest = LEVEL[ours] == LEVEL[theirs] == 0
        assert LEVEL[theirs] < LEVEL[ours] or theirs == ours or lowest, (
            f"{name_of(path)} imports {module}"
        )


def test_no_imports_go_in_circles() -> None:
    """Imports for types and inside functions counted; what imports nothing more is taken away."""
    imports = {name_of(path): inner(path) & NAMES - {name_of(path)} for path in MODULES}
    del imports["triptych"]
    while leaves := [name for name, theirs in imports.items() if not theirs & imports.keys()]:
        for name in leaves:
            del imports[name]
    assert not imports


def test_families_know_neither_each_other_nor_data_nor_training() -> None:
    for family in FAMILIES:
        forbidden = tuple(f"triptych.families.{other}" for other in FAMILIES if other != family)
        forbidden += ("triptych.data", "triptych.training", "triptych.families.registry")
        for path in (PACKAGE / "families" / family).rglob("*.py"):
            wrong = [module for module in inner(path) if module.startswith(forbidden)]
            assert not wrong, f"{name_of(path)} imports {wrong}"


def test_what_families_share_knows_no_family() -> None:
    forbidden = tuple(f"triptych.families.{family}" for family in FAMILIES)
    for path in [*(PACKAGE / "families").glob("*.py"), *(PACKAGE / "nn").rglob("*.py")]:
        assert not [module for module in inner(path) if module.startswith(forbidden)], path


def test_metrics_see_tensors_and_never_models() -> None:
    for path in (PACKAGE / "metrics").glob("*.py"):
        outside = {module for module in inner(path) if layer_of(module) not in (None, "metrics")}
        allowed = {
            f"triptych.{x}" for x in ("config", "images", "plugins", "records", "seeding", "words")
        }
        assert outside <= allowed, f"{path}: {outside}"


def test_pages_never_import_torch() -> None:
    for path in (PACKAGE / "pages").rglob("*.py"):
        roots = {module.split(".")[0] for module in imports_of(path)}
        assert not roots & {"torch", "safetensors", "torchmetrics"}, path
        outside = {module for module in inner(path) if layer_of(module) not in (None, "pages")}
        allowed = tuple(
            f"triptych.{name}" for name in ("errors", "files", "options", "records", "words")
        )
        allowed += ("triptych.comparison.significance", "triptych.families.registry")
        assert all(module.startswith(allowed) for module in outside), f"{path}: {outside}"


def test_torchvision_is_never_imported() -> None:
    """Nor what imports it: beside a torch of another build neither can be."""
    for path in MODULES:
        roots = {module.split(".")[0] for module in imports_of(path)}
        assert not roots & {"torchvision", "torchmetrics"}, path


def test_pickle_is_never_imported() -> None:
    """But for what travels between our own processes, which no file ever holds."""
    for path in MODULES:
        if name_of(path) == "triptych.data.workers":
            continue
        roots = {module.split(".")[0] for module in imports_of(path)}
        assert not roots & {"pickle", "shelve", "joblib"}, path
        assert "torch.load(" not in path.read_text(), path


@pytest.mark.parametrize("module", ["triptych", "triptych.cli.main", "triptych.pages"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert module in found
    assert not {"torch", "scipy", "matplotlib", "pyarrow", "torchvision"} & set(found)


def test_workers_load_little() -> None:
    """They start for every new data set, one per core."""
    code = "import sys, triptych.data.ingest; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"torch", "scipy", "matplotlib", "pyarrow", "requests", "huggingface_hub"}
    assert not heavy & set(found)
