"""Calls ⇄ batches: both ends of a data stream, on raw messages below and batches above."""
