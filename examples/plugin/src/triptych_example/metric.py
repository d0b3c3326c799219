"""Contrast: how far the pixels of an image deviate, beside those of real images."""

from __future__ import annotations

from torch import Tensor

from triptych.metrics import Metric, NotDefinedError
from triptych.metrics.intervals import JACKKNIFE, Estimate, jackknife, without_each_group


def deviations(images: Tensor) -> Tensor:
    """Deviation of each image's values in grey levels: uint8 [N,C,H,W] -> float64 [N]."""
    return images.double().flatten(1).std(1, correction=0)


def contrast(images: Tensor, real: Tensor) -> Estimate:
    """Mean deviation of images [N,C,H,W] over that of real ones [M,C,H,W]; 1 is as in those.

    NotDefinedError where every real image is of one color.
    """
    ours, theirs = deviations(images), deviations(real)
    if not theirs.any():
        raise NotDefinedError("all real images are flat")

    def ratio(top: Tensor, bottom: Tensor) -> float:
        return (top.mean() / bottom.mean()).item()

    return jackknife(
        ratio(ours, theirs),
        {
            "samples": without_each_group(lambda kept: ratio(kept, theirs), ours),
            "reference": without_each_group(lambda kept: ratio(ours, kept), theirs),
        },
    )


METRIC = Metric(
    name="contrast",
    better="floor",  # values near what real images score are better
    group="samples",  # the page's table in which it stands
    images_only=True,
    needs=("images", "test_images"),  # `triptych.metrics` lists what there is
    unit="ratio to real",
    method=JACKKNIFE,
    compute=lambda samples, real: contrast(samples["images"], real["test_images"]),
    floor=1.0,  # by definition
)
