"""What was done with a source's images, in sentences and for `triptych data`.

A note is a fixed beginning, then a colon and what varies: the report knows the beginnings in
other languages.
"""

from __future__ import annotations

from typing import Any

from triptych.data.dataset import ImageData
from triptych.data.decode import Fit

BAD_SHARE = 0.01  # more bad images than this deserve a warning
BAD_SHOWN = 5  # bad images named in a note; the facts name them all
VARIED = 1.1  # shapes vary when the widest is so many times wider for its height
FEW_TEST = 100  # in the test part; with fewer, intervals are wide
FEW_IMAGES = 1000  # in the training part; with fewer, models may learn them by heart


def notes(
    facts: dict[str, Any], resolution: int, fit: Fit, training: int, test: int
) -> tuple[str, ...]:
    """What the user should know, a sentence each."""
    found = [*facts["notes"]]
    if facts["bad"]:
        found.append(describe_bad(facts["bad"], facts["files"]))
    sizes = facts["sizes"]
    if sizes["different"] > 1 or sizes["usual"] != [resolution, resolution]:
        shown = size(sizes["smallest"])
        if sizes["different"] > 1:
            shown += f"..{size(sizes['largest'])}"
        found.append(f"resized by --fit {fit}: {shown} to {resolution}x{resolution}")
    narrowest, widest = sizes["narrowest"], sizes["widest"]
    if fit == "stretch" and widest > VARIED * narrowest:
        found.append(
            "shapes vary and are distorted, --fit crop would keep proportions: width over height "
            f"{narrowest:,.4g} to {widest:,.4g}"
        )
    elif fit == "stretch" and not 1 / VARIED < widest < VARIED:
        found.append(
            "made square, --fit crop or pad would keep proportions: width over height "
            f"{widest:,.4g}"
        )
    if 2 * facts["faint"] > facts["files"]:
        found.append(
            "WARNING, most images show hardly any contrast, are their values of another range?: "
            f"{facts['faint']} of {facts['files']}"
        )
    if facts["copies"]:
        found.append(f"images that are exact copies of others: {facts['copies']}")
    if facts["crossing"]:
        found.append(
            "held-out images left out, for they are copies of images nearer to training: "
            f"{facts['crossing']}"
        )
    if training < FEW_IMAGES:
        found.append(f"few training images, which models may learn by heart: {training}")
    if test < FEW_TEST:
        found.append(f"few test images, so what is measured on them is rough or refused: {test}")
    return tuple(found)


def describe_bad(bad: list[list[str]], files: int) -> str:
    """How many were skipped, and the first of them."""
    share = len(bad) / files
    heading = "WARNING, bad images skipped" if share > BAD_SHARE else "bad images skipped"
    listed = "; ".join(": ".join(each) for each in bad[:BAD_SHOWN])
    more = "; ..." if len(bad) > BAD_SHOWN else ""
    return f"{heading}: {len(bad)} of {files} ({share:.1%}): {listed}{more}"


def size(width_height: list[int]) -> str:
    """As 32x20."""
    return "x".join(map(str, width_height))


def plan(data: ImageData) -> list[str]:
    """What would be done with the data, a sentence each."""
    resolution, given = data.shape.resolution, data.facts["given_parts"]
    kind = "grey" if data.shape.channels == 1 else "colour"
    found = [f"models make {kind} images of {resolution}x{resolution}"]
    if "test" in given:
        found.append("test: the part that is given")
    else:
        found.append("test: a tenth of the images, picked by a digest of their pixels")
    if "validation" in given:
        found.append("validation: the part that is given")
    else:
        found.append("validation: a further tenth of the training images, picked likewise")
    if data.classes is None:
        found.append("no labels: what needs a classifier will be 'not defined'")
    return found
