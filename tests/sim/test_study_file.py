"""A study's file: everything that is wrong with it at once, in its lines, with a remedy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hvcluster.sim.study_file import Component, Law, StudyError, read

ROOT = Path(__file__).resolve().parents[2]

GOOD = """\
why = "Is one host enough?"
years = 100
repair_crews = 1
[rates]
host = { mttf_h = 1000, mttr_h = 4, failure = "weibull", failure_shape = 1.5, repair = "fixed" }
array = { mttf_h = inf, mttr_h = 1 }
path = { mttf_h = 1000, mttr_h = 1 }
bus = { mttf_h = 1000, mttr_h = 1 }
guest_os = { mttf_h = 1000, mttr_min = 2 }
application = { mttf_h = 1000, mttr_s = 30 }
[[topology]]
name = "pair"
hosts = 2
witness = true
profile = "ws2008r2"
"""


def wrong(text: str) -> list[str]:
    """What is said about a file."""
    with pytest.raises(StudyError) as caught:
        read("bad.toml", text.encode())
    return caught.value.problems


def test_a_good_file_is_read_as_it_is_written() -> None:
    """Input: why, years, rates with their laws and units, topologies with their profile."""
    study = read("some/where/good.toml", GOOD.encode())
    host = study.rates[Component.HOST]
    assert (study.name, study.years, study.repair_crews) == ("good", 100.0, 1)
    assert (host.failure.mean_s, host.failure.law, host.failure.shape) == (3_600_000.0, Law.WEIBULL, 1.5)
    assert (host.repair.mean_s, host.repair.law) == (14_400.0, Law.FIXED)
    assert study.rates[Component.ARRAY].failure.mean_s == math.inf
    assert study.rates[Component.GUEST_OS].repair.mean_s == 120.0
    assert study.rates[Component.APPLICATION].repair.mean_s == 30.0
    (pair,) = study.topologies
    assert (pair.hosts, pair.witness, pair.properties.dynamic_quorum) == (2, True, False)


def test_missing_rates_are_named_all_at_once() -> None:
    """A study with missing rates names them."""
    text = 'why = "x"\nyears = 1\n[rates.host]\nmttf_h = 1\n[[topology]]\nname = "a"\nhosts = 1\nwitness = false\n'
    found = wrong(text)
    for name in ("array", "path", "bus", "guest_os", "application"):
        assert any(f"the rates of `{name}` are missing" in problem for problem in found), name
    (repair,) = (problem for problem in found if "mean time of a repair" in problem)
    assert repair.startswith("3: [rates.host]")
    assert len(found) == 6


def test_everything_wrong_is_said_with_its_line() -> None:
    """Bad input: all problems at once with line numbers."""
    text = GOOD.replace("years = 100", 'years = "many"').replace("mttf_h = inf", "mttf_h = -1")
    text = text.replace("mttr_min = 2", "mttr_min = 2, mttr_s = 9").replace("hosts = 2", "hosts = 99\ncolour = 1")
    text = text.replace('"fixed"', '"slow"').replace('"ws2008r2"', '"ws2008r2"\ndynamic_quorum = true\narrays = 2')
    found = wrong(text + '[[topology]]\nname = "pair"\n')
    lines = [int(problem.partition(":")[0]) for problem in found]
    assert lines == sorted(lines)
    said = "\n".join(found)
    for part in (
        "2: `years` is 'many'",
        "5: [rates.host]: `repair` is 'slow'",
        "6: [rates.array]: `mttf_h` is -1",
        "9: [rates.guest_os]: mttr_min and mttr_s say the same twice",
        "13: topology 1: `hosts` is 99",
        "14: topology 1: `colour` is unknown",
        "17: topology 1: ws2008r2 has no dynamic quorum",
        "18: topology 1: `arrays` can only be 1",
        "`hosts` is missing",
        "`witness` is missing",
        "20: topology 2: a second topology is called 'pair'",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("years = ", "1: not TOML"),
        ("", "there is nothing to compare"),
        ("rates = 1", "1: `rates` is no table"),
        ("topology = 1", "1: there is nothing to compare"),
        (GOOD.replace("failure_shape = 1.5, ", ""), "5: [rates.host]: `failure_shape` is missing"),
        (GOOD.replace("repair = ", "repair_shape = 2, repair = "), "`repair_shape` belongs to"),
    ],
)
def test_no_file_is_taken_that_says_something_else(text: str, part: str) -> None:
    """Bad input: never a guess, always a remedy."""
    assert any(part in problem for problem in wrong(text))


def test_the_worked_example_is_a_good_file() -> None:
    """Documentation: two-, three- and four-node clusters, with and without a witness."""
    file = ROOT / "studies" / "two-three-four.toml"
    topologies = read(str(file), file.read_bytes()).topologies
    shapes = {(topology.hosts, topology.witness) for topology in topologies}
    assert {(hosts, witness) for hosts in (2, 3, 4) for witness in (False, True)} <= shapes
    document = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    assert all(f"\n| {topology.name} | " in document for topology in topologies), "make study"
