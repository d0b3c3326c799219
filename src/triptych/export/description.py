"""What lies beside exported programs: export.json for machines, README.md for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from triptych import files, hardware
from triptych.console import Console
from triptych.export.programs import Programs
from triptych.families.diffusion.model import NoiseToImage
from triptych.records import (
    SCHEMA,
    ExportRecord,
    ProgramRecord,
    SamplerRecord,
    TensorRecord,
)
from triptych.run import Run
from triptych.words import english

JSON, README = "export.json", "README.md"
HOLDS = {
    "normal": "standard normal numbers",
    "uniform": "numbers drawn evenly from [0, 1)",
    "class": "the number of a class in `classes` of export.json; one more than the last: unknown",
    "latent": "of a latent",
    "shares": "weights of classes or groups, the last one unknown",
    "images": "images on [-1, 1]",
    "sigma": "deviation of the noise on that scale",
}
PURPOSES = {
    "draw": "random numbers to latents",
    "sample": "latents to images",
    "encode": "images to latents",
    "denoise": "one call of the network: noisy images to the clean ones that it expects",
}
PIXELS = "pixels = images.add(1).div(2 / 255).round().clamp(0, 255).to(torch.uint8)"


def write_description(
    out: Path,
    format: str,
    run: Run,
    made: Programs,
    programs: Mapping[str, ProgramRecord],
    console: Console,
) -> None:
    """Write both files, and tell the notes.

    programs: as they were measured, by name
    """
    record = ExportRecord(
        schema=SCHEMA,
        format=format,
        model=run.record.model,
        images_seen=run.record.total_images,
        resolution=run.record.data.resolution,
        channels=run.record.data.channels,
        classes=None if run.labels is None else run.labels.names,
        class_counts=None if run.labels is None else run.labels.counts,
        sampler=sampler_of(made),
        programs=dict(programs),
        absent=made.absent,
        notes=made.notes,
        versions=hardware.versions(),
    )
    files.write_json(out / JSON, record.to_json())
    files.write_bytes(out / README, readme(record).encode())
    for note in made.notes:
        console.say(f"note: {english(note)}")


def sampler_of(made: Programs) -> SamplerRecord | None:
    """The sampler that `sample` holds; None for a model that decodes in one call."""
    model = made.model
    if not isinstance(model, NoiseToImage):
        return None
    own = model.sampling
    return SamplerRecord(
        name=own.name,
        steps=own.steps,
        eta=own.eta,
        guidance=own.guidance,
        network_calls=model.network_calls,
    )


def readme(record: ExportRecord) -> str:
    """The text of README.md: how to use the programs, and what goes in and comes out."""
    ending = record.format if record.format != "safetensors" else "py"
    parts = [
        f"# {record.model}",
        f"Trained by triptych on {record.images_seen:,} images seen. Draw images:",
        f"```python\n{SNIPPETS[record.format](record)}\n```",
        "N is any number of images. Images are float32 about [-1, 1].",
    ]
    if record.classes is not None:
        parts.append("Classes are drawn as often as they are among the training images.")
    for name, program in record.programs.items():
        title = f"`{name}`" if ending == "py" else f"`{name}.{ending}`"
        lines = [f"## {title}: {PURPOSES[name]}", ""]
        lines += [f"- in: {described(each)}" for each in program.inputs]
        lines += [f"- out: {described(each)}" for each in program.outputs]
        if program.difference is not None:
            lines.append(f"- differs from the run's own output by at most {program.difference:.2g}")
        parts.append("\n".join(lines))
    if record.sampler is not None:
        own = record.sampler
        parts.append(
            f"`sample` holds {own.steps} steps of {own.name}, guidance {own.guidance:g}: "
            f"{own.network_calls} calls of the network."
        )
    parts += [f"There is no `{name}`: {english(note)}" for name, note in record.absent.items()]
    parts += [f"Note: {english(note)}" for note in record.notes]
    return "\n\n".join(parts) + "\n"


def described(tensor: TensorRecord) -> str:
    """One input or output in a line."""
    return f"{tensor.name} {shape_of(tensor)} {tensor.dtype}: {HOLDS[tensor.holds]}"


def shape_of(tensor: TensorRecord) -> str:
    """As code has it: [N,3,32,32]."""
    return f"[{','.join(['N', *map(str, tensor.shape[1:])])}]"


def drawn(tensors: Sequence[TensorRecord], with_numpy: bool) -> str:
    """The code that draws the inputs of that kind, each for `n` images; classes by `counts`."""
    code = []
    for each in tensors:
        sizes = ", ".join(["n", *map(str, each.shape[1:])])
        if each.holds == "class":
            code.append(
                "rng.choice(len(counts), n, p=counts / counts.sum())"
                if with_numpy
                else "torch.multinomial(counts, n, replacement=True)"
            )
        elif each.holds in ("normal", "uniform"):
            shape = f"({sizes},)" if len(each.shape) == 1 else f"({sizes})"
            name = "standard_normal" if each.holds == "normal" else "random"
            torch_name = "randn" if each.holds == "normal" else "rand"
            code.append(
                f"rng.{name}({shape}, dtype=np.float32)"
                if with_numpy
                else f"torch.{torch_name}({sizes})"
            )
    return ", ".join(code)


def calls(record: ExportRecord, with_numpy: bool = False) -> tuple[str, str]:
    """The arguments of `draw` and of `sample`."""
    noise = drawn(record.programs["sample"].inputs, with_numpy)
    return (
        drawn(record.programs["draw"].inputs, with_numpy),
        f"*latents, {noise}" if noise else "*latents",
    )


def counts_of_classes(record: ExportRecord, with_numpy: bool = False) -> tuple[str, str]:
    """The import, and the line before the draw, that read `counts` of classes; or nothing."""
    if record.class_counts is None:
        return "", ""
    read = 'json.load(open("export.json"))["class_counts"]'
    made = f"np.array({read})" if with_numpy else f"torch.tensor({read}).double()"
    return "import json\n", f"counts = {made}\n"


def with_torch(record: ExportRecord) -> str:
    """Of programs of torch.export."""
    draw, sample = calls(record)
    imports, counts = counts_of_classes(record)
    return f"""{imports}import torch

def program(name):
    return torch.export.load(f"{{name}}.pt2").module()

n = 16
{counts}latents = program("draw")({draw})
images = program("sample")({sample})
{PIXELS}"""


def with_onnx(record: ExportRecord) -> str:
    """Of programs in ONNX."""
    draw, sample = calls(record, with_numpy=True)
    imports, counts = counts_of_classes(record, with_numpy=True)
    return f"""{imports}import numpy as np
import onnxruntime

def program(name):
    session = onnxruntime.InferenceSession(f"{{name}}.onnx")
    names = [each.name for each in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs)))

n, rng = 16, np.random.default_rng()
{counts}latents = program("draw")({draw})
[images] = program("sample")({sample})
pixels = np.clip(np.rint((images + 1) / np.float32(2 / 255)), 0, 255).astype(np.uint8)"""


def with_module(record: ExportRecord) -> str:
    """Of weights and a module."""
    draw, sample = calls(record)
    imports, counts = counts_of_classes(record)
    return f"""{imports}import torch
from model import Model

model, n = Model.load("model.safetensors"), 16
{counts}with torch.no_grad():
    latents = model.draw({draw})
    images = model.sample({sample})
{PIXELS}"""


SNIPPETS = {"pt2": with_torch, "onnx": with_onnx, "safetensors": with_module}
