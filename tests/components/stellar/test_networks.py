"""Claims about names of networks."""

from __future__ import annotations

import pytest

from flowctl_aio.components.stellar.networks import PASSPHRASES, network_id, passphrase_of
from flowctl_aio.errors import ConfigError


@pytest.mark.parametrize("name", ["pubnet", "mainnet", "public", "Pubnet", " pubnet "])
def test_every_name_of_the_public_network_gives_its_passphrase(name: str) -> None:
    assert passphrase_of(name) == "Public Global Stellar Network ; September 2015"


def test_the_short_name_of_the_test_network_is_known() -> None:
    assert passphrase_of("test") == passphrase_of("testnet") == PASSPHRASES["testnet"]


def test_a_passphrase_stands_for_itself() -> None:
    assert passphrase_of("My own network ; 2026") == "My own network ; 2026"


@pytest.mark.parametrize("name", ["", "  ", "futurenet2", "pub-net"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="pubnet, testnet"):
        passphrase_of(name)


def test_the_network_id_is_the_published_one() -> None:
    pubnet = network_id(PASSPHRASES["pubnet"]).hex()
    assert pubnet == "7ac33997544e3175d266bd022439b22cdb16508c01163f26e5cb2a3e1045a979"
