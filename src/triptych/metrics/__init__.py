"""Metrics: pure formulas on tensors; a file is called as its metric."""
