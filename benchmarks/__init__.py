"""How fast the SDK moves data, as ratios measured in one run: `benchmarks.events`, `benchmarks.ledgers`."""
