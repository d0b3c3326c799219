"""How long a comparison will take, by the time of a few steps before it begins."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from triptych.evaluation.evaluate import MeasuringSampler, with_measuring_sampler
from triptych.evaluation.outputs import CHAINS, POINTS, SAMPLES
from triptych.evaluation.reference import CONTROLS, PAIRS, RECONSTRUCTED_IMAGES
from triptych.families import registry
from triptych.families.capabilities import Iterative
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.records import Note
from triptych.tasks import at_once, sample
from triptych.training.calibration import forecast_seconds
from triptych.training.resolve import ResolvedRequest
from triptych.words import Words

FEW_STEPS = 2  # of a sampler, whose steps all take as long


def forecast(
    requests: Sequence[ResolvedRequest],
    trained: Collection[ResolvedRequest],
    samplers: Mapping[str, MeasuringSampler],
    count: int,
    machine: Machine,
) -> Note:
    """The wait, as far as it can be foretold: training, and the images that measuring decodes.

    trained:  those of the requests that are trained already
    samplers: by the model's name, of models that are not sampled by their own while measuring
    count:    samples of each
    """
    waiting = [request for request in requests if request not in trained]
    with machine.fastest_threads():
        training = sum(forecast_seconds(request, machine) for request in waiting)
        decoding = sum(
            seconds_decoding(request, samplers.get(str(request.name)), count, machine)
            for request in requests
        )
    words = Words()
    values = {"training": words.time(training), "measuring": words.time(decoding)}
    return Note("wait", {"n": len(waiting), **values})


def images_decoded(count: int) -> int:
    """How many images the measurements decode of a model, or do as much work for.

    Samples, both kinds of paths, and reconstructions, whose encoding takes a chain about twice as
    long as decoding does.
    """
    encoded = RECONSTRUCTED_IMAGES + CONTROLS + 2 * PAIRS
    return count + 2 * PAIRS * POINTS + RECONSTRUCTED_IMAGES + CONTROLS + 2 * encoded


def seconds_decoding(
    request: ResolvedRequest, sampler: MeasuringSampler | None, count: int, machine: Machine
) -> float:
    """Of all that is decoded of a model, by the time of a batch of its untrained network.

    A chain is timed on a few of its steps, and the curve of its quality over network calls added.
    """
    model = registry.build(request.name, request.settings, request.shape, request.seed)
    model, _ = with_measuring_sampler(registry.place(model, machine.device).eval(), sampler)
    timed = model
    calls = model.network_calls * images_decoded(count)
    if isinstance(model, Iterative):
        if model.network_calls > FEW_STEPS:
            timed = model.with_sampler(steps=FEW_STEPS)
        for name in CHAINS.keys() & model.samplers:
            for steps in CHAINS[name]:
                calls += min(SAMPLES, count) * calls_of(model.with_sampler(name, steps))

    batch = at_once(machine)

    def drawn() -> float:
        started = time.perf_counter()
        sample.sample(timed, batch, request.seed, machine)
        return time.perf_counter() - started

    drawn()  # the first time takes longer
    return drawn() / batch / timed.network_calls * calls


def calls_of(model: Iterative) -> int:
    """Network calls for each sample of a chain."""
    assert isinstance(model, GenerativeModel)
    return model.network_calls
