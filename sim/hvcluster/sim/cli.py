"""`hvc sim`: hands each of its commands to the module that knows it.

Law: names and help; what a command does is in its own module, which is loaded only when it is called. Exit status
everywhere: 0 all was well, 1 an invariant or an expectation was broken, 2 usage. A scenario file that cannot be read
raises what `open` and `model.scenario.parse` raise.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from collections.abc import Iterator
from typing import Final, NoReturn

from hvcluster.model.complaints import near

from . import overlay

COMMANDS: Final = {
    "run": ("hvcluster.sim.run_cli", "scenario files, in virtual time"),
    "replay": ("hvcluster.sim.replay_cli", "a scenario once more, compared with its trace bit for bit"),
    "explore": ("hvcluster.sim.explore_cli", "random disasters by the thousand, on all cores"),
    "exhaust": ("hvcluster.sim.exhaustive_cli", "every history there is, of a tiny lab"),
    "study": ("hvcluster.sim.study_cli", "availability over virtual years, by topology"),
}

COMPILED: Final = ("explore",)
"""Commands that run long enough to be worth it."""

HELP: Final = """\
usage: hvc sim COMMAND ...

The cluster's own decision code, under a simulated network, array and clock; every step is judged.

{commands}

examples:
  hvc sim explore --seeds 200                       200 disasters in a lab of 5 nodes and 20 VMs
  hvc sim explore --first 7 --seeds 1 --facts       one of them, with every decision and its reason
  hvc sim run scenarios/node-killed.toml            a story, in virtual time
  hvc sim COMMAND --help                            what a command can do

The same seed and the same options give the same history on any machine."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    asked = sys.argv[1:] if arguments is None else list(arguments)
    commands = "\n".join(f"  {name:10}{what}" for name, (_, what) in COMMANDS.items())
    if not asked or asked[0] in ("-h", "--help"):
        print(HELP.format(commands=commands))
        return 0 if asked else 2
    if asked[0] not in COMMANDS:
        hint = near(asked[0], COMMANDS) or f"one of {', '.join(COMMANDS)}"
        print(f"hvc sim: there is no command {asked[0]!r}; {hint}", file=sys.stderr)
        return 2
    if asked[0] in COMPILED:
        print(f"simulator: {overlay.use()}", file=sys.stderr)
    module = importlib.import_module(COMMANDS[asked[0]][0])
    with _quick_end():
        status = module.main(asked[1:])
    return int(status)


@contextlib.contextmanager
def _quick_end() -> Iterator[None]:
    """Ctrl-C ends the workers too. They would finish what they have in hand first: a minute, for a large lab."""

    def stop(*_: object) -> NoReturn:
        from multiprocessing import active_children

        for child in active_children():
            child.kill()
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
