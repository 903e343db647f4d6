"""Connection strings and signatures of a blob service's account."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.runtime.blob_account import CLOCK_SKEW_S, BadAccount, BlobAccount, load, parse

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "http://127.0.0.1:10000/me/msft-cloud-witness/c1"
ME = BlobAccount("me", b"key", "http://127.0.0.1:10000/me")


def test_a_connection_string_is_read_as_the_portal_shows_it() -> None:
    """Without BlobEndpoint the endpoint is made of the account's name and the suffix; the key is never shown."""
    key = base64.b64encode(b"secret").decode()
    account = parse(f"DefaultEndpointsProtocol=https;AccountName=me;AccountKey={key};EndpointSuffix=core.windows.net\n")
    assert (account.name, account.key, account.endpoint) == ("me", b"secret", "https://me.blob.core.windows.net")
    assert "secret" not in repr(account)
    assert key not in repr(account)
    assert parse(f"AccountName=me;AccountKey={key};BlobEndpoint=http://h:1/me/;").endpoint == "http://h:1/me"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no AccountName"),
        ("AccountName=me", "has no AccountKey"),
        ("AccountName=me;AccountKey=%%%", "not base64"),
        ("AccountName=me;AccountKey=a2V5;BlobEndpoint=ftp://h/me", "not an http or https address"),
    ],
)
def test_what_is_missing_in_a_connection_string_is_said(text: str, said: str) -> None:
    """The text of the error names it and shows no key."""
    with pytest.raises(BadAccount, match=said):
        parse(text)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Not there, or not text."""
    with pytest.raises(BadAccount, match="cannot be read"):
        load(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadAccount, match="it is not text"):
        load(tmp_path / "binary")


def test_a_request_is_admitted_that_its_account_signed_lately() -> None:
    """Another key, another account, another request or an old one is not."""
    headers = {"If-None-Match": "*", "x-ms-blob-type": "BlockBlob", "Content-Length": "3"}
    signed = ME.signed("PUT", URL, headers, NOW)
    late = NOW + timedelta(seconds=CLOCK_SKEW_S + 1)
    assert ME.admits("PUT", URL, signed, NOW)
    assert not ME.admits("PUT", URL, signed, late)
    assert not ME.admits("GET", URL, signed, NOW)
    assert not ME.admits("PUT", URL + "2", signed, NOW)
    assert not ME.admits("PUT", URL, signed | {"If-None-Match": "x"}, NOW)
    assert not BlobAccount("me", b"other", ME.endpoint).admits("PUT", URL, signed, NOW)
    assert not BlobAccount("you", b"key", ME.endpoint).admits("PUT", URL, signed, NOW)


@given(st.dictionaries(st.sampled_from(("Authorization", "x-ms-date", "If-Match", "Content-Length")), st.text()))
def test_what_arrives_unsigned_is_refused_and_nothing_breaks(headers: dict[str, str]) -> None:
    """Headers are what a stranger sent."""
    assert not ME.admits("PUT", URL, headers, NOW)
