"""The glossary knows the words the product shows: what is on the screen can be looked up."""

from __future__ import annotations

import re
from enum import Enum

import pytest

from hvcluster.model import vocabulary
from tests.house import tree

STATES = [
    kind
    for name, kind in sorted(vars(vocabulary).items())
    if name.endswith("State") and isinstance(kind, type) and issubclass(kind, Enum)
]


@pytest.mark.parametrize("kind", STATES, ids=lambda kind: kind.__name__)
def test_the_glossary_names_every_state(kind: type[Enum]) -> None:
    """Words: use the field's words, one meaning each; docs/glossary.md grows with the code."""
    glossary = (tree.ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").lower()
    words = [member.name.replace("_", " ").lower() for member in kind]
    missing = [word for word in words if not re.search(rf"\b{re.escape(word)}\b", glossary)]
    assert not missing, f"docs/glossary.md does not name these of {kind.__name__}: {missing}"
