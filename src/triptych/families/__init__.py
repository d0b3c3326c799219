"""The families of models behind one protocol; each folder with a `FAMILY` is one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Family:
    """What is known of a family before any of its models is loaded; its folder is its name.

    default:    the recipe that the family's name alone means
    order:      its place among the families
    color:      of its models on the page and in print, as CSS writes it
    dark_color: the same on dark paper
    trained:    whether its models are trained; those of others are fitted in closed form, and need
                no budget
    """

    default: str
    order: int
    color: str
    dark_color: str
    trained: bool = True
