"""The fairness contract, and several runs under it."""
