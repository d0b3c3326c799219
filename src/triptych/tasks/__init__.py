"""What trained models do: sample, reconstruct, interpolate, bound the likelihood."""
