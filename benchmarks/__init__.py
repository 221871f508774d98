"""How fast the SDK moves data and keeps services known, as ratios measured in one run; see docs/benchmarks.md."""
