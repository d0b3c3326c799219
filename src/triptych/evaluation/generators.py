"""Generators that others trained, sampled so that they can be measured.

diffusers:FOLDER_OR_NAME  a pipeline of diffusers that needs nothing but a count
pt2:FILE                  a program that `torch.export.save` wrote: z [N,d] -> images [N,C,H,W]
onnx:FILE                 the same in ONNX
a torch module            the same, in Python

Images are on [-1, 1]; z is standard normal and drawn as our own models' latents are: a stream for
each image. Nothing that a file holds is unpickled.
"""

from __future__ import annotations

import inspect
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from triptych import files, images
from triptych.errors import ANYTHING, InputError, first_line
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.hardware import Machine
from triptych.seeding import ImageStreams, generator
from triptych.tasks import shared

INSTALL = "pip install 'triptych[elsewhere]'"
ONLY_TENSORS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch then unpickles nothing but tensors
FARTHEST = 10.0  # on [-1, 1] no generator goes so far beyond the ends: it means 0 to 255
# Images on [0, 1] may pass its ends by a slack, and by more in a few values, but are nowhere dark.
SLACK, FEW = 0.1, 0.01
DARK, HARDLY_ANY = -0.5, 1e-4
HALF = 0.5  # what images on [0, 1] reach somewhere
SAVE_THEM = "save its samples as images and name these"


@dataclass(frozen=True)
class Generator:
    """What makes samples.

    name: for messages
    draw: numbers of images and the device -> images, float on [-1, 1] or uint8, [N,C,H,W]
    """

    name: str
    draw: Callable[[range, str], Tensor]


def sample(
    made_by: Generator, count: int, machine: Machine, report: Callable[[int], None]
) -> Tensor:
    """So many samples, uint8 [N,C,H,W], in float32.

    InputError where what comes is no images on [-1, 1].
    """
    ends = [math.inf, -math.inf]
    beyond = Counter[str]()  # values, and how many of them lie where those on [0, 1] do not

    def draw(numbers: range) -> Tensor:
        with failing(made_by.name, "cannot be sampled", SAVE_THEM):
            drawn = made_by.draw(numbers, machine.device)
        check_drawn(drawn, len(numbers), made_by.name)
        if drawn.dtype == torch.uint8:
            return drawn
        drawn = drawn.float()
        if not drawn.isfinite().all():
            raise InputError(f"{made_by.name} makes images that are not finite", "mend it")
        ends[0], ends[1] = min(ends[0], drawn.min().item()), max(ends[1], drawn.max().item())
        beyond["all"] += drawn.numel()
        beyond["below"] += int((drawn < -SLACK).sum())
        beyond["dark"] += int((drawn < DARK).sum())
        beyond["above"] += int((drawn > 1 + SLACK).sum())
        return images.to_uint8(drawn)

    drawn = shared(draw, count, replace(machine, precision="fp32"), report=report)
    low, high = ends
    few = max(beyond["below"], beyond["above"]) <= FEW * beyond["all"]
    # A network that has learned nothing may stay near 0 and be meant for [-1, 1].
    on_unit = few and beyond["dark"] <= HARDLY_ANY * beyond["all"] and (low >= 0 or high > HALF)
    if low <= high and (max(-low, high) > FARTHEST or on_unit):
        raise InputError(
            f"{made_by.name} makes images from {low:.4g} to {high:.4g}, not from -1 to 1",
            "scale them: 2 * x - 1 of images from 0 to 1, x / 127.5 - 1 of those from 0 to 255",
        )
    return drawn


def check_drawn(drawn: object, count: int, name: str) -> None:
    """InputError unless these are so many images [N,C,H,W]."""
    if not isinstance(drawn, Tensor):
        raise InputError(f"{name} gives {type(drawn).__name__}, no tensor", SAVE_THEM)
    pixels = drawn.dtype == torch.uint8 or drawn.is_floating_point()
    if drawn.ndim != 4 or len(drawn) != count or drawn.shape[1] not in (1, 3) or not pixels:
        shape = f"{str(drawn.dtype).removeprefix('torch.')} {tuple(drawn.shape)}"
        raise InputError(
            f"{name} gives {shape} for {count} latents",
            "it must give images (N,C,H,W) with C 1 or 3",
        )


@contextmanager
def failing(name: str, wrong: str, mend: str) -> Iterator[None]:
    """Inside, whatever another's code raises becomes an InputError of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except ANYTHING as error:
        raise InputError(f"{name} {wrong} ({first_line(error)})", mend) from error


def needs(package: str, name: str) -> Any:
    """An optional package; InputError with the command that installs it where it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return __import__(package)
    except ANYTHING as error:
        raise InputError(f"{name} needs {package} ({first_line(error)})", INSTALL) from error


def of_function(
    name: str, function: Callable[[Tensor], Any], shape: Sequence[int], batch: int | None
) -> Generator:
    """A generator of a function of latents.

    shape: of the latent of one image
    batch: latents that it takes at once, where it takes no other number
    """

    def draw(numbers: range, device: str) -> Tensor:
        z = ImageStreams(EVALUATION_SEED, "sample", numbers, device).normal(*shape)
        if batch is None:
            return function(z)
        parts = torch.split(z, batch)
        full = [torch.cat([z_, z_.new_zeros(batch - len(z_), *z_.shape[1:])]) for z_ in parts]
        return torch.cat([function(z_)[: len(own)] for z_, own in zip(full, parts, strict=True)])

    return Generator(name, draw)


def latent_shape(sizes: Sequence[object], name: str) -> tuple[list[int], int | None]:
    """The shape of one latent, and the fixed number at once if any, from an input's signature."""
    latent = [size for size in sizes[1:] if isinstance(size, int) and size > 0]
    if len(sizes) < 2 or len(latent) < len(sizes) - 1:
        shown = ", ".join(map(str, sizes))
        raise InputError(
            f"{name} takes an input of shape ({shown})", "export it with one input z of shape (N,d)"
        )
    first = sizes[0]
    return latent, first if isinstance(first, int) and first > 0 else None


# torch modules


def of_module(module: nn.Module, latent: int | None, machine: Machine) -> Generator:
    """A generator of a module z -> images; it is put into evaluation mode and on the device.

    `left_as_it_was` undoes both.

    latent: the length d of z; None takes the inputs of the module's first layer
    """
    name = type(module).__name__
    shape = [latent] if latent is not None else inputs_of(module, name)
    if min(shape) < 1:
        raise InputError(f"latent={latent} is too short", "give 1 or more")
    return of_function(name, module.to(machine.device).eval(), shape, None)


@contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Afterwards a module is in the mode and on the device that it was found in."""
    training = [each for each in module.modules() if each.training]
    device = next((each.device for each in chain(module.parameters(), module.buffers())), None)
    try:
        yield
    finally:
        for each in training:
            each.training = True
        if device is not None:
            module.to(device)


def inputs_of(module: nn.Module, name: str) -> list[int]:
    """The shape of a latent that the first layer takes."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            return [layer.in_features]
        if isinstance(layer, nn.ConvTranspose2d):
            return [layer.in_channels, 1, 1]
        if not any(True for _ in layer.children()):
            break  # it begins with something else
    raise InputError(
        f"the length of the latents of {name} cannot be told from its first layer",
        "give it: latent=128",
    )


# Files


def of_pt2(path: Path, machine: Machine) -> Generator:
    """A generator that `torch.export.save` wrote; its input's signature tells the latent."""
    name = f"pt2:{path}"
    require_file(path, name)
    with failing(name, "cannot be read", "write it by torch.export.save"), only_tensors():
        program = torch.export.load(path)
        module = program.module().to(machine.device)
    wanted = set(program.graph_signature.user_inputs)
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in wanted]
    sizes: list[object] = []
    if len(inputs) == 1 and isinstance(inputs[0], Tensor):
        sizes = [size if isinstance(size, int) else str(size) for size in inputs[0].shape]
    return of_function(name, module, *latent_shape(sizes, name))


@contextmanager
def only_tensors() -> Iterator[None]:
    """Inside, torch refuses to unpickle what is no tensor, even where its own code would."""
    before = os.environ.get(ONLY_TENSORS)
    os.environ[ONLY_TENSORS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[ONLY_TENSORS]
        else:
            os.environ[ONLY_TENSORS] = before


def of_onnx(path: Path, machine: Machine) -> Generator:
    """A generator in ONNX; its input's signature tells the latent."""
    name = f"onnx:{path}"
    require_file(path, name)
    runtime = needs("onnxruntime", name)
    with failing(name, "cannot be read", "export it again"):
        options = runtime.SessionOptions()
        options.intra_op_num_threads = machine.threads
        options.log_severity_level = 3  # errors alone
        session = runtime.InferenceSession(
            str(path), options, providers=runtime.get_available_providers()
        )
        inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        held = ", ".join(f"{each.name} {each.type}" for each in inputs)
        raise InputError(
            f"{name} takes {held or 'no input'}", "export it with one input z of float32"
        )

    def call(z: Tensor) -> Tensor:
        first = session.run(None, {inputs[0].name: z.cpu().numpy().astype(np.float32)})[0]
        return torch.from_numpy(np.asarray(first))

    return of_function(name, call, *latent_shape(inputs[0].shape, name))


def require_file(path: Path, name: str) -> None:
    """InputError where there is no such file."""
    if not path.is_file():
        raise InputError(f"no file for {name}", "check the path")


# diffusers


def of_diffusers(source: str, machine: Machine) -> Generator:
    """A pipeline of diffusers, of a folder or of the Hub, with its own default settings."""
    name = f"diffusers:{source}"
    diffusers = needs("diffusers", name)
    with failing(name, "cannot be loaded", "name the folder of a pipeline, or owner/name"):
        pipeline = diffusers.DiffusionPipeline.from_pretrained(source, use_safetensors=True)
        pipeline = pipeline.to(machine.device)
        pipeline.set_progress_bar_config(disable=True)
    needed = inspect.signature(pipeline.__call__).parameters
    wants = [
        each.name
        for each in needed.values()
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    if "batch_size" not in needed or wants or "prompt" in needed:
        what = ", ".join(wants) or "a prompt"
        raise InputError(f"{name} needs {what} besides a count", SAVE_THEM)

    def draw(numbers: range, device: str) -> Tensor:
        noise = [generator(EVALUATION_SEED, "sample", number) for number in numbers]
        made = pipeline(batch_size=len(numbers), generator=noise, output_type="pil").images
        pixels = [np.asarray(image) for image in made]
        stacked = np.stack([each[..., None] if each.ndim == 2 else each for each in pixels])
        return images.from_array(stacked)

    return Generator(name, draw)


Maker = Callable[[str, Machine], Generator]
GENERATORS: dict[str, Maker] = {  # by the word before the colon
    "diffusers": of_diffusers,
    "pt2": lambda path, machine: of_pt2(files.expanded(path), machine),
    "onnx": lambda path, machine: of_onnx(files.expanded(path), machine),
}
