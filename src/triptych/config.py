"""Settings: frozen dataclasses that go to JSON and come back unchanged."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from triptych.errors import InputError

Size = Literal["tiny", "small", "base"]
SIZES: tuple[Size, ...] = ("tiny", "small", "base")
TYPE_NAMES = {int: "whole number", float: "number"}  # in words that a student knows
NEW_NAMES = {  # of settings, by those of 0.1
    "optimiser": "optimizer",
    "matrix_rate": "muon_lr",
    "average": "ema",
    "second_average": "ema_wide",
    "climb": "bottom_up_blocks",
    "descend": "top_down_blocks",
    "critic": "discriminator",
    "critic_steps": "discriminator_steps",
}
BudgetUnit = Literal["images", "epochs", "seconds"]


@dataclass(frozen=True, kw_only=True)
class ImageShape:
    """What a model must know of the data before it is built."""

    channels: int  # 1 for grey, 3 for colour; 2 for the coordinates of a point
    resolution: int  # height and width
    classes: int | None = None  # how many, for a model that is told the labels

    @property
    def size(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.resolution, self.resolution

    @property
    def dimensions(self) -> int:
        """D = C*H*W, the number of values in one image."""
        return self.channels * self.resolution**2

    @property
    def is_point(self) -> bool:
        """Whether an image is a point of the plane: one pixel, whose two channels are x and y."""
        return self.size == POINT.size


POINT = ImageShape(channels=2, resolution=1)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How one objective moves its network; the rate follows the share of planned images."""

    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0  # decoupled (AdamW) and only where it is above zero
    warmup: float = 0.0  # share of the planned images over which the rate rises from 0
    decay: Literal["constant", "linear", "cosine"] = "constant"  # after the warm-up, towards 0
    clip_norm: float | None = None  # the largest allowed norm of the whole gradient
    muon_lr: float | None = None  # Muon's rate for the inner matrices; None: AdamW for all

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "muon_lr"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie from 0 to below 1, got {self.betas}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must lie between 0 and 1, got {self.warmup}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0, got {self.clip_norm}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every recipe has; each recipe adds its own."""

    batch_size: int = 64
    ema: float | None = None  # relative width of the weight average; None keeps none
    ema_wide: float | None = None  # of another one, so that any width can be had afterwards
    select: bool = False  # the best of several snapshots by validation images, not the last weights

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        for name in ("ema", "ema_wide"):
            width = getattr(self, name)
            if width is not None and not 0 < width < 0.289:
                raise ValueError(f"{name} must lie between 0 and 0.289, got {width}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to train: `500kimg`, `30epochs`, or wall-clock `90s`, `10m`, `2h`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    amount: float
    unit: BudgetUnit
    asked: str

    @classmethod
    def parse(cls, text: str, least_zero: bool = False) -> Budget:
        """Read a budget as the user writes it.

        least_zero: whether it may be of nothing

        >>> Budget.parse("1.5m")
        Budget(amount=90.0, unit='seconds', asked='1.5m')
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
        scale_and_unit = _BUDGET_UNITS.get(match[2]) if match else None
        if not match or not scale_and_unit or (float(match[1]) == 0 and not least_zero):
            raise InputError(f"no budget '{text}'", "write one like 90s, 10m, 500kimg or 30epochs")
        scale, unit = scale_and_unit
        return cls(amount=float(match[1]) * scale, unit=unit, asked=text.strip())


NO_BUDGET = Budget(amount=0.0, unit="images", asked="0img")  # of a model that is not trained
_BUDGET_UNITS: dict[str, tuple[float, BudgetUnit]] = {
    "img": (1, "images"),
    "kimg": (1e3, "images"),
    "epoch": (1, "epochs"),
    "epochs": (1, "epochs"),
    "s": (1, "seconds"),
    "m": (60, "seconds"),
    "h": (3600, "seconds"),
}

T = TypeVar("T")


def to_json(settings: Any) -> dict[str, Any]:
    """A dataclass as nested plain values."""
    return {
        field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)
    }


def from_json(cls: type[T], values: dict[str, Any]) -> T:
    """The dataclass that `to_json` wrote; unknown or missing names raise InputError."""
    hints = typing.get_type_hints(cls)
    unknown = set(values) - set(hints)
    if unknown:
        raise InputError(
            f"unknown setting '{sorted(unknown)[0]}'", f"known are {', '.join(sorted(hints))}"
        )
    try:
        return cls(**{name: _typed(hints[name], value, name) for name, value in values.items()})
    except (TypeError, ValueError) as error:
        raise InputError(
            f"settings of {cls.__name__} do not fit ({error})", "correct them"
        ) from error


def override(settings: T, assignments: Iterable[str]) -> T:
    """Settings with `KEY=VALUE` texts applied; a dot reaches into nested settings."""
    values = to_json(settings)
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise InputError(f"--set {assignment} has no '='", "write --set KEY=VALUE")
        *parents, last = name.strip().split(".")
        inner = _descend(values, parents, name)
        if last not in inner or isinstance(inner[last], dict):
            now = NEW_NAMES.get(last)
            mend = f"it is called {now} now" if now in inner else "known are "
            listed = "" if now in inner else ", ".join(_names(values))
            raise InputError(f"no setting '{name}'", mend + listed)
        inner[last] = text.strip()
    return from_json(type(settings), values)


def _descend(values: dict[str, Any], parents: Sequence[str], name: str) -> dict[str, Any]:
    for parent in parents:
        values = values.get(parent, {})
        if not isinstance(values, dict):
            raise InputError(f"no setting '{name}'", f"'{parent}' holds no settings of its own")
    return values


def _names(values: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in values.items():
        if isinstance(value, dict):
            names += _names(value, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A JSON value, or a text from the command line, as the type that the field declares."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _typed(next(a for a in arguments if a is not type(None)), value, name)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"no {name} '{value}'", f"choose from {', '.join(arguments)}")
        return value
    if origin is tuple:
        # Python's and JSON's brackets are forgiven.
        items = value.strip("[]() ").split(",") if isinstance(value, str) else value
        inner = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else arguments
        if len(items) != len(inner):
            raise InputError(f"{name} takes {len(inner)} values", "separate them by commas")
        return tuple(_typed(kind, item, name) for kind, item in zip(inner, items, strict=True))
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value)
    return _scalar(hint, value, name)


def _scalar(hint: Any, value: Any, name: str) -> Any:
    if hint is bool:
        words = {"true": True, "false": False}
        if str(value).lower() not in words:
            raise InputError(f"{name} is true or false, not '{value}'", "write one of the two")
        return words[str(value).lower()]
    try:
        made = hint(value)
        if isinstance(made, float) and not math.isfinite(made):
            raise ValueError("no number of a file of ours")
        return made
    except ValueError:
        raise InputError(
            f"{name} takes a {TYPE_NAMES.get(hint, hint.__name__)}, not '{value}'",
            "correct the value",
        ) from None
