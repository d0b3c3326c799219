"""Plausible faults, each a small patch that names the tests that notice it: `make faults`."""
