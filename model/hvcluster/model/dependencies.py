"""Dependency expressions between the resources of a group, as Set-ClusterResourceDependency takes them.

Law: text to tree and back; what a tree says about a set of resources that are online. No resource is known here, and
nothing that a person or a peer may write raises anything but `BadExpression`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

MAX_TEXT: Final = 4096
"""Of one expression: some sixty names of the usual length."""
MAX_DEPTH: Final = 32
"""Of brackets within brackets; nobody reads so many."""

_TOKEN: Final = re.compile(r"\s*(?:\[([^\[\]]*)\]|([()])|([A-Za-z]+)|(\S))")


class BadExpression(ValueError):
    """The text is no dependency expression; the message says where, and what to write."""


@dataclass(frozen=True, slots=True)
class Needs:
    """One resource must be online."""

    name: str


@dataclass(frozen=True, slots=True)
class All:
    """Each of these must hold."""

    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """One of these must hold."""

    of: tuple[Expression, ...]


Expression: TypeAlias = "Needs | All | Any"
NOTHING: Final = All(())
"""What a resource without dependencies needs."""


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """The tree of an expression such as "[A] AND ([B] OR [C])"; AND binds more closely than OR, "" needs nothing.

    Raises BadExpression.
    """
    if len(text) > MAX_TEXT:
        raise BadExpression(f"it has {len(text)} characters; {MAX_TEXT} are the most")
    if not text.strip():
        return NOTHING
    reader = _Reader(text)
    found = reader.either(0)
    reader.end()
    return found


class _Reader:
    """Reads one text from the left to the right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        for match in _TOKEN.finditer(text):
            name, bracket, word, other = match.groups()
            at = match.start(match.lastindex or 0) + 1
            if name is not None:
                if not name.strip():
                    raise BadExpression(f"there is no name in the brackets at character {at}")
                self._tokens.append(("name", name.strip(), at))
            elif bracket:
                self._tokens.append((bracket, bracket, at))
            elif word and word.upper() in ("AND", "OR"):
                self._tokens.append((word.upper(), word, at))
            else:
                raise BadExpression(f"{word or other!r} at character {at}; write names in [brackets], AND, OR")
        self._next = 0

    def _kind(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def either(self, depth: int) -> Expression:
        """Terms with OR between them."""
        return self._several("OR", Any, lambda: self._both(depth))

    def _both(self, depth: int) -> Expression:
        return self._several("AND", All, lambda: self._one(depth))

    def _several(self, word: str, kind: type[All] | type[Any], term: Callable[[], Expression]) -> Expression:
        terms = [term()]
        while self._kind() == word:
            self._next += 1
            terms.append(term())
        return terms[0] if len(terms) == 1 else kind(tuple(terms))

    def _one(self, depth: int) -> Expression:
        kind = self._kind()
        if kind == "name":
            self._next += 1
            return Needs(self._tokens[self._next - 1][1])
        if kind != "(":
            raise BadExpression(f"a name in [brackets] is missing {self._where()}")
        if depth >= MAX_DEPTH:
            raise BadExpression(f"there are more than {MAX_DEPTH} brackets within each other")
        self._next += 1
        found = self.either(depth + 1)
        if self._kind() != ")":
            raise BadExpression(f"a closing bracket is missing {self._where()}")
        self._next += 1
        return found

    def end(self) -> None:
        """Nothing may be left."""
        if self._kind():
            raise BadExpression(f"AND or OR is missing {self._where()}")

    def _where(self) -> str:
        if self._next == len(self._tokens):
            return "at the end"
        _, text, at = self._tokens[self._next]
        return f"before {text!r} at character {at}"


def holds(expression: Expression, online: Collection[str]) -> bool:
    """Whether it is satisfied when these resources, and no others, are online."""
    match expression:
        case Needs(name):
            return name in online
        case All(of):
            return all(holds(term, online) for term in of)
        case Any(of):
            return any(holds(term, online) for term in of)


def names(expression: Expression) -> tuple[str, ...]:
    """The resources it speaks of, each once, in the order of the text."""
    if isinstance(expression, Needs):
        return (expression.name,)
    return tuple(dict.fromkeys(name for term in expression.of for name in names(term)))


def written(expression: Expression) -> str:
    """The expression as the product prints it; parse(written(e)) says the same as e."""
    match expression:
        case Needs(name):
            return f"[{name}]"
        case All(of):
            return " AND ".join(f"({written(term)})" if isinstance(term, All | Any) else written(term) for term in of)
        case Any(of):
            return " OR ".join(f"({written(term)})" if isinstance(term, All | Any) else written(term) for term in of)


def circle(needs: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Names that depend on each other in a circle, the first one again at the end; () where there is none."""
    done: set[str] = set()
    for start in sorted(needs):
        trail: list[str] = []
        ahead: list[tuple[str, list[str]]] = [(start, sorted(needs[start], reverse=True))]
        if start in done:
            continue
        trail.append(start)
        while ahead:
            name, left = ahead[-1]
            if not left:
                ahead.pop()
                trail.pop()
                done.add(name)
                continue
            following = left.pop()
            if following in trail:
                return (*trail[trail.index(following) :], following)
            if following not in done:
                trail.append(following)
                ahead.append((following, sorted(needs.get(following, ()), reverse=True)))
    return ()
