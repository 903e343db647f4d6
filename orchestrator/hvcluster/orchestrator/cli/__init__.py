"""`hvc`: the command line.

Law: commands are found by name and imported when called, so that each answers at once. Results go to standard output,
progress and errors to standard error; every failure has the exit status that `errors.Exit` gives it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from hvcluster.orchestrator.errors import Exit, Failure

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "new": ("setup", "new", "Write a commented lab file."),
    "check": ("setup", "check", "Check a lab file and start nothing."),
    "up": ("setup", "up", "Start a lab and wait until it is healthy."),
    "down": ("setup", "down", "End a lab, wherever it was started from."),
    "labs": ("setup", "labs", "List the labs of this machine."),
    "status": ("view", "status", "Nodes, groups, resources, reservations, votes."),
    "watch": ("view", "watch", "The same, live."),
    "get": ("get", "get", "Nodes, groups, resources, quorum, networks, logs, events: one kind of thing."),
    "why": ("why", "why", "Why a group is where it is: the chain of facts behind it."),
    "test": ("validate", "test", "Validate a running lab (Test-Cluster)."),
    "log": ("view", "log", "The cluster log of all nodes, merged by time."),
    "journal": ("view", "journal", "What the array was told, from its own journal."),
    "kill": ("faults", "kill", "Kill a process (SIGKILL)."),
    "start": ("faults", "start", "Start a dead process again."),
    "break": ("faults", "break_", "Break a VM: crash, hang, application."),
    "fail": ("resources", "fail", "Have a resource of a role fail, for its policies to act."),
    "freeze": ("faults", "freeze", "Freeze a process (SIGSTOP)."),
    "thaw": ("faults", "thaw", "Let a frozen process go on (SIGCONT)."),
    "stop": ("faults", "stop", "Stop a node politely: its VMs move first."),
    "shutdown": ("faults", "shutdown", "Shut a host down: its VMs move first, or are saved."),
    "wipe": ("faults", "wipe", "Empty a dead node's disk."),
    "cut": ("faults", "cut", "Cut a node from buses, peers or the array."),
    "heal": ("faults", "heal", "Heal what was cut."),
    "bus": ("faults", "bus", "Kill or start a heartbeat network."),
    "san": ("san", "san", "Look at the array: LUNs, sessions, reservations; kill or start it."),
    "move-csv": ("work", "move_csv", "Let another node coordinate a shared volume."),
    "move": ("work", "move", "Move a VM to another node: live, quick, or so that it boots there."),
    "cancel-move": ("work", "cancel_move", "End a live migration; the VM stays where it is."),
    "add": ("belonging", "add", "Add a node to the cluster."),
    "remove": ("belonging", "remove", "Evict a node, or remove an affinity rule."),
    "clear": ("belonging", "clear", "Clear an evicted node of its cluster configuration."),
    "set": ("wishes", "set_", "Change a VM's policy, properties, votes or quorum."),
    "online": ("work", "online", "Bring a VM, group or resource online that was taken offline."),
    "offline": ("work", "offline", "Take a VM (saved, usually), group or resource offline, and keep it so."),
    "pause": ("work", "pause", "Let a node take no more VMs."),
    "resume": ("work", "resume", "Let a paused node take VMs again."),
    "update": ("wishes", "update", "Drain, restart and resume every node in turn."),
    "backup": ("settings", "backup", "Write the settings of a running cluster to a file."),
    "restore": ("settings", "restore", "Put the settings of a backup back, on every node."),
    "vhd": ("vhd", "vhd", "Virtual disks of VMs: export one to a file."),
    "probe": ("work", "probe", "Measure a client's downtime and verify its records."),
    "demo": ("work", "demo", "The whole story, told as it happens."),
    "run": ("run", "run", "Run scenario files on real processes, or in containers."),
    "sim": ("sim", "sim", "Run a cluster in the deterministic simulator."),
    "compose": ("compose", "compose", "Helpers for the compose project."),
    "completion": ("completion", "completion", "Let a shell complete commands."),
    "version": ("setup", "version", "Show the version."),
}

EPILOG: Final = """\b
Examples:
  hvc demo                      a failover, told as it happens
  hvc new lab && hvc up         a lab of your own
  hvc kill HyperV-1             and watch with: hvc watch
  hvc status --json | jq .groups
  hvc why D1                    and why it is there

\b
Cmdlets of the product are commands as well, and so are verbs with a noun:
  hvc Get-ClusterNode; hvc Move-ClusterGroup D1 -Node HyperV-2
  hvc move group D1 --node HyperV-2; hvc suspend node HyperV-2; hvc stop group D1

\b
Exit status: 0 done; 1 something promised did not hold; 2 usage; 3 no such lab, node or VM; 4 refused;
5 not done in time; 6 lab or scenario file invalid; 7 port busy; 8 nobody answers; 130 interrupted.
"""


class Lazy(click.Group):
    """A group whose commands are modules imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f".{entry[0]}", __name__)
        command = getattr(module, entry[1])
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and cmdlets once a capital letter says that one is meant."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete[:1].isupper():
            from click.shell_completion import CompletionItem

            from .cmdlets import CMDLETS

            found += [CompletionItem(name) for name in sorted(CMDLETS) if name.lower().startswith(incomplete.lower())]
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from hvcluster.orchestrator.lab_reader import near

            hint = near(name, COMMANDS) or "see `hvc --help`"
            raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


@click.group(
    cls=Lazy, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
def cli() -> None:
    """A Hyper-V failover cluster of real processes: run it, break it on purpose, and trust the verdict."""


def main() -> None:
    """Entry point of `hvc`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit status. Raises nothing a person could cause."""
    from click.exceptions import Abort, ClickException, NoArgsIsHelpError
    from click.exceptions import Exit as ClickExit

    from .spoken import plain

    try:
        result = cli.main(plain(arguments, options_of), prog_name="hvc", standalone_mode=False)
        sys.stdout.flush()
    except NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except ClickExit as error:
        return error.exit_code
    except ClickException as error:
        error.show()
        return Exit.USAGE
    except (Abort, KeyboardInterrupt):
        complain("interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except (Failure, OSError, ExceptionGroup) as error:
        return _report(error)
    return result if isinstance(result, int) else Exit.OK


def options_of(words: Sequence[str]) -> dict[str, bool]:
    """The options of one command, found by the words that begin it, and whether each takes a value."""
    command: click.Command | None = cli
    for word in words:
        command = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
    options = [param for param in command.params if isinstance(param, click.Option)] if command is not None else []
    return {name: not param.is_flag for param in options for name in param.opts}


def _report(error: Failure | OSError | ExceptionGroup[Exception]) -> int:
    if isinstance(error, Failure):
        complain(error.text, error.remedy)
        return error.status
    if isinstance(error, ExceptionGroup):
        inner = error.exceptions[0]
        if isinstance(inner, Failure | OSError | ExceptionGroup):
            return _report(inner)
        raise error
    complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return Exit.FAILED


def complain(text: str, remedy: str = "") -> None:
    """An error on standard error: what happened, then what to do."""
    lines = text.splitlines() or [""]
    click.echo(f"hvc: {lines[0]}", err=True)
    for line in lines[1:]:
        click.echo(f"  {line}", err=True)
    if remedy:
        click.echo(f"  -> {remedy}", err=True)
