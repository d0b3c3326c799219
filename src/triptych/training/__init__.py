"""The one training loop and what it needs: budgets, averages, checkpoints, run folders."""
