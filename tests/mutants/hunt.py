"""One hunt for all mutants: which lab a seed runs in, and how a seed says that something is wrong.

Law: the hunt never knows which mutant it hunts, nor whether there is one.
"""

from __future__ import annotations

import re
import resource
import signal
import time
from dataclasses import dataclass, replace
from types import FrameType
from typing import Final

from hvcluster.model.definition import TagWitnessKind
from hvcluster.sim.campaign import Plan, run_seed
from tests.mutants.catalogue import named
from tests.mutants.patching import Mutant, put_on

_SHORT_LOG = (("snapshot_entries", 10),)
_RESILIENT = (
    ("resiliency_default_period_ms", 8_000),
    ("quarantine_threshold", 2),
    ("quarantine_duration_ms", 60_000),
    ("guest_disk_timeout_ms", 10_000),
    ("storage_resiliency_period_ms", 60_000),
)

MINUTES: Final = 4.0
FAULT_EVERY_S: Final = (8.0, 15.0, 30.0)
"""Taken in turn as well: where much breaks, little is ever begun that could be broken in the middle."""

LABS: Final[tuple[Plan, ...]] = (
    Plan(nodes=2, vms=2, paths=2, properties=_SHORT_LOG),
    Plan(nodes=3, vms=2, witness=False, properties=_SHORT_LOG),
    Plan(nodes=4, vms=3, connection_loss_detection=True),
    Plan(nodes=2, vms=1, paths=2, profile="ws2008r2", properties=_SHORT_LOG),
    Plan(nodes=5, vms=3, paths=2, connection_loss_detection=True, properties=_SHORT_LOG),
    Plan(nodes=4, vms=2, profile="ws2008r2", roles=2, role_draw=4),
    Plan(nodes=4, vms=3, witness=False, profile="ws2016", properties=_RESILIENT),
    Plan(nodes=2, vms=2, profile="ws2008r2", tag_witness=TagWitnessKind.FILE_SHARE, properties=_SHORT_LOG),
    Plan(nodes=4, vms=2, connection_loss_detection=True, tag_witness=TagWitnessKind.CLOUD),
    Plan(nodes=5, vms=4, paths=2, volumes=1, on_volumes=4, requests_every_s=0.5, properties=_SHORT_LOG),
    Plan(nodes=4, vms=3, connection_loss_detection=True, volumes=1, on_volumes=2),
)
"""Small labs, taken in turn: what is wrong with a protocol is wrong with few nodes, and few nodes are fast.

With connection-loss detection a takeover follows a death within milliseconds, as faults do that follow each other.
"""

ENDLESS_CPU_S: Final = 60.0
"""More than a hundred times what a seed takes: whoever needs more does not end."""

MOST_MEMORY_BYTES: Final = 4 << 30
"""Of one worker; a seed takes a hundredth of it, and a list that grows without an end must not take the machine."""


UNFIT: Final = re.compile(r"a core failed: (TypeError|AttributeError|NameError)")
"""What a mutant runs into that was not changed along with the code: that is no find."""


class Endless(BaseException):
    """A seed used up its time."""


def lab_of(seed: int) -> Plan:
    """The lab that a seed runs in."""
    every_s = FAULT_EVERY_S[seed // len(LABS) % len(FAULT_EVERY_S)]
    return replace(LABS[seed % len(LABS)], minutes=MINUTES, fault_every_s=every_s)


def hunted(mutant: Mutant | None, seed: int) -> str | None:
    """What is wrong under this seed; None when nothing was seen."""
    with put_on(mutant):
        before = signal.signal(signal.SIGVTALRM, _ring)
        signal.setitimer(signal.ITIMER_VIRTUAL, ENDLESS_CPU_S)
        try:
            verdict = run_seed(lab_of(seed), seed)
        except Endless:
            return f"seed {seed}: does not end ({ENDLESS_CPU_S:g} s of CPU)"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
            signal.signal(signal.SIGVTALRM, before)
    assert mutant is None or not UNFIT.search(verdict.broken), f"{mutant.name} does not fit the code: {verdict.broken}"
    return None if verdict.ok else verdict.broken


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some seeds in a row: the first, the last that was looked at, and what is wrong under that one ("": nothing)."""

    first: int
    last: int
    what: str
    cpu_s: float


def look(name: str | None, first: int, count: int) -> Chunk:
    """Look at seeds in order until one shows something wrong that the code as it is does not show."""
    mutant = named(name) if name is not None else None
    began = time.process_time()
    what, seed = "", first
    for seed in range(first, first + count):
        what = hunted(mutant, seed) or ""
        if what and (mutant is None or hunted(None, seed) is None):
            break
        what = ""
    return Chunk(first, seed, what, time.process_time() - began)


def limited() -> None:
    """Make this process a worker that cannot take the machine down with it."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise Endless
