"""Batches between two processes of one user on one host, through memory that both have: see docs/shared-memory.md."""
