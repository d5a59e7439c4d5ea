"""Benchmarks: ratios in one run, printed as JSON lines."""
