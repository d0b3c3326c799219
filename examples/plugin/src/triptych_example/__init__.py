"""What this package adds to Triptych; `pyproject.toml` announces it."""
