"""GAN recipes trained for the same time on the same images, measured on the validation part.

    python benchmarks/gans.py --data DATA ... --models gan:course gan dcgan --budget 5m --out JSON

`dcgan` is a public loop of the same networks as `gan:course`: gans_dcgan.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import gans_dcgan
import triptych
from triptych import hardware, images
from triptych.config import Budget, Size
from triptych.evaluation.shares import recognisable
from triptych.families.base import Encodes, GenerativeModel
from triptych.reading import open_images
from triptych.tasks import reconstruction, sampling
from yardstick import SAMPLES, Yardstick

PUBLIC = "dcgan"
TIMED = 50  # single images


def measured(model: GenerativeModel, yardstick: Yardstick, keep: Path) -> dict[str, Any]:
    """All numbers of a trained model, and its picture."""
    machine = yardstick.machine
    drawn = sampling.sample(model, SAMPLES, 0, machine)
    keep.mkdir(parents=True, exist_ok=True)
    images.grid(drawn[:64]).save(keep / "samples.png")
    found = yardstick.samples(drawn)
    times = []
    for number in range(TIMED):
        started = time.perf_counter()
        sampling.sample(model, 1, number, machine)
        times.append(time.perf_counter() - started)
    found["milliseconds_of_one_image"] = 1000 * statistics.median(times)
    if isinstance(model, Encodes):
        again = reconstruction.reconstruct(model, yardstick.real, 0, machine)
        pairs = torch.stack([yardstick.real[:32], again[:32]], 1).flatten(0, 1)
        images.grid(pairs).save(keep / "reconstructions.png")
        found |= yardstick.reconstructions(again)
    return found


def trained(
    name: str, yardstick: Yardstick, budget: str, size: Size, sets: list[str], seed: int, keep: Path
) -> dict[str, Any]:
    """Train and measure one of them."""
    data, machine = yardstick.data, yardstick.machine
    if name == PUBLIC:
        amount = Budget.parse(budget).amount
        peer = gans_dcgan.train(data.train.images, data.shape, amount, seed)
        facts = {"images_seen": peer.images_seen, "seconds": peer.seconds}
        return facts | measured(peer.model, yardstick, keep)
    run = triptych.train(
        name,
        data,
        budget=budget,
        size=size,
        seed=seed,
        overrides=sets,
        out=keep,
        machine=machine,
    )
    events = [json.loads(line) for line in run.folder.log.read_text().splitlines()]
    last = [event["numbers"] for event in events if event["event"] == "diagnosis"][-1:]
    facts = {
        "images_seen": run.facts["images_seen"],
        "seconds": run.facts["train_seconds"],
        "rewinds": [event["message"] for event in events if event["event"] == "rewind"],
        "last_diagnosis": last[0] if last else {},
        "scores": {e["images"]: e["value"] for e in events if e["event"] == "score"},
        "chosen": next((e["images"] for e in events if e["event"] == "choice"), None),
    }
    return facts | measured(run.model, yardstick, keep)


def said(name: str, e: dict[str, Any]) -> str:
    """One line on a model."""
    return (
        f"{name}: {e['seconds']:.0f} s, {e['images_seen']} images, "
        f"FD {e['frechet_distance']['value']:.0f}, KD {e['kernel_distance']['value']:.3f}, "
        f"precision {e['precision']:.2f}, recall {e['recall']:.2f}, "
        f"density {e['density']:.2f}, coverage {e['coverage']:.2f}, "
        f"recognisable {e['recognisable']['value']:.2f}, "
        f"balance {e['label_balance']['value']:.2f}, sharpness {e['sharpness']['value']:.2f}, "
        f"rewinds {len(e.get('rewinds', []))}, "
        f"near training {e['near_training']:.3f}, {e['milliseconds_of_one_image']:.1f} ms"
        + (f", {e['reconstruction_psnr']['value']:.1f} dB" if "reconstruction_psnr" in e else "")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, help="as `triptych train` takes it")
    parser.add_argument("--models", nargs="+", default=["gan:course", "gan", PUBLIC])
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--size", default="tiny", choices=["tiny", "small", "base"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="settings of our recipes")
    parser.add_argument("--keep", type=Path, help="a folder for the runs and their pictures")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    asked = parser.parse_args()
    machine = hardware.pick(threads=asked.threads)
    found: dict[str, Any] = {
        "threads": asked.threads,
        "size": asked.size,
        "budget": asked.budget,
        "data": {},
    }
    for source in asked.data:
        yardstick = Yardstick(open_images(source), machine)
        name, probabilities = yardstick.data.name, yardstick.reading.probabilities
        entry: dict[str, Any] = {"real_recognisable": asdict(recognisable(probabilities))}
        found["data"][name] = entry
        for model, seed in itertools.product(asked.models, asked.seeds):
            label = f"{model} seed {seed}"
            with tempfile.TemporaryDirectory() as scratch:
                folder = f"{name}-{label.replace(':', '-').replace(' ', '-')}"
                place = (asked.keep or Path(scratch)) / folder
                entry[label] = trained(
                    model, yardstick, asked.budget, asked.size, asked.set, seed, place
                )
            print(name, said(label, entry[label]), flush=True)
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    hardware.keep_memory()
    main()
