"""`python -m hvcluster.runtime.tied [--parent PID] -- program arguments...`: run a foreign program tied to
its parent.

Law: sets the tie, then becomes the program (same pid, same standard streams). For programs that cannot call
`parent.tie` themselves, such as Mosquitto. The program must not change its user: the kernel forgets the tie
then.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from hvcluster.runtime import parent

USAGE_EXIT_STATUS = 2
NOT_FOUND_EXIT_STATUS = 127


def argv(program: Sequence[str], parent_pid: int | None = None) -> list[str]:
    """The command line that runs `program` tied to `parent_pid` (default: the calling process)."""
    pid = os.getpid() if parent_pid is None else parent_pid
    return [sys.executable, "-m", "hvcluster.runtime.tied", "--parent", str(pid), "--", *program]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns an exit status only if the program could not be run."""
    parser = argparse.ArgumentParser(prog="python -m hvcluster.runtime.tied", description=__doc__)
    parser.add_argument("--parent", type=int, default=None, metavar="PID", help="default: whoever is the parent now")
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="-- program argument...")
    options = parser.parse_args(arguments)
    program: list[str] = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not program:
        print("tied: no program given", file=sys.stderr)
        return USAGE_EXIT_STATUS
    parent.tie(os.getppid() if options.parent is None else options.parent)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        print(f"tied: {program[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND_EXIT_STATUS


if __name__ == "__main__":
    sys.exit(main())
