"""JSON for frozen dataclasses of the standard library: one canonical form for saved state, the witness and the wire.

Law: shapes only, driven by type annotations. Input is never trusted: whatever does not fit exactly raises `Malformed`,
and nothing is ever executed or imported by name.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TypeVar

T = TypeVar("T")


class Malformed(ValueError):
    """The bytes are not a value of the expected type. The message says where and what was expected."""


def dump(value: object) -> bytes:
    """The canonical bytes of a dataclass, tuple, enum or plain value (equal values give equal bytes)."""
    return json.dumps(_plain(value), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def load(kind: type[T], data: bytes) -> T:
    """Read one value of `kind`. Raises Malformed."""
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    value = _reader(kind)(plain, kind.__name__)
    return typing.cast(T, value)


def dump_tagged(value: object) -> bytes:
    """Like dump, for one of several dataclasses: the name of its class goes with it."""
    return json.dumps(
        [type(value).__name__, _plain(value)], separators=(",", ":"), sort_keys=True, ensure_ascii=False
    ).encode()


def load_tagged(kinds: Iterable[type[T]], data: bytes) -> T:
    """Read what dump_tagged wrote, if its class is one of `kinds`. Raises Malformed."""
    try:
        tag, plain = json.loads(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"not a tagged value: {error}") from None
    for kind in kinds:
        if kind.__name__ == tag:
            return typing.cast(T, _reader(kind)(plain, kind.__name__))
    raise Malformed(f"no such kind of value: {str(tag)[:40]!r}")


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    raise AssertionError(f"{type(value).__name__} has no JSON form")


Reader = Callable[[object, str], object]


_READERS: dict[object, Reader] = {}


def _reader(kind: object) -> Reader:
    """The reader of a type, made once."""
    reader = _READERS.get(kind)
    if reader is None:
        reader = _READERS[kind] = _new_reader(kind)
    return reader


def _new_reader(kind: object) -> Reader:
    kind = getattr(kind, "__supertype__", kind)  # NewType
    if getattr(kind, "__supertype__", None) is not None:
        return _reader(kind)
    origin = typing.get_origin(kind)
    if origin is typing.Union or origin is types.UnionType:
        return _optional(kind)
    if origin is tuple:
        return _tuple(kind)
    if isinstance(kind, type):
        if issubclass(kind, Enum):
            return _enum(kind)
        if is_dataclass(kind):
            return _dataclass(kind)
        if kind in (int, str, bool, float):
            return _scalar(kind)
        if kind is bytes:
            return _bytes
    raise AssertionError(f"no reader for {kind!r}")


def _optional(kind: object) -> Reader:
    arms = [arm for arm in typing.get_args(kind) if arm is not type(None)]
    nullable = len(arms) < len(typing.get_args(kind))
    readers = [_reader(arm) for arm in arms]

    def read(value: object, where: str) -> object:
        if value is None and nullable:
            return None
        for reader in readers:
            try:
                return reader(value, where)
            except Malformed:
                if reader is readers[-1]:
                    raise
        raise Malformed(f"{where}: nothing is allowed here")

    return read


def _tuple(kind: object) -> Reader:
    args = typing.get_args(kind)
    if len(args) == 2 and args[1] is Ellipsis:
        each = _reader(args[0])

        def read_many(value: object, where: str) -> object:
            if not isinstance(value, list):
                raise Malformed(f"{where}: a list is expected")
            return tuple(each(item, f"{where}[{at}]") for at, item in enumerate(value))

        return read_many
    readers = [_reader(arg) for arg in args]

    def read_fixed(value: object, where: str) -> object:
        if not isinstance(value, list) or len(value) != len(readers):
            raise Malformed(f"{where}: a list of {len(readers)} is expected")
        return tuple(
            reader(item, f"{where}[{at}]") for at, (reader, item) in enumerate(zip(readers, value, strict=True))
        )

    return read_fixed


def _enum(kind: type[Enum]) -> Reader:
    def read(value: object, where: str) -> object:
        if not isinstance(value, str) or value not in kind.__members__:
            raise Malformed(f"{where}: one of {', '.join(kind.__members__)} is expected")
        return kind[value]

    return read


def _scalar(kind: type) -> Reader:
    def read(value: object, where: str) -> object:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise Malformed(f"{where}: {kind.__name__} is expected, got {type(value).__name__}")
        return value

    return read


def _bytes(value: object, where: str) -> object:
    if not isinstance(value, str):
        raise Malformed(f"{where}: hexadecimal digits are expected")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise Malformed(f"{where}: hexadecimal digits are expected") from None


def _dataclass(kind: type) -> Reader:
    hints = typing.get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    readers: dict[str, Reader] = {}

    def read(value: object, where: str) -> object:
        if not isinstance(value, dict):
            raise Malformed(f"{where}: an object is expected")
        if not readers:
            readers.update({name: _reader(hints[name]) for name in names})
        if value.keys() != readers.keys():
            odd = sorted(map(str, value.keys() ^ readers.keys()))
            raise Malformed(f"{where}: missing or unknown: {', '.join(odd)[:200]}")
        return kind(**{name: reader(value[name], f"{where}.{name}") for name, reader in readers.items()})

    return read
