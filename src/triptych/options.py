"""Options that several commands share, each group a dataclass to inherit from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.console import Console
    from triptych.data.open import DataOptions
    from triptych.hardware import Machine


@dataclass(kw_only=True)
class Everywhere:
    """Options of every command."""

    json: bool = False
    """Print one JSON document on standard output."""
    quiet: bool = False
    """No messages and no bars."""

    def console(self) -> Console:
        """Where messages go."""
        from triptych.console import Console
        from triptych.distributed import speaks

        return Console(self.quiet or not speaks())

    def run(self) -> Any:
        """Do it; what comes back is printed, as JSON or as lines."""
        raise NotImplementedError


@dataclass(kw_only=True)
class ReadsData(Everywhere):
    """Options wherever data are read."""

    resolution: int = 32
    """Height and width that images are brought to: 16, 32, 64 or 128."""
    fit: str = "stretch"
    """How: stretch, crop or pad."""
    strict: bool = False
    """Refuse data with bad files instead of skipping them."""
    image_column: str | None = None
    """Column or array with the images, where the data have several."""
    label_column: str | None = None
    """Column or array with the labels; none leaves every kind of label out."""

    def options(self) -> DataOptions:
        """As the data layer takes them."""
        from triptych.data.open import DataOptions

        return DataOptions(
            resolution=self.resolution,
            fit=self.fit,  # type: ignore[arg-type] # checked there
            strict=self.strict,
            image_column=self.image_column,
            label_column=self.label_column,
        )


@dataclass(kw_only=True)
class TrainsOnData(ReadsData):
    """Options wherever models are trained on data."""

    flip: bool = False
    """Mirror half of the images that models are trained on: not where left and right matter."""
    crop: int = 0
    """Shift training images by up to so many pixels."""

    def options(self) -> DataOptions:
        """As the data layer takes them."""
        return replace(super().options(), flip=self.flip, crop=self.crop)


@dataclass(kw_only=True)
class UsesModel(Everywhere):
    """Options wherever a model runs."""

    device: str | None = None
    """cpu or cuda; the best there is by default."""
    precision: str | None = None
    """bf16 or fp32; what the hardware does fastest by default."""
    threads: int | None = None
    """Processor threads; all cores by default."""
    compile: bool = False
    """Send the networks through torch.compile, which takes a while to pay off."""
    microbatch: int | None = None
    """Most images in a network at once: larger batches are split; by default as memory allows."""

    def machine(self) -> Machine:
        """The hardware to run on."""
        from triptych import hardware

        return hardware.pick(
            self.device, self.precision, self.threads, self.compile or None, self.microbatch
        )
