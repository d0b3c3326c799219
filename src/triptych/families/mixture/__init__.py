"""Mixtures in closed form: what a model of the images is worth without any training."""

from triptych.families import Family

FAMILY = Family(default="mppca", order=3, color="#77664f", dark_color="#c2ad8b", trained=False)
