"""`python -m hvcluster.node.rhs`: the resource monitor (RHS) of one node as a process.

Law: wiring only. Reads calls from its standard input and answers on its standard output until the node is gone, then
ends itself and everything that its resources have started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

from hvcluster.model.codec import Malformed

from .calls import MAX_LINE, Answer, call_in, line
from .hosting import Host


def main() -> int:
    """Serve until the standard input ends; never returns normally: the whole process group is killed then."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what resources print must not be taken for an answer
    lock = threading.Lock()

    def say(answer: Answer) -> None:
        with lock, contextlib.suppress(BrokenPipeError):
            answers.write(line(answer))

    host = Host(say)
    try:
        for data in iter(lambda: sys.stdin.buffer.readline(MAX_LINE), b""):
            host.take(call_in(data))
    except Malformed as error:
        print(f"the node sent no call: {error}", file=sys.stderr)
    finally:
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)
    return 1


if __name__ == "__main__":
    sys.exit(main())
