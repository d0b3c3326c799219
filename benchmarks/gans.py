"""GAN recipes trained for the same time on the same images, measured on the validation part.

    python benchmarks/gans.py --data DATA ... --models gan:course gan dcgan --budget 5m --out JSON

`dcgan` is a public loop of the same networks as `gan:course`: gans_dcgan.py.
"""

from __future__ import annotations

import statistics
import time

import torch

import gans_dcgan
from trials import Found, Trial, run_trials
from triptych import images
from triptych.config import Budget
from triptych.families.capabilities import Encodes
from triptych.families.protocol import GenerativeModel
from triptych.metrics.labels import recognisable
from triptych.records import Chosen, DiagnosisEvent, Rewound, Scored
from triptych.tasks import reconstruct, sample
from triptych.training import log
from triptych.words import english
from yardstick import SAMPLES, Yardstick, brief

PUBLIC = "dcgan"
TIMED = 50  # single images


def about(yardstick: Yardstick) -> Found:
    """What the classifier makes of real images."""
    return {"real_recognisable": brief(recognisable(yardstick.reading.probabilities))}


def sampled(model: GenerativeModel, trial: Trial) -> Found:
    """All numbers of the samples, and their picture."""
    machine = trial.yardstick.machine
    drawn = sample.sample(model, SAMPLES, 0, machine)
    trial.keep.mkdir(parents=True, exist_ok=True)
    images.grid(drawn[:64]).save(trial.keep / "samples.png")
    times = []
    for number in range(TIMED):
        started = time.perf_counter()
        sample.sample(model, 1, number, machine)
        times.append(time.perf_counter() - started)
    found = trial.yardstick.samples(drawn)
    return found | {"milliseconds_of_one_image": 1000 * statistics.median(times)}


def reconstructed(model: Encodes, trial: Trial) -> Found:
    """How near the refined inversions of validation images come, and their picture."""
    yardstick = trial.yardstick
    again = reconstruct.reconstruct(model, yardstick.real, 0, yardstick.machine)
    pairs = torch.stack([yardstick.real[:32], again[:32]], 1).flatten(0, 1)
    images.grid(pairs).save(trial.keep / "reconstructions.png")
    return yardstick.reconstructions(again)


def measure(trial: Trial) -> Found:
    """Train and measure one of them."""
    if trial.model == PUBLIC:
        data = trial.yardstick.data
        amount = Budget.parse(trial.budget).amount
        peer = gans_dcgan.train(data.train.images, data.shape, amount, trial.seed)
        facts = {"images_seen": peer.images_seen, "seconds": peer.seconds}
        return facts | sampled(peer.model, trial)
    run = trial.train()
    path = run.folder.log
    facts = {
        "images_seen": run.record.images_seen,
        "seconds": run.record.train_seconds,
        "rewinds": [english(event.note) for event in log.events(path, Rewound)],
        "diagnoses": [event.numbers for event in log.events(path, DiagnosisEvent)],
        "scores": {event.images: event.value for event in log.events(path, Scored)},
        "chosen": next((event.images for event in log.events(path, Chosen)), None),
    }
    assert isinstance(run.model, Encodes)
    return facts | sampled(run.model, trial) | reconstructed(run.model, trial)


def said(e: Found) -> str:
    """One line on a model."""
    return (
        f"{e['seconds']:.0f} s, {e['images_seen']} images, "
        f"FD {e['frechet_distance']['value']:.0f}, KD {e['kernel_distance']['value']:.3f}, "
        f"precision {e['precision']:.2f}, recall {e['recall']:.2f}, "
        f"density {e['density']:.2f}, coverage {e['coverage']:.2f}, "
        f"recognisable {e['recognisable']['value']:.2f}, "
        f"balance {e['label_balance']['value']:.2f}, sharpness {e['sharpness']['value']:.2f}, "
        f"rewinds {len(e.get('rewinds', []))}, "
        f"near training {e['near_training']:.3f}, {e['milliseconds_of_one_image']:.1f} ms"
        + (f", {e['reconstruction_psnr']['value']:.1f} dB" if "reconstruction_psnr" in e else "")
    )


if __name__ == "__main__":
    run_trials(__doc__ or "", ["gan:course", "gan", PUBLIC], about, measure, said)
