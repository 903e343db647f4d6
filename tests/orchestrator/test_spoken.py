"""Cmdlets of the product and verbs with a noun: the same commands in other words, and a reason where there is none."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from hvcluster.orchestrator.cli import cli, options_of
from hvcluster.orchestrator.cli.cmdlets import ARGUMENT, CMDLETS, NOT_EMULATED, REASONS, reason
from hvcluster.orchestrator.cli.spoken import plain
from hvcluster.orchestrator.errors import Exit, Failure


def said(line: str) -> str:
    """The plain command line."""
    return " ".join(plain(line.split(), options_of))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("move group D1 --node HyperV-2", "move D1 --node HyperV-2"),
        ("suspend node HyperV-2", "pause HyperV-2"),
        ("suspend HyperV-2 --drain", "pause HyperV-2 --drain"),
        ("resume node HyperV-2", "resume HyperV-2"),
        ("start node HyperV-2", "start HyperV-2"),
        ("stop node HyperV-2", "stop HyperV-2"),
        ("start group D1 --lab X", "online D1 --lab X"),
        ("stop group D1", "offline D1"),
        ("move D1 --to HyperV-2", "move D1 --to HyperV-2"),
        ("stop HyperV-3", "stop HyperV-3"),
        ("move group --to HyperV-2", "move group --to HyperV-2"),
        ("", ""),
    ],
)
def test_a_verb_with_a_noun_is_the_plain_command(line: str, expected: str) -> None:
    """`hvc VERB NOUN NAME` beside the verbs that were there; a VM that is called like a noun keeps its name."""
    assert said(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Get-ClusterNode", "get node"),
        ("get-clusternode HyperV-1,HyperV-2 -o json", "get node HyperV-1 HyperV-2 -o json"),
        ("GET-CLUSTER -Cluster TWO", "get cluster --lab TWO"),
        ("Move-ClusterGroup D1 -Node HyperV-2", "move D1 --to HyperV-2"),
        ("Move-ClusterGroup D1 HyperV-2", "move D1 --to HyperV-2"),
        ("Move-ClusterGroup -Node HyperV-2 -Name D1", "move D1 --to HyperV-2"),
        ("Move-ClusterGroup -No:HyperV-2 D1 --lab X", "move D1 --to HyperV-2 --lab X"),
        ("Stop-ClusterGroup -Name D1", "offline D1"),
        ("Start-ClusterGroup D1", "online D1"),
        ("Stop-ClusterNode HyperV-1 -Force", "stop HyperV-1"),
        ("Start-ClusterNode HyperV-1", "start HyperV-1"),
        ("Suspend-ClusterNode -Name HyperV-1", "pause HyperV-1"),
        ("Suspend-ClusterNode HyperV-1 -Drain -ForceDrain", "pause HyperV-1 --drain --force"),
        ("Resume-ClusterNode HyperV-1", "resume HyperV-1"),
        ("Resume-ClusterNode HyperV-1 -Failback NoFailback", "resume HyperV-1 --failback none"),
        ("Get-ClusterLog -UseLocalTime -TimeSpan 5 -Dest . -Node A,B",
         "get log --use-local-time --time-span 5 --destination . --node A --node B"),
        ("Get-ClusterLog -UseLocalTime:$false", "get log"),
        ("Get-ClusterQuorum --help", "get quorum --help"),
        ("Set-ClusterQuorum -NoWitness", "set quorum --node-majority"),
        ("Set-ClusterQuorum -DiskWitness LUN1", "set quorum --disk-witness LUN1"),
        ("Set-ClusterOwnerNode -Owners HyperV-1,HyperV-2 -Group D1", "set group D1 preferred=HyperV-1,HyperV-2"),
        ("Get-WinEvent Microsoft-Windows-FailoverClustering/Operational -MaxEvents 3",
         "get events --channel Operational --last 3"),
        ("Get-ClusterLog --use-local-time A --level 4", "get log --use-local-time --node A --level 4"),
    ],
)  # fmt: skip
def test_a_cmdlet_is_a_command(line: str, expected: str) -> None:
    """Names in any case, parameters with `-Name value`, by a beginning of theirs, by position, several with commas."""
    assert said(line) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Get-ClusterNode -Nmae HyperV-1", "none that is emulated"),
        ("Get-ClusterLog -Node", "needs a value"),
        ("Get-ClusterQuorum HyperV-1", "no further value"),
        ("Get-ClusterLog -", "could be several"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_usage_error(line: str, words: str) -> None:
    """Bad input: what is wrong with it is said, with the parameters that are known."""
    with pytest.raises(click.UsageError, match=words):
        said(line)


@pytest.mark.parametrize("name", sorted(NOT_EMULATED))
def test_what_the_product_has_and_we_have_not_is_answered_with_the_reason(name: str) -> None:
    """Nothing pretends: a cmdlet that is not emulated says why, or what to do instead."""
    with pytest.raises(Failure, match=f"{name} is not emulated: ") as refused:
        said(f"{name.lower()} -Anything goes")
    assert refused.value.status is Exit.REFUSED
    assert reason(name) != "nothing here is like it"


def test_a_cmdlet_that_does_not_exist_is_not_found() -> None:
    """A name that only looks like a cmdlet is answered with near ones; what is no cmdlet at all is left alone."""
    with pytest.raises(Failure, match="Get-ClusterNoed") as missing:
        said("Get-ClusterNoed")
    assert missing.value.status is Exit.NOT_FOUND
    assert "Get-ClusterNode" in missing.value.remedy
    assert said("get-well soon") == "get-well soon"


def test_a_parameter_that_our_command_has_not_is_refused() -> None:
    """A known parameter without an option of ours behind it is not emulated; it is never passed over silently."""
    with pytest.raises(Failure, match="-Wait of Move-ClusterGroup is not emulated"):
        plain(["Move-ClusterGroup", "D1", "-Wait", "0"], lambda _: {})


@pytest.mark.parametrize("name", sorted(CMDLETS))
def test_every_cmdlet_leads_to_a_command(name: str) -> None:
    """The table names commands that exist, and positions that are parameters."""
    cmdlet = CMDLETS[name]
    command: click.Command | None = cli
    for word in cmdlet.words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    assert set(cmdlet.positional) <= set(cmdlet.parameters)
    assert cmdlet.switches <= set(cmdlet.parameters)
    if ARGUMENT in cmdlet.parameters.values():
        assert any(isinstance(param, click.Argument) for param in command.params)


def test_no_reason_is_hidden_behind_a_shorter_one() -> None:
    """The first part that is found counts: a longer part that contains an earlier one would never be."""
    parts = [part for part, _ in REASONS]
    hidden = [(early, late) for at, early in enumerate(parts) for late in parts[at + 1 :] if early in late]
    assert hidden == []


def test_the_document_lists_every_cmdlet_with_what_it_takes() -> None:
    """docs/cmdlets.md: each cmdlet with its command and those of its parameters that have something behind them."""
    document = (Path(__file__).parents[2] / "docs" / "cmdlets.md").read_text(encoding="utf-8")
    expected = []
    for name, cmdlet in CMDLETS.items():
        options = options_of(cmdlet.words)
        taken = [each for each, to in cmdlet.parameters.items() if to == ARGUMENT or to in options or "{}" in to]
        shown = f" {', '.join(taken)}" if taken else ""
        expected.append(f"| `{name}` | `hvc {' '.join(cmdlet.words)}` |{shown} |")
    assert sorted(line for line in document.splitlines() if line.startswith("| `")) == sorted(expected)
