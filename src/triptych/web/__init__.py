"""The live page: a local server that shows runs while they train, and plays with trained models."""
