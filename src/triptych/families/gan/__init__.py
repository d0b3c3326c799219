"""Generative adversarial networks."""

from triptych.families import Family

# The default recipe was measured: docs/decisions.md.
FAMILY = Family(default="r1", order=1, color="#b04a22", dark_color="#ec9a72")
