"""Recipes of mixtures."""
