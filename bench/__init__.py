"""Measurements: each figure a ratio to a baseline of the same run. See docs/BENCHMARKS.md."""
