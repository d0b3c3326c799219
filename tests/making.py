"""Images whose pixels tell their own label and number, and the files that hold them."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import triptych
from triptych import config, files, hardware
from triptych.config import ImageShape
from triptych.data.dataset import ImageData
from triptych.data.decode import Picture, read_pictures
from triptych.data.open import open_images
from triptych.data.sources import BadImageError, Source
from triptych.data.store import ImageSizes, Ingested
from triptych.families import registry
from triptych.families.diffusion.recipes import PatchDiffusion
from triptych.families.registry import ModelName
from triptych.hardware import Machine
from triptych.options import DataOptions
from triptych.records import LabelsRecord, Note, Progress
from triptych.seeding import generator
from triptych.training.run_folder import WEIGHTS, RunFolder, model_metadata, save_weights

CLASSES = 5
STEP = 40  # the first pixel is STEP times the label


def make_images(
    count: int, side: int = 16, channels: int = 3, seed: int = 0, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N,H,W,C) and labels (N,): a bar whose place is the label, over noise.

    The first pixel is STEP times the label, the next two are the image's number.
    """
    rng = np.random.default_rng([seed, start])
    labels = rng.integers(CLASSES, size=count)
    images = rng.integers(0, 90, size=(count, side, side, channels), dtype=np.uint8)
    width = side // CLASSES
    for image, label in zip(images, labels, strict=True):
        image[:, label * width : (label + 1) * width] += 150
    numbers = np.arange(start, start + count)
    images[:, 0, 0] = (labels * STEP)[:, None]
    images[:, 0, 1] = (numbers // 256)[:, None]
    images[:, 0, 2] = (numbers % 256)[:, None]
    return images, labels


def labels_in(images: Any) -> Any:
    """The labels that the pixels tell, from uint8 [N,C,H,W]."""
    return images[:, 0, 0, 0].long() // STEP


def numbers_in(images: Any) -> list[int]:
    """The images' numbers, from uint8 [N,C,H,W]."""
    pixels = images[:, 0, 0].long()
    return (pixels[:, 1] * 256 + pixels[:, 2]).tolist()


def encode(image: np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    """A file's bytes from uint8 (H,W) or (H,W,C)."""
    buffer = io.BytesIO()
    squeezed = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    Image.fromarray(squeezed).save(buffer, format=format, **options)
    return buffer.getvalue()


def read_first(content: bytes | Path | np.ndarray | BadImageError) -> Picture:
    """The first image of an item's content; BadImageError where it is bad."""
    first = next(read_pictures(content).each)
    if isinstance(first, BadImageError):
        raise first
    return first


def write_folder(
    folder: Path, images: np.ndarray, labels: np.ndarray | None = None, prefix: str = ""
) -> Path:
    """PNG files, in a sub-folder per class where labels are given."""
    for index, image in enumerate(images):
        place = folder if labels is None else folder / f"class-{labels[index]}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{prefix}{index:04d}.png").write_bytes(encode(image))
    return folder


def write_npz(path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Path:
    arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def write_parquet(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    struct: bool = True,
    names: list[str] | None = None,
) -> Path:
    """Parquet as the Hub writes it, or with raw bytes."""
    cells: list[Any] = [encode(image) for image in images]
    if struct:
        cells = [{"bytes": cell, "path": None} for cell in cells]
    columns: dict[str, Any] = {"image": cells}
    if labels is not None:
        columns["label"] = labels.tolist()
    table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        written = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({b"huggingface": written.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def beyond_the_usual(source: Source) -> tuple[Note, ...]:
    """The notes on a source but for those on where its labels and parts come from."""
    usual = ("labels_from_column", "parts_from_names", "classes_from_folders")
    return tuple(note for note in source.notes if note.code not in usual)


def open_tiny(
    folder: Path, count: int = 400, labeled: bool = True, mislabeled: bool = False
) -> ImageData:
    """A small data set, opened at resolution 16; where mislabeled, labels are drawn by lot."""
    images, labels = make_images(count)
    if mislabeled:
        labels = np.random.default_rng(7).integers(2, size=count)
    path = write_npz(folder / "bars.npz", images, labels if labeled else None)
    return open_images(str(path), DataOptions(resolution=16))


def heed_interrupts() -> None:
    """For a child process, which would ignore these if we were started in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def one_thread() -> Machine:
    """The slowest machine there is: the same everywhere."""
    return hardware.pick("cpu", "fp32", threads=1)


def progress_at(seen: int, **more: Any) -> Progress:
    """What a checkpoint at that image tells of itself."""
    plain = {"phase": 0, "seen": seen, "rewinds": 0, "in_a_row": {}, "returned": False}
    return Progress(**{**plain, "seconds": 1.0, "log_bytes": 0, **more})


def ingested(**changes: Any) -> Ingested:
    """The record of a stored data set, with some values changed."""
    sizes = ImageSizes(
        different=2,
        smallest=(10, 10),
        largest=(40, 20),
        usual=(40, 20),
        of_usual_size=29,
        narrowest=1.0,
        widest=2.0,
    )
    values: dict[str, Any] = {
        "name": "a",
        "classes": None,
        "files": 100,
        "bad": (("a.png", "empty"),),
        "copies": 3,
        "crossing": 2,
        "faint": 90,
        "unread": 0,
        "sizes": sizes,
        "given_parts": ("test",),
        "notes": (),
        "ranges": {},
        "content": "",
    }
    return Ingested(**values | changes)


def untrained_diffusion(folder: Path, counts: tuple[int, ...], model: str = "consistency") -> Path:
    """A finished run of small networks that nobody trained, stirred so that no weight is zero.

    It takes two steps, the consistency model's with noise between them.
    counts: training images of each class
    """
    names = tuple("abcdefgh"[: len(counts)])
    shape = ImageShape(channels=3, resolution=8, classes=len(counts))
    name = ModelName("diffusion", model)
    settings = registry.defaults(name, "tiny", shape)
    assert isinstance(settings, PatchDiffusion)
    settings = replace(settings, widths=(8,), attention=(False,), steps=2)
    network = registry.build(name, settings, shape, seed=0)
    rng = generator(0, "stir")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    run, settings_json = RunFolder(folder), config.to_json(settings)
    record = RunFolder(Path(__file__).parent / "earlier" / "gan").read()
    files.make_folder(folder)
    metadata = model_metadata(name, settings_json, shape)
    digest = save_weights(run.weights, network.state_dict(), metadata)
    run.write(
        replace(
            record,
            model=str(name),
            family=name.family,
            recipe=name.recipe,
            settings=settings_json,
            data=replace(record.data, resolution=8, classes=names),
            labels=LabelsRecord(names=names, counts=counts),
            digests={WEIGHTS: digest},
        )
    )
    return folder


def evaluated(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
    """What `evaluate` gives, as results.json holds it."""
    return [results.to_json() for results in triptych.evaluate(*arguments, **options)]


def tf32() -> tuple[str, str]:
    """In which precision GPUs convolve and multiply numbers in float32, by PyTorch's switches."""
    cudnn: Any = torch.backends.cudnn  # its types lack them
    return cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


@contextmanager
def tf32_set(convolutions: str, matrices: str) -> Iterator[None]:
    """Inside, these switches are set so."""
    cudnn: Any = torch.backends.cudnn
    switches, before = (cudnn.conv, torch.backends.cuda.matmul), tf32()
    for switch, precision in zip(switches, (convolutions, matrices), strict=True):
        switch.fp32_precision = precision
    yield
    for switch, precision in zip(switches, before, strict=True):
        switch.fp32_precision = precision
