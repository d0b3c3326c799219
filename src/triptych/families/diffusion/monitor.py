"""What goes wrong with a diffusion model whose network is so small that its sampler can be tried.

moved   how far the samples of one and the same noise move when the sampler takes twice as many
        steps: the mean distance, divided by that of real images from their mean. Where the steps
        are enough it is near 0, for then the sampler follows the path that it approximates.
"""

from __future__ import annotations

from torch import Tensor

from triptych.families.capabilities import Diagnoses, Diagnosis
from triptych.families.diffusion.model import Diffusion
from triptych.images import to_float64
from triptych.records import Note
from triptych.seeding import ImageStreams

EARLY = 0.2  # share of the planned images before which nothing is judged
MOST_MOVED = 0.1


class DiagnosedDiffusion(Diffusion, Diagnoses):
    """One that is asked, along training, whether its sampler takes enough steps."""

    def diagnose(
        self, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float = 1.0
    ) -> Diagnosis:
        """Finds too few steps; a sampler that adds noise has no path to follow, so is not asked."""
        steps = self.sampling.steps
        if not self.sampling.deterministic:
            return Diagnosis({})
        latent = self.draw_latent(len(rng), rng)
        slower = self.with_sampler(steps=2 * steps)
        few, many = (to_float64(model.decode(latent, rng)) for model in (self, slower))
        real = to_float64(seen)
        extent = (real - real.mean(0)).flatten(1).norm(dim=1).mean()
        moved = ((few - many).flatten(1).norm(dim=1).mean() / extent).item() if extent else 0.0
        if share < EARLY or moved <= MOST_MOVED:
            return Diagnosis({"moved": moved})
        values = {"moved": moved, "most": MOST_MOVED, "steps": steps, "more": 2 * steps}
        return Diagnosis({"moved": moved}, [Note("too_few_steps", {**values})])
