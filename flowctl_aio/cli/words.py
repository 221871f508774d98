"""Words of strangers, made fit for a terminal."""

from __future__ import annotations


def plain(words: str) -> str:
    """`words` without anything that moves a cursor or rings a bell."""
    return "".join(character if character.isprintable() else "?" for character in words)
