"""How a diffusion model is sampled: settings that are checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from triptych.errors import InputError
from triptych.families.diffusion.samplers import SAMPLERS, Sampler


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """name:     of the sampler
    steps:    noise levels before 0
    eta:      share of fresh noise in a step of `ddim`
    guidance: weight w of the class in D + w (D_class - D), for models that are told the labels;
              1 leaves the class as it was trained

    InputError on what there is not.
    """

    name: str
    steps: int
    eta: float = 0.0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise InputError(f"no sampler '{self.name}'", f"choose from {', '.join(SAMPLERS)}")
        if self.steps < 1:
            raise InputError(f"--steps {self.steps} is too few", "give 1 or more")
        if not 0 <= self.eta <= 1:
            raise InputError(f"--eta {self.eta:g} is no share of noise", "give 0 to 1")
        if self.eta and self.name != "ddim":
            raise InputError(f"--eta is for ddim, not for {self.name}", "leave it out")
        if not (self.guidance >= 0 and math.isfinite(self.guidance)):
            raise InputError(f"--guidance {self.guidance:g} is no weight", "give 0 or more")

    @property
    def sampler(self) -> Sampler:
        """The one that is named."""
        return SAMPLERS[self.name]

    @property
    def deterministic(self) -> bool:
        """No noise is taken in on the way."""
        return self.sampler.deterministic and not self.eta

    @property
    def network_calls(self) -> int:
        """For each image; a guided step asks with the class and without."""
        return self.sampler.network_calls(self.steps) * (1 if self.guidance == 1 else 2)
