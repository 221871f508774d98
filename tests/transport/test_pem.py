"""PEM is taken as it is or refused by its name, whatever it holds, and what it holds is never told."""

from __future__ import annotations

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio.errors import ConfigError
from flowctl_aio.transport.security.pem import MAX_PEM_BYTES, files_of, read_authorities, read_pair

CA = trustme.CA()
ISSUED, OTHER = CA.issue_cert("localhost"), CA.issue_cert("localhost")
CERT, KEY = ISSUED.cert_chain_pems[0].bytes(), ISSUED.private_key_pem.bytes()
LOCKED = KEY.replace(b"-----BEGIN EC", b"-----BEGIN ENCRYPTED EC").replace(b"-----END EC", b"-----END ENCRYPTED EC")


def test_good_pem_comes_back_as_it_is_from_files_and_from_bytes(tmp_path):
    for name, content in (("ca", CA.cert_pem.bytes()), ("cert", CERT), ("key", KEY)):
        (tmp_path / name).write_bytes(content)
    assert read_authorities("tls ca", tmp_path / "ca") == read_authorities("tls ca", CA.cert_pem.bytes())
    assert read_pair("tls", str(tmp_path / "cert"), tmp_path / "key") == read_pair("tls", CERT, KEY) == (KEY, CERT)


def test_text_around_the_blocks_and_several_of_them_are_allowed():
    bundle = b"# ours\n" + CA.cert_pem.bytes() + "# Bökö Gyökér\n".encode() + trustme.CA().cert_pem.bytes()
    assert read_authorities("tls ca", bundle) == bundle
    chain = CERT + CA.cert_pem.bytes()
    assert read_pair("tls", chain, KEY) == (KEY, chain)


@pytest.mark.parametrize(
    ("cert", "key", "problem"),
    [
        (CERT, OTHER.private_key_pem.bytes(), r"tls cert \(given as bytes\) and tls key .* do not belong together"),
        (CERT[:-40], KEY, r"tls cert \(given as bytes\) holds no certificate"),
        (CERT, KEY[:-40], "tls key .* holds no private key"),
        (KEY, KEY, "tls cert .* holds no certificate"),
        (CERT, CERT, "tls key .* holds no private key"),
        (CERT, LOCKED, "tls key .* is encrypted"),
        (CERT.replace(b"M", b"N"), KEY, "cannot be used"),
        (CERT + b" " * MAX_PEM_BYTES, KEY, "is longer than"),
    ],
)
def test_what_is_wrong_with_a_pair_is_said_by_name(cert, key, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        read_pair("tls", cert, key)
    assert "BEGIN" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_said_by_its_path(tmp_path):
    (tmp_path / "long").write_bytes(b"x" * (MAX_PEM_BYTES + 1))
    for name, problem in (("none", "No such file"), ("", "Is a directory"), ("long", "longer than"), ("\0", "no path")):
        with pytest.raises(ConfigError, match=f"tls ca .*{problem}"):
            read_authorities("tls ca", f"{tmp_path}/{name}")


@pytest.mark.parametrize("pem", [b"", b"hunter2", KEY, CERT[:-40], CERT + CERT[:100], CERT.replace(b"M", b"N")])
def test_authorities_are_whole_certificates(pem):
    with pytest.raises(ConfigError, match=r"tls ca \(given as bytes\) holds no certificates") as caught:
        read_authorities("tls ca", pem)
    assert "hunter2" not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from([b"", CERT, KEY]), st.booleans())
def test_any_bytes_are_pem_or_one_clear_error(noise, good, is_first):
    content = noise + b"\n" + good if is_first else good + b"\n" + noise
    for read in (lambda: read_authorities("tls ca", content), lambda: read_pair("tls", content, content)):
        try:
            read()
        except ConfigError as error:
            assert str(error).startswith("tls ")  # noqa: PT017 - it may also be good


def test_only_paths_are_watched():
    assert files_of("ca.pem", b"pem", "") == ["ca.pem"]
