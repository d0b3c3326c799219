"""Variational autoencoders."""

from triptych.families import Family

# The default recipe was measured: docs/decisions.md.
FAMILY = Family(default="ladder", order=0, color="#2f5f9e", dark_color="#8ab4ec")
