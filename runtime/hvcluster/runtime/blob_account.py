"""An account of an Azure Blob service: its connection string, and the signature under its requests.

Law: text in, text out; sends nothing, and never puts a key into an error or a log.
Source: Azure Storage REST API, "Authorize with Shared Key", as it stands from version 2015-02-21 on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

VERSION: Final = "2021-08-06"
"""Of the REST API that is spoken: old enough for every service and emulator in use."""
SCHEME: Final = "SharedKey"
CLOCK_SKEW_S: Final = 900
"""A service refuses a request that is older."""
_SIGNED: Final = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"),
    *("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)


class BadAccount(Exception):
    """A connection string that cannot be used. Its text names what is missing and shows no key."""


@dataclass(frozen=True, slots=True)
class BlobAccount:
    """Who asks, and where. `endpoint`: the account's blob service, without a slash at its end."""

    name: str
    key: bytes = field(repr=False)
    endpoint: str

    def signed(self, method: str, url: str, headers: Mapping[str, str], now: datetime) -> dict[str, str]:
        """The headers of a request with its date, the version and the signature."""
        full = dict(headers) | {"x-ms-date": format_datetime(now.astimezone(UTC), usegmt=True), "x-ms-version": VERSION}
        return full | {"Authorization": f"{SCHEME} {self.name}:{self.signature(method, url, full)}"}

    def signature(self, method: str, url: str, headers: Mapping[str, str]) -> str:
        """What stands behind the account's name: HMAC-SHA256 over the method, the headers and the resource."""
        lower = {name.lower(): value.strip() for name, value in headers.items()}
        values = [lower.get(name, "") for name in _SIGNED]
        values[2] = "" if values[2] == "0" else values[2]
        values[5] = "" if "x-ms-date" in lower else values[5]
        own = "".join(f"{name}:{lower[name]}\n" for name in sorted(lower) if name.startswith("x-ms-"))
        where = urlsplit(url)
        query = "".join(f"\n{k.lower()}:{v}" for k, v in sorted(parse_qsl(where.query, keep_blank_values=True)))
        text = "\n".join((method, *values)) + f"\n{own}/{self.name}{where.path}{query}"
        return base64.b64encode(hmac.digest(self.key, text.encode(), hashlib.sha256)).decode()

    def admits(self, method: str, url: str, headers: Mapping[str, str], now: datetime) -> bool:
        """Whether a request was signed with this account's key, and lately."""
        lower = {name.lower(): value for name, value in headers.items()}
        scheme, _, said = lower.get("authorization", "").partition(" ")
        name, _, signature = said.partition(":")
        try:
            age = abs((now - parsedate_to_datetime(lower.get("x-ms-date", ""))).total_seconds())
        except (ValueError, TypeError):
            return False
        right = self.signature(method, url, headers).encode()
        known = scheme == SCHEME and name == self.name and age <= CLOCK_SKEW_S
        return hmac.compare_digest(right, signature.encode(errors="replace")) and known


def parse(text: str) -> BlobAccount:
    """Read a connection string, as the portal of the service shows it. Raises BadAccount."""
    values: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.strip().split(";"))):
        name, _, value = part.partition("=")
        values[name.strip().lower()] = value.strip()
    name = values.get("accountname", "")
    if not name:
        raise BadAccount("the connection string has no AccountName")
    if not values.get("accountkey"):
        raise BadAccount("the connection string has no AccountKey")
    try:
        key = base64.b64decode(values["accountkey"], validate=True)
    except (binascii.Error, ValueError):
        raise BadAccount("AccountKey is not base64") from None
    suffix = values.get("endpointsuffix", "core.windows.net")
    protocol = values.get("defaultendpointsprotocol", "https")
    endpoint = values.get("blobendpoint", f"{protocol}://{name}.blob.{suffix}").rstrip("/")
    where = urlsplit(endpoint)
    if where.scheme not in ("http", "https") or not where.hostname or where.query or where.fragment:
        raise BadAccount(f"BlobEndpoint {endpoint!r} is not an http or https address")
    return BlobAccount(name, key, endpoint)


def load(path: Path) -> BlobAccount:
    """Read the file with a connection string. Raises BadAccount, also when the file cannot be read."""
    try:
        return parse(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BadAccount(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}") from None
