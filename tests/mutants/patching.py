"""How a mutant is put on and taken off: attributes of classes and modules are replaced for a while, then restored.

Law: the product code knows nothing of mutants; nothing here outlives its `with` block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, isfunction, signature


class Patch:
    """Replaces attributes, and remembers what was there."""

    def __init__(self) -> None:
        self._before: list[tuple[object, str, object]] = []

    def set(self, owner: object, name: str, value: object) -> None:
        """Replace an attribute that exists by one that can be called in the same way.

        A mutant of something that was renamed, or takes other arguments now, would be found for being no mutant at all.
        """
        real = vars(owner)[name]
        if isfunction(real) and isfunction(value):
            kinds = [parameter.kind for parameter in signature(real).parameters.values()]
            named = {n: None for n, p in signature(real).parameters.items() if p.kind is Parameter.KEYWORD_ONLY}
            signature(value).bind(*(None for kind in kinds if kind is Parameter.POSITIONAL_OR_KEYWORD), **named)
        self._before.append((owner, name, real))
        setattr(owner, name, value)

    def touched(self) -> list[tuple[object, str]]:
        """What was replaced."""
        return [(owner, name) for owner, name, _ in self._before]

    def undo(self) -> None:
        """Put everything back, newest first."""
        while self._before:
            owner, name, value = self._before.pop()
            setattr(owner, name, value)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One deliberate fault in the protocol: what it does, and the law it breaks."""

    name: str
    does: str
    law: str
    apply: Callable[[Patch], None]


def breaks(law: str) -> Callable[[Callable[[Patch], None]], Mutant]:
    """Make a mutant of a function: its name, its docstring, and the law that it breaks."""

    def made(apply: Callable[[Patch], None]) -> Mutant:
        assert apply.__doc__, "a mutant says what it does"
        return Mutant(apply.__name__, apply.__doc__.strip(), law, apply)

    return made


@contextmanager
def put_on(mutant: Mutant | None) -> Iterator[None]:
    """The product code with one fault in it, or as it is."""
    patch = Patch()
    try:
        if mutant is not None:
            mutant.apply(patch)
        yield
    finally:
        patch.undo()
