"""What every test stands on: a cache of its own, one thread, small data."""

from __future__ import annotations

import gc
import os
import signal

# Tests run in parallel processes: one thread each, and none that spins while it waits. Read when
# torch is loaded, so they stand before whatever could load it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("KMP_BLOCKTIME", "0")
# What a script starts in the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.evaluation import classifier, outputs
from triptych.families.gan import inversion, model
from triptych.metrics import real_or_fake
from triptych.pages import exports, formats

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is read from or left in the user's cache.

    Processes that test together prepare images once for all of them: the embedded set takes long.
    """
    folder = tmp_path_factory.mktemp("cache")
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in ("data", "locks"):
            shared = tmp_path_factory.getbasetemp().parent / f"cache-{name}"
            shared.mkdir(exist_ok=True)
            (folder / name).symlink_to(shared, target_is_directory=True)
    before = os.environ.get("TRIPTYCH_CACHE")
    os.environ["TRIPTYCH_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["TRIPTYCH_CACHE"]
    else:
        os.environ["TRIPTYCH_CACHE"] = before


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """What tests write need not outlive the machine; a descriptor must still be one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        yield


@pytest.fixture(autouse=True)
def the_same_chance() -> None:
    """Torch's global generator is where it was for every test, whatever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def one_thread_per_worker() -> Iterator[None]:
    """Beside other workers torch keeps to one thread, whatever a Machine was told or chose."""
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            torch.set_num_threads(1)
            patch.setattr(torch, "set_num_threads", lambda count: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def judges_learn_little() -> Iterator[None]:
    """Classifiers of samples, real images and labels cost the most of a measurement.

    Those that are no test's subject see few images; `test_real_or_fake.py` has the usual number.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real_or_fake, "SEEN", 320)
        patch.setattr(classifier, "LEAST_IMAGES", 4_000)
        yield


@pytest.fixture(autouse=True, scope="session")
def paths_have_few_points() -> Iterator[None]:
    """Every point of a path between images is an image to decode and to look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "POINTS", 4)
        yield


@pytest.fixture(autouse=True, scope="session")
def latents_are_refined_little() -> Iterator[None]:
    """Steps towards the latents of images cost half of what it costs to measure a GAN.

    Those that are no test's subject are few; `test_inversion.py` has as many as are asked for.
    """

    def refine(*given: Any) -> torch.Tensor:
        *rest, steps = given
        return inversion.refine(*rest, min(steps, 10))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "refine", refine)
        yield


@pytest.fixture
def latents_are_refined_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the refinement, or of numbers that hang on it."""
    monkeypatch.setattr(model, "refine", inversion.refine)


@pytest.fixture(autouse=True, scope="session")
def modules_and_tests_are_no_garbage() -> None:
    """Every training collects garbage first, and would look at all that pytest has gathered."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def charts_for_print_are_drawn_once() -> Iterator[None]:
    """Of the same numbers matplotlib draws the same file, in half of the time of a page."""
    drawn: dict[str, Any] = {}

    def once(draw: Callable[..., Any]) -> Callable[..., Any]:
        def known(*asked: Any) -> Any:
            key = repr((draw.__name__, asked))
            if key not in drawn:
                drawn[key] = draw(*asked)
            return drawn[key]

        return known

    with pytest.MonkeyPatch.context() as patch:
        for draw in (exports.plotted, exports.plotted_lines):
            for module in (exports, formats):
                patch.setattr(module, draw.__name__, once(draw))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images beside the checkout; tests that need them skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real images at {SHARED.parent.name}/{SHARED.name} beside the checkout")
    return SHARED
