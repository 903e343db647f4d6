"""Where each key of a TOML document stands, for messages that name a line.

Law: finds lines, nothing else. It walks text that `tomllib` has accepted already, so it never judges syntax; the
standard parser keeps no positions, and the style-preserving ones expose none.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Path: TypeAlias = "tuple[str | int, ...]"

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR_END = re.compile(r"[,\]}#\n]")


class Lines:
    """The line (1-based) of every table, key and array element of one document."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        _Walker(text, self._lines).document()

    def of(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it that stands in the file; 1 for the whole."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1


class _Walker:
    def __init__(self, text: str, lines: dict[Path, int]) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._line = 1
        self._lines = lines
        self._counts: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self._skip_blank(newlines=True):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._peek() == "[":
                table = self._header(1)
            else:
                self._key_value(table)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _advance(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def _skip_blank(self, newlines: bool) -> bool:
        """Pass white space and comments; False at the end of the document."""
        while self._at < len(self._text):
            char = self._peek()
            if char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char in " \t" or (newlines and char == "\n"):
                self._advance(1)
            else:
                return True
        return False

    def _header(self, brackets: int) -> Path:
        line = self._line
        self._advance(brackets)
        keys = self._dotted_key()
        self._skip_blank(newlines=False)
        self._advance(brackets)
        path = self._through_arrays(keys[:-1])
        last = (*path, keys[-1])
        if brackets == 2:
            index = self._counts.get(last, 0)
            self._counts[last] = index + 1
            self._lines.setdefault(last, line)
            last = (*last, index)
        else:
            last = self._through_arrays(keys)
        self._lines[last] = line
        return last

    def _through_arrays(self, keys: list[str]) -> Path:
        """A dotted header leads through the newest element of each array of tables on its way."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _dotted_key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip_blank(newlines=False)
            if self._peek() in "\"'":
                start = self._at + 1
                self._string()
                keys.append(self._text[start : self._at - 1])
            else:
                match = _BARE_KEY.match(self._text, self._at)
                word = match.group() if match else self._peek()
                keys.append(word)
                self._advance(max(1, len(word)))
            self._skip_blank(newlines=False)
            if self._peek() != ".":
                return keys
            self._advance(1)

    def _key_value(self, table: Path) -> None:
        line = self._line
        path: Path = (*table, *self._dotted_key())
        self._lines.setdefault(path, line)
        self._skip_blank(newlines=False)
        self._advance(1)  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip_blank(newlines=True)
        char = self._peek()
        if char in ('"', "'"):
            self._string()
        elif char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        else:
            match = _SCALAR_END.search(self._text, self._at)
            self._advance((match.start() if match else len(self._text)) - self._at)

    def _string(self) -> None:
        quote = self._peek()
        fence = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._advance(len(fence))
        while self._at < len(self._text):
            if quote == '"' and self._peek() == "\\":
                self._advance(2)
            elif self._text.startswith(fence, self._at):
                self._advance(len(fence))
                while len(fence) == 3 and self._peek() == quote:  # quotes may precede the closing fence
                    self._advance(1)
                return
            else:
                self._advance(1)

    def _array(self, path: Path) -> None:
        self._advance(1)
        index = 0
        while self._skip_blank(newlines=True):
            if self._peek() == "]":
                self._advance(1)
                return
            if self._peek() == ",":
                self._advance(1)
                continue
            self._lines[(*path, index)] = self._line
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: Path) -> None:
        self._advance(1)
        while self._skip_blank(newlines=True):
            if self._peek() == "}":
                self._advance(1)
                return
            if self._peek() == ",":
                self._advance(1)
                continue
            self._key_value(path)
