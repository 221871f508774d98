"""The reference components, built on the public API only."""
