"""Sliders of a notebook: what of a model's samples can be moved, and the picture that follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triptych import images
from triptych.errors import ANYTHING, InputError
from triptych.families.capabilities import Encodes, Iterative, Refines, is_guided
from triptych.families.labels import Labels
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.tasks import sample
from triptych.tasks.traverse import REACH, Unit, most_varied

UNITS = 6  # sliders of latent units
LOOKED_AT = 64  # samples over which the units that vary most are found
SEEDS = 100
MOST_STEPS = 100
MOST_GUIDANCE = 8.0
TEMPERATURES = (0.1, 1.5)
ANY = "any"  # the choice of no class in particular

Value = int | float | str


@dataclass(frozen=True)
class Slider:
    """A number that can be moved; whole numbers where all of these are."""

    name: str
    start: float
    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Choice:
    """One of several texts, the first one to start with."""

    name: str
    options: tuple[str, ...]


def controls_of(
    model: GenerativeModel, labels: Labels | None, units: Sequence[Unit]
) -> list[Slider | Choice]:
    """What can be moved of a model: of its sampler, its classes and its latents, if it has any."""
    controls: list[Slider | Choice] = [Slider("seed", 0, 0, SEEDS - 1, 1)]
    if labels is not None:
        named = zip(labels.names, labels.counts, strict=True)
        controls.append(Choice("label", (ANY, *(name for name, count in named if count))))
    if isinstance(model, Iterative):
        steps = len(model.noise_levels()) - 1
        controls.append(Slider("steps", steps, 1, max(steps, MOST_STEPS), 1))
        if is_guided(model):
            controls.append(Slider("guidance", model.guidance, 0.0, MOST_GUIDANCE, 0.1))
    controls.append(Slider("temperature", 1.0, *TEMPERATURES, 0.05))
    controls += [Slider(name_of(unit), 0.0, -REACH, REACH, 0.1) for unit in units]
    return controls


def name_of(unit: Unit) -> str:
    """The unit in a few letters."""
    return f"{unit.latent}[{','.join(map(str, unit.index))}]"


def units_to_move(
    model: GenerativeModel, machine: Machine, labels: Labels | None = None
) -> list[Unit]:
    """The latent units that vary most over the model's own samples, the largest deviation first.

    None where the latent is noise with a unit for each pixel, or where the model cannot encode.
    """
    if isinstance(model, Iterative) or not isinstance(model, Encodes):
        return []
    pictures = sample.sample(model, LOOKED_AT, 0, machine, labels=labels)
    encoder = model.with_refinement(0) if isinstance(model, Refines) else model
    assert isinstance(encoder, Encodes)
    with torch.inference_mode(), machine.autocast():
        one = encoder.encode(images.to_float(pictures[:1].to(machine.device)))
        return most_varied(encoder, one, pictures, UNITS, machine)


def shifted(latents: Latent, units: Sequence[Unit], by: Mapping[str, Value]) -> Latent:
    """The latents with units moved, by their names, in deviations of the prior."""
    tensors = {name: tensor.clone() for name, tensor in latents.tensors.items()}
    for unit in units:
        index: tuple[slice | int, ...] = (slice(None), *unit.index)
        tensors[unit.latent][index] += float(by.get(name_of(unit), 0.0))
    return Latent(tensors, latents.path, latents.labels)


def show(controls: Sequence[Slider | Choice], draw: Callable[[Mapping[str, Value]], bytes]) -> Any:
    """The controls above the picture, which follows them: an ipywidgets box.

    draw: the controls that are not where they started, by name -> a PNG file; what it refuses by
          an InputError is said under the picture
    InputError where ipywidgets is missing or broken.
    """
    try:
        import ipywidgets
    except ANYTHING as error:
        raise InputError(
            "sliders need ipywidgets, which is not there", "pip install ipywidgets"
        ) from error
    picture, message = ipywidgets.Image(format="png"), ipywidgets.Label()
    widgets = {each.name: widget_of(ipywidgets, each) for each in controls}
    starts = {name: widget.value for name, widget in widgets.items()}

    def redraw(_: object = None) -> None:
        values = {name: widget.value for name, widget in widgets.items()}
        try:
            moved = {name: value for name, value in values.items() if value != starts[name]}
            picture.value, message.value = draw(moved), ""
        except InputError as error:
            message.value = str(error)

    for widget in widgets.values():
        widget.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*widgets.values(), picture, message])


def widget_of(ipywidgets: Any, control: Slider | Choice) -> Any:
    """The widget of a control; it tells a number when it is let go, since drawing takes a while."""
    if isinstance(control, Choice):
        return ipywidgets.Dropdown(options=control.options, description=control.name)
    numbers = (control.start, control.low, control.high, control.step)
    whole = all(isinstance(number, int) for number in numbers)
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(
        value=control.start,
        min=control.low,
        max=control.high,
        step=control.step,
        description=control.name,
        continuous_update=False,
    )
