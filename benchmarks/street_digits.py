"""How real street-digits looks: what a reader trained on it alone makes of real SVHN digits.

Prints one JSON document: accuracy of a small convolutional classifier, over several seeds, on the
set's own test split and on a folder of real pictures; channel statistics of both; pictures drawn
per second. A real picture is any RGB file of 32x32 pixels whose name ends in _LABEL.png.

    python benchmarks/street_digits.py --real FOLDER --out benchmarks/results/street_digits.json
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.data.street_digits import VERSION, draw, draw_many

EPOCHS, BATCH, PEAK_RATE = 8, 128, 3e-3


def classifier() -> nn.Sequential:
    """x [B,3,32,32] on [0, 1] -> logits [B,10]."""

    def block(channels_in: int, channels_out: int, size: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False)
        return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]

    return nn.Sequential(
        nn.InstanceNorm2d(3),
        *block(3, 32, 5, 2),
        *block(32, 48, 3, 1),
        nn.MaxPool2d(2),
        *block(48, 96, 3, 1),
        nn.MaxPool2d(2),
        *block(96, 96, 3, 1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(96 * 16, 10),
    ).to(memory_format=torch.channels_last)


def as_input(images: Tensor) -> Tensor:
    """Pictures for the classifier: uint8 to [0, 1]."""
    return (images.float() / 255).contiguous(memory_format=torch.channels_last)


def train(images: Tensor, labels: Tensor, seed: int) -> nn.Sequential:
    """Train a classifier with AdamW and one learning-rate cycle."""
    torch.manual_seed(seed)
    model = classifier()
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_RATE, weight_decay=0.02)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images))[: steps // EPOCHS * BATCH].split(BATCH):
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(as_input(images[rows]))
            loss = F.cross_entropy(logits.float(), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor) -> Tensor:
    """Digits read: [N]."""
    return torch.cat([model(as_input(part)).argmax(1) for part in images.split(500)])


def real_digits(folder: Path) -> tuple[Tensor, Tensor]:
    """Pictures of a folder, uint8 [N,3,32,32], and the labels in their names, [N]."""
    files = sorted(folder.glob("*_[0-9].png"))
    if not files:
        sys.exit(f"no picture named INDEX_LABEL.png in {folder}")
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    labels = [int(file.stem[-1]) for file in files]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def channel_statistics(images: NDArray[np.uint8]) -> dict[str, list[float]]:
    """Mean and standard deviation over all pixels, per channel, on [0, 1]."""
    pixels = images / 255.0
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    return {"mean": [round(float(v), 4) for v in mean], "std": [round(float(v), 4) for v in std]}


def speed() -> dict[str, float]:
    """Pictures per second: of one core's own time, and by the clock from two new processes."""
    draw("train", range(20))  # builds the glyphs
    start = time.process_time()
    draw("train", range(2000))
    of_one_core = 2000 / (time.process_time() - start)
    start = time.perf_counter()
    draw_many("train", 20_000, processes=2)
    by_the_clock = 20_000 / (time.perf_counter() - start)
    return {"of_one_core": round(of_one_core), "two_processes_by_the_clock": round(by_the_clock)}


def main() -> None:
    """Train, read, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--real", type=Path, required=True, help="folder of INDEX_LABEL.png files")
    parser.add_argument("--train", type=int, default=20_000, help="pictures to train on")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    real, real_labels = real_digits(arguments.real)
    images, labels = (torch.from_numpy(a) for a in draw_many("train", arguments.train))
    held_out, held_out_labels = (torch.from_numpy(a) for a in draw_many("test", 4000))
    on_test, on_real = [], []
    for seed in range(arguments.seeds):
        model = train(images, labels, seed)
        on_test.append((predictions(model, held_out) == held_out_labels).float().mean().item())
        on_real.append((predictions(model, real) == real_labels).float().mean().item())
        print(f"seed {seed}: test {on_test[-1]:.3f}, real {on_real[-1]:.3f}", file=sys.stderr)
    result = {
        "version": VERSION,
        "train_pictures": arguments.train,
        "accuracy_on_test_split": [round(value, 4) for value in on_test],
        "accuracy_on_real": [round(value, 4) for value in on_real],
        "real_pictures": len(real),
        "channels": channel_statistics(images.numpy()),
        "channels_of_real": channel_statistics(real.numpy()),
        "pictures_per_second": speed(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
