"""Dependency expressions: what they say, how they read, and what is refused.

Law: pure values; the dumb twin of `holds` is Python's own `and` and `or`.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvcluster.model.dependencies import (
    All,
    Any,
    BadExpression,
    Expression,
    Needs,
    circle,
    holds,
    names,
    parse,
    written,
)
from hvcluster.model.resources import ResourceDefinition, complaints
from hvcluster.model.vocabulary import LunId

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
LETTERS = "ABCD"
leaves = st.sampled_from(LETTERS).map(Needs)
trees: st.SearchStrategy[Expression] = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda kind, of: kind(tuple(of)), st.sampled_from((All, Any)), st.lists(inner, min_size=2, max_size=3)
    ),
    max_leaves=8,
)


@CALM
@given(trees, st.sets(st.sampled_from(LETTERS)))
def test_what_is_written_says_the_same_when_it_is_read(tree: Expression, online: set[str]) -> None:
    """Set-ClusterResourceDependency takes what Get-ClusterResourceDependency printed."""
    again = parse(written(tree))
    assert holds(again, online) == holds(tree, online)
    assert names(again) == names(tree)


@CALM
@given(trees, st.sets(st.sampled_from(LETTERS)))
def test_an_expression_holds_when_python_says_so(tree: Expression, online: set[str]) -> None:
    """AND needs all providers online, OR one of them."""
    text = written(tree).replace("AND", "and").replace("OR", "or")
    for letter in LETTERS:
        text = text.replace(f"[{letter}]", str(letter in online))
    assert holds(tree, online) == eval(text)


@CALM
@given(st.text(alphabet="[]() ABandor", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but BadExpression comes out of a text that a person may write."""
    try:
        tree = parse(text)
    except BadExpression:
        return
    assert set(names(tree)) <= {name.strip() for name in re.findall(r"\[([^\[\]]*)\]", text)}


def test_and_binds_more_closely_than_or() -> None:
    """`[A] OR [B] AND [C]` is `[A] OR ([B] AND [C])`, in any case of letters."""
    tree = parse("[A] or [B] And [C]")
    assert tree == Any((Needs("A"), All((Needs("B"), Needs("C")))))
    assert parse("") == All(())


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[A", "'[' at character 1"),
        ("[]", "no name"),
        ("[A] [B]", "AND or OR is missing before 'B' at character 6"),
        ("[A] AND", "at the end"),
        ("([A] OR [B]", "closing bracket is missing at the end"),
        ("[A] XOR [B]", "'XOR' at character 5"),
        ("A", "'A' at character 1"),
        ("(" * 40 + "[A]" + ")" * 40, "more than 32"),
    ],
)
def test_a_bad_expression_is_refused_with_the_place(text: str, where: str) -> None:
    """An administrator is told where it is wrong."""
    with pytest.raises(BadExpression) as caught:
        parse(text)
    assert where in str(caught.value)


def test_a_circle_is_found_and_named() -> None:
    """Resources that need each other never come online."""
    assert circle({"A": ["B"], "B": ["C"], "C": ["A"], "D": ["A"]}) == ("A", "B", "C", "A")
    assert circle({"A": ["B", "C"], "B": ["C"], "C": []}) == ()
    assert circle({"A": ["A"]}) == ("A", "A")


@pytest.mark.conforms("dependencies")
def test_dependencies_stay_inside_a_group_and_make_no_circle() -> None:
    """Unknown names, circles and bad expressions are refused, each on its resource and all at once."""
    wrong = complaints(
        LunId(3),
        (
            ResourceDefinition("Name", "Network Name", depends="[Address] AND [Elsewhere]"),
            ResourceDefinition("Address", "IP Address", depends="[Service]"),
            ResourceDefinition("Service", "Generic Script", depends="[Cluster Disk 3] AND [Name]"),
            ResourceDefinition("Other", "Generic Script", depends="[Name"),
        ),
    )
    assert [(at, key) for at, key, _ in wrong] == [(0, "depends"), (3, "depends"), (1, "depends")]
    assert "'Elsewhere', which is not in its group" in wrong[0][2]
    assert "Address needs Service needs Name needs Address" in wrong[2][2]
