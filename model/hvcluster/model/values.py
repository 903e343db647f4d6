"""How values are made: small dataclasses that are compared by their fields and that nothing changes.

Law: the one decorator. Values are what events, effects, messages and commands are made of, so most of the time of a
simulated hour goes into making them. A frozen dataclass calls a function for each field it sets, which makes it two to
three times as slow to make; so the type checker alone sees to it that nothing changes a value. What the
cores write as JSON, or copy with another field, stays a dataclass by name: the compiled simulator (tools/compile.py)
writes values out as plain classes, which know no fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(kind: type[T]) -> type[T]:
    """A slotted dataclass that can be a key. For the type checker it is frozen."""
    return dataclass(slots=True, unsafe_hash=True)(kind)
