"""Scenario files as `hvc sim run` and `hvc run` read them: what is wrong with one, said alike by both."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.faults import AMOUNTS, TARGETS, FaultWord, Target
from hvcluster.model.scenario import Scenario, ScenarioError, parse
from hvcluster.orchestrator.errors import Exit

LAB = 'why = "a test"\n[lab]\n'
STEP = "[[step]]\nwait_s = 1\n"


def problems(text: str) -> tuple[str, ...]:
    """What is wrong with a scenario file."""
    with pytest.raises(ScenarioError) as raised:
        parse("some/where/x.toml", text)
    return raised.value.problems


BAD = {
    "no sentence": ("[lab]\n" + STEP, "say in a sentence"),
    "no step": (LAB, "1 to 200 [[step]]"),
    "a key that was once there": ("docker = true\n" + LAB + STEP, "`docker` is unknown"),
    "not TOML": ("why = \n", "not TOML"),
    "thousands of digits": (LAB + "nodes = " + "9" * 5000 + "\n" + STEP, "3: a number has thousands of digits"),
    "a date as a time": (LAB + "[[step]]\nwait_s = 1979-05-27\n", "`wait_s` is 1979-05-27"),
    "a property beyond all numbers": (
        LAB + "properties = { regroup_delay_ms = 1" + "0" * 400 + " }\n" + STEP,
        "write a smaller number",
    ),
    "a profile that is not there, and a path that is": (
        LAB + 'profile = "ws95"\n[[step]]\ndo = "cut_array"\ntarget = "leader"\nwire = "A"\n',
        "there is no profile 'ws95'",
    ),
    "too many paths": (LAB + "paths = 5\n" + STEP, "0 to 4"),
    "a truth as a number": (LAB + "nodes = true\n" + STEP, "1 to 64"),
    "witness in words": (LAB + 'witness = "yes"\n' + STEP, "write true (a disk), false"),
    "a fault of a share that is not there": (
        LAB + '[[step]]\ndo = "witness_kill"\n',
        'write witness = "file-share" in [lab]',
    ),
    "an owner that is not there": (LAB + "owners = [1, 4]\n" + STEP, "names no node: 4"),
    "an owner in words": (LAB + 'owners = ["HyperV-1"]\n' + STEP, "names no node: 'HyperV-1'"),
    "more owners than VMs": (LAB + "owners = [1, 2, 3]\n" + STEP, "at most one node id per VM"),
    "a profile that is not there": (LAB + 'profile = "ws95"\n' + STEP, "there is no profile 'ws95'"),
    "a property of the wrong type": (
        LAB + 'properties = { dynamic_quorum = "no" }\n' + STEP,
        "write true or false",
    ),
    "a property that is not there": (LAB + "properties = { delay = 1 }\n" + STEP, "`delay` is unknown"),
    "a property out of range": (LAB + "properties = { same_subnet_delay_ms = 5 }\n" + STEP, "250 to 2000"),
    "no such fault": (LAB + '[[step]]\ndo = "explode"\n', "there is no fault 'explode'"),
    "a fault without its target": (LAB + '[[step]]\ndo = "kill"\n', "'' is no target of `kill`"),
    "a node that is not there": (LAB + '[[step]]\ndo = "kill"\ntarget = "HyperV-4"\n', "HyperV-4"),
    "a VM that is not there": (LAB + '[[step]]\ndo = "kill"\ntarget = "owner of D9"\n', "owner of D9"),
    "a bus that is not there": (LAB + '[[step]]\ndo = "bus_kill"\ntarget = "C"\n', "write A or B"),
    "a target too many": (LAB + '[[step]]\ndo = "san_kill"\ntarget = "san"\n', "has no target"),
    "a target without a fault": (LAB + '[[step]]\ntarget = "HyperV-1"\n', "add `do`"),
    "a dead one by its deed": (LAB + '[[step]]\ndo = "start"\ntarget = "leader"\n', "no target of `start`"),
    "nobody holds what is not there": (
        LAB + 'witness = false\n[[step]]\ndo = "kill"\ntarget = "holder of the witness"\n',
        "no target of `kill`",
    ),
    "a direction of a kill": (
        LAB + '[[step]]\ndo = "kill"\ntarget = "leader"\ndirection = "in"\n',
        "has no direction",
    ),
    "a direction that is none": (
        LAB + '[[step]]\ndo = "cut_array"\ntarget = "leader"\ndirection = "up"\n',
        "both, in or out",
    ),
    "no amount": (LAB + '[[step]]\ndo = "loss"\n', "`amount` is missing; write 0 to 0.9 (share)"),
    "an amount out of range": (LAB + '[[step]]\ndo = "slowness"\namount = 0.5\n', "write 1 to 1000 (factor)"),
    "an amount of a kill": (LAB + '[[step]]\ndo = "kill"\ntarget = "leader"\namount = 1\n', "has no amount"),
    "a wire of a kill": (LAB + '[[step]]\ndo = "kill"\ntarget = "leader"\nwire = "A"\n', "has no wire"),
    "a path that is not there": (
        LAB + '[[step]]\ndo = "cut_array"\ntarget = "leader"\nwire = "B"\n',
        "`wire` is 'B'; write A, or leave it out",
    ),
    "an operator nowhere": (LAB + '[[step]]\ndo = "move"\ntarget = "D1"\nvia = "HyperV-9"\n', "`via` names no node"),
    "an operator of a kill": (LAB + '[[step]]\ndo = "kill"\ntarget = "leader"\nvia = "leader"\n', "has no via"),
    "a time in the middle": (LAB + STEP + "[[step]]\nat_s = 5\n", "needs one in the first step"),
    "a time left out": (LAB + '[[step]]\nat_s = 1\n[[step]]\ndo = "heal"\n', "`at_s` is missing"),
    "a time that runs backwards": (LAB + "[[step]]\nat_s = 9\n[[step]]\nat_s = 3\n", "earlier than 9 s"),
    "a time before all": (LAB + "[[step]]\nat_s = -1\n", "write a number of seconds"),
    "a seed in words": ('seed = "one"\n' + LAB + STEP, "`seed` is 'one'"),
    "requests too often": ("requests_every_s = 0\n" + LAB + STEP, "0.01 to 3600"),
    "no side": (LAB + '[[step]]\ndo = "partition"\n', "`side` is no list"),
    "everybody on one side": (LAB + '[[step]]\ndo = "partition"\nside = ["leader", "leader", "leader"]\n', "not all"),
    "a side that names nobody": (LAB + '[[step]]\ndo = "partition"\nside = ["X"]\n', "names no node: 'X'"),
    "a node on a side twice": (LAB + '[[step]]\ndo = "partition"\nside = ["leader", "leader"]\n', "twice"),
    "no time": (LAB + '[[step]]\nexpect = { online = "all" }\n', "how many seconds"),
    "a truth as a time": (LAB + "[[step]]\nexpect = { within_s = true }\n", "how many seconds"),
    "a VM in an expectation": (LAB + '[[step]]\nexpect = { within_s = 1, online = ["D3"] }\n', "'D3'"),
    "all and more": (LAB + '[[step]]\nexpect = { within_s = 1, stayed = ["all", "D1"] }\n', "one or the other"),
    "a node in an expectation": (LAB + '[[step]]\nexpect = { within_s = 1, not_on = ["D1"] }\n', "'D1'"),
    "no text in a list": (LAB + "[[step]]\nexpect = { within_s = 1, off = [1] }\n", "names in quotes"),
    "a state that is none": (
        LAB + '[[step]]\nexpect = { within_s = 1, node = "HyperV-1", state = "HAPPY" }\n',
        "there is no state 'HAPPY'",
    ),
    "a node without a state": (LAB + '[[step]]\nexpect = { within_s = 1, node = "HyperV-1" }\n', "belong together"),
    "a truth in words": (LAB + '[[step]]\nremember = "yes"\n', "write true or false"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_mistake_is_named_with_its_remedy(case: str) -> None:
    """Bad input: a scenario with a mistake in it is refused, saying where, what, and what to write."""
    text, words = BAD[case]
    found = problems(text)
    assert len(found) == 1, found
    assert words in found[0]


def test_a_scenario_is_named_by_its_file_and_its_problems_by_the_path() -> None:
    """A person who runs many files must see which one is meant; the name alone is what verdicts show."""
    assert parse("some/where/a.b.toml", LAB + STEP).name == "a.b"
    with pytest.raises(ScenarioError) as raised:
        parse("some/where/x.toml", "colour = 1\n[lab]\n")
    lines = str(raised.value).splitlines()
    assert lines[0] == "some/where/x.toml has 3 problems; nothing was started"
    assert [line.split(" ", 1)[0] for line in lines[1:]] == [f"some/where/x.toml:{number}:" for number in (1, 1, 1)]
    with pytest.raises(ScenarioError, match="toml:2: the file is not UTF-8"):
        parse("x.toml", b"# \nwhy = '\xff'")
    with pytest.raises(ScenarioError, match="toml:2: not TOML: Cannot overwrite a value; see column 8"):
        parse("x.toml", "why='x'\nwhy='y'\n")
    found = problems(LAB + 'owners = [8, 9]\nprofile = "ws95"\nproperties = { regroup_delay_ms = -1 }\n' + STEP)
    assert len(found) == 4, "one for each owner, the profile and the property"


def test_a_file_of_a_windows_editor_is_read() -> None:
    """Notepad puts a mark before the first letter and ends lines its own way."""
    text = LAB + STEP
    assert parse("x", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()) == parse("x", text)


def test_every_fault_says_what_it_strikes() -> None:
    """Each word of the language is either in the table of targets or concerns the whole lab."""
    nodes = {word.name: word for word in FaultWord if TARGETS.get(word) is Target.NODE}
    for word in nodes.values():
        for target in ("HyperV-2", "leader", "a follower", "owner of D2", "holder of the witness"):
            amount = f"amount = {AMOUNTS[word].most}\n" if word in AMOUNTS else ""
            step = f'[[step]]\ndo = "{word.name.lower()}"\ntarget = "{target}"\n{amount}'
            fault = (
                parse("x", LAB + 'witness = "file-share"\n[lab.vm.D1]\nnetwork = "Production"\n' + step).steps[0].fault
            )
            assert fault is not None
            assert (fault.word, fault.target) == (word, target)
    cuts = {"CUT_BUSES", "CUT_PEERS", "CUT_ARRAY", "CUT_WITNESS", "CUT_NETWORK"}
    operators = {"STOP", "SHUTDOWN", "PAUSE", "DRAIN", "WEIGH", "EVICT"}
    monitors = {"CRASH_MONITOR", "HANG_MONITOR"}
    assert {"KILL", "FREEZE", "CRASH", "HOLD_PATH", "SLOW_OFF", *operators, *monitors, *cuts} == set(nodes)


_VALUES = st.one_of(
    st.integers(-2, 70),
    st.booleans(),
    st.sampled_from(['"all"', '"D1"', '"leader"', '"UP"', "[]", "{}", "[1]", '["HyperV-1"]', "[[]]", "inf", "nan"]),
)


_KEYS = (
    "nodes", "vms", "paths", "witness", "owners", "profile", "properties", "do", "target", "direction", "side",
    "wait_s", "remember", "expect", "within_s", "hold", "online", "off", "node", "state", "refused", "amount", "wire",
    "via", "at_s", "seed", "requests_every_s", "healthy",
)  # fmt: skip


@given(st.sampled_from(_KEYS), _VALUES)
def test_any_value_anywhere_is_judged_not_raised(key: str, value: object) -> None:
    """Whatever stands in a table, the answer is a scenario or problems."""
    said = str(value).lower() if isinstance(value, bool) else str(value)
    fault = "" if key == "do" else 'do = "partition"\n'
    for text in (
        f"{LAB}{key} = {said}\n{STEP}",
        f"{LAB}[[step]]\n{fault}{key} = {said}\n",
        f"{LAB}[[step]]\n[step.expect]\n{key} = {said}\n",
    ):
        with contextlib.suppress(ScenarioError):
            assert isinstance(parse("x", text), Scenario)


@pytest.mark.parametrize(
    ("content", "status"),
    [(None, Exit.NOT_FOUND), ("a directory", Exit.NOT_FOUND), ("colour = 1\n", Exit.LAB_INVALID)],
)
def test_both_commands_refuse_a_file_alike(tmp_path: Path, content: str | None, status: Exit) -> None:
    """Bad input: the same words and the same exit status, whether time is virtual or real."""
    file = tmp_path / "x.toml"
    if content == "a directory":
        file.mkdir()
    elif content is not None:
        file.write_text(content)
    program = "from hvcluster.orchestrator.cli import main; main()"
    sim, real = (
        subprocess.run(
            [sys.executable, "-c", program, *command, str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for command in (("sim", "run"), ("run",))
    )
    assert (sim.returncode, real.returncode) == (status, status)
    assert sim.stderr == real.stderr
    assert str(file) in sim.stderr
    assert "  -> " in sim.stderr
