"""Diffusion models."""

from triptych.families import Family

# The default recipe was measured: docs/decisions.md.
FAMILY = Family(default="x0", order=2, color="#37724b", dark_color="#86c79b")
