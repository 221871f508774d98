"""Names of Stellar networks, and what follows from a network's passphrase.

Transaction hashes and contract ids depend on the passphrase: with the wrong one all of them come out wrong.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

from flowctl_aio.errors import ConfigError

PASSPHRASES = {
    "pubnet": "Public Global Stellar Network ; September 2015",
    "testnet": "Test SDF Network ; September 2015",
    "coretest": "(V) (;,,;) (V)",
    "loadtest": "load test network",
}
_ALIASES = {"mainnet": "pubnet", "public": "pubnet", "test": "testnet"}


def passphrase_of(name_or_passphrase: str) -> str:
    """Returns the passphrase of a network by name; text that looks like a passphrase is returned as it is.

    Raises:
        ConfigError: if it is no known name and has no space, as every passphrase does.
    """
    name = name_or_passphrase.strip().lower()
    known = PASSPHRASES.get(_ALIASES.get(name, name))
    if known is not None:
        return known
    if " " in name_or_passphrase.strip():
        return name_or_passphrase
    names = ", ".join([*PASSPHRASES, *_ALIASES])
    raise ConfigError(f"the network {name_or_passphrase!r} is unknown: use one of {names}, or its whole passphrase")


@lru_cache(maxsize=64)
def network_id(passphrase: str) -> bytes:
    """Returns sha256 of the passphrase, 32 bytes: what goes into every hash of that network."""
    return sha256(passphrase.encode()).digest()
