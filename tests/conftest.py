"""What every test stands on: a cache of its own, one thread, small data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in parallel processes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is read from or left in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("TRIPTYCH_CACHE")
    os.environ["TRIPTYCH_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["TRIPTYCH_CACHE"]
    else:
        os.environ["TRIPTYCH_CACHE"] = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images beside the checkout; tests that need them skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real images at {SHARED.parent.name}/{SHARED.name} beside the checkout")
    return SHARED
