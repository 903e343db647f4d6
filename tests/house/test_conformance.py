"""docs/conformance.md says of the product's features what the tests say, no more and no less."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import conformance

from tests.house import tree

GOOD = """
[[feature]]
id = "votes"
name = "Votes"
profile = "ws2012"
means = "they are counted"

[[oracle]]
id = "oracle-1"
name = "a node dies"
profile = "ws2008r2"
old = "the others live"
new = "the same"
scenarios = ["a-death"]
"""
MARKED = """
import pytest


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.conforms("oracle-1"))])
@pytest.mark.conforms("votes")
def test_votes(n):
    pass
"""


def made(root: Path, rows: str = GOOD, tests: str = MARKED) -> list[conformance.Row]:
    """The rows of a small tree."""
    (root / "tests" / "house").mkdir(parents=True)
    (root / "scenarios").mkdir()
    (root / "scenarios" / "a-death.toml").touch()
    (root / conformance.ROWS).write_text(rows, encoding="utf-8")
    (root / "tests" / "test_votes.py").write_text(tests, encoding="utf-8")
    return conformance.read(root)


def test_the_document_is_what_the_rows_and_the_tests_say() -> None:
    """House style: what is generated is committed, and a test proves it current (remedy: make conformance)."""
    written = (tree.ROOT / conformance.DOCUMENT).read_text(encoding="utf-8")
    assert written == conformance.document(conformance.read()), "make conformance"


def test_all_published_scenarios_have_a_row() -> None:
    """Twenty scenarios have a published outcome; docs/scenarios.md and docstrings speak of them by number."""
    oracles = [row.id for row in conformance.read() if row.kind == "oracle"]
    assert oracles == [f"oracle-{n}" for n in range(1, 21)]


def test_a_row_is_shown_by_what_is_marked_and_named(tmp_path: Path) -> None:
    """Markers on a test and on one of its parameters both count; the document names tests and scenarios."""
    votes, death = made(tmp_path)
    assert (votes.word, votes.tests, votes.scenarios) == ("shown", (("tests/test_votes.py", "test_votes"),), ())
    assert (death.word, death.tests, death.scenarios) == ("shown", votes.tests, ("a-death",))
    text = conformance.document([votes, death])
    assert "| Votes | `ws2012` | they are counted | **shown**<br>[test_votes.py](../tests/test_votes.py): `test" in text
    assert "scenario [a-death](../scenarios/a-death.toml)" in text


@pytest.mark.parametrize(
    ("rows", "tests", "problem"),
    [
        (
            GOOD,
            MARKED.replace('"votes"', '"vote"'),
            "tests/test_votes.py: test_votes is marked conforms('vote'); no row",
        ),
        (GOOD, MARKED.replace('conforms("votes")', "conforms(NAME)"), "test_votes.py:6: conforms takes ids of rows"),
        (GOOD, MARKED + '\npytestmark = pytest.mark.conforms("votes")\n', "conforms is read at tests alone"),
        (GOOD.replace("a-death", "a-life"), MARKED, "oracle-1: there is no scenarios/a-life.toml"),
        (GOOD, "", "votes: no test and no scenario shows it"),
        (GOOD + 'missing = ""', MARKED, "oracle-1: missing is no str, or empty"),
        (GOOD + 'not_yet = "later"', MARKED, "oracle-1: something shows it"),
        (GOOD + 'not_yet = "later"\nnever = "no"', MARKED, "oracle-1: give one of not_yet, never"),
        (GOOD.replace('old = "the', 'missing = "the'), "", "oracle-1: old is missing"),
        (GOOD.replace("[[oracle]]", 'missing = "some"\n[[oracle]]'), "", "votes: nothing shows even a part"),
        (GOOD.replace("ws2012", "ws95"), MARKED, "votes: profile is 'ws95'; one of ws2008r2"),
        (GOOD.replace("means", "colour"), MARKED, "votes: unknown key colour"),
        (GOOD.replace("oracle-1", "votes"), MARKED, "votes is there twice"),
    ],
)
def test_what_does_not_fit_together_is_said(tmp_path: Path, rows: str, tests: str, problem: str) -> None:
    """A row without evidence says why; evidence is evidence of a row; nothing is said twice or half."""
    with pytest.raises(conformance.Wrong) as caught:
        made(tmp_path, rows, tests)
    assert problem in str(caught.value)
