"""Storage tests on scratch disks: what a cluster asks of an array, asked and judged command by command.

Law: each test begins with a disk that nobody is registered on, and leaves it so. Keys are random; a step says which
command went out from which host, and a line fails where the answer is not the one the standard names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from hvcluster.model.scsi import (
    Keys,
    PersistentReserveIn,
    PersistentReserveOut,
    Read,
    Reservation,
    ReservationType,
    ReserveIn,
    ReserveOut,
    Result,
    Status,
    Write,
)
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId

from .report import Line, failed, ok, warning
from .scratch import Host, Scratch

TYPE = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
SLOW_MS = 500.0
"""An array of a lab answers in a few milliseconds; beyond this its clients notice."""
ROUNDS = 16


class Steps:
    """One test on one disk: what was asked, and whether the answer was the right one."""

    def __init__(self, lun: LunId) -> None:
        self.lun = lun
        self.lines: list[Line] = []

    def check(self, what: str, result: Result, wanted: Status = Status.GOOD) -> bool:
        """One command's answer."""
        good = result.status is wanted
        sense = f" ({result.sense})" if result.sense is not None else ""
        text = f"{what}: {_words(result.status)}{sense}"
        self.lines.append(ok(text) if good else failed(f"{text}; {_words(wanted)} was expected"))
        return good

    def same(self, what: str, found: object, wanted: object) -> bool:
        """Something that was read."""
        good = found == wanted
        self.lines.append(ok(what) if good else failed(f"{what}: not so, found {_short(found)}"))
        return good

    async def register(self, host: Host) -> None:
        """Register the host's key on every path."""
        for session, result in zip(host.sessions, await host.register(self.lun), strict=True):
            self.check(f"register key {host.key:016x} from {host.name}, path {session.port}", result)

    async def reserve(self, host: Host, wanted: Status = Status.GOOD) -> None:
        """RESERVE of the cluster's type."""
        result = await host.do(self.lun, PersistentReserveOut(ReserveOut.RESERVE, host.key, type=TYPE))
        self.check(f"reserve (Write Exclusive, Registrants Only) from {host.name}", result, wanted)

    async def preempt(self, host: Host, victim: Host, wanted: Status = Status.GOOD) -> None:
        """PREEMPT naming another host's key."""
        action = PersistentReserveOut(ReserveOut.PREEMPT, host.key, victim.key, TYPE)
        result = await host.do(self.lun, action)
        self.check(f"preempt from {host.name}, naming the key of {victim.name}", result, wanted)

    async def write(self, host: Host, mark: int, wanted: Status = Status.GOOD) -> None:
        """One block, full of one byte."""
        result = await host.do(self.lun, Write(1, bytes([mark]) * BLOCK_BYTES))
        self.check(f"write a block from {host.name}", result, wanted)

    async def read(self, host: Host, mark: int) -> None:
        """The same block."""
        result = await host.do(self.lun, Read(1, 1))
        if self.check(f"read the block from {host.name}", result):
            self.same("it has what was written", result.payload, bytes([mark]) * BLOCK_BYTES)

    async def holder(self, host: Host, wanted: Host | None) -> None:
        """Who holds the reservation, read from a host."""
        result = await host.do(self.lun, PersistentReserveIn(ReserveIn.READ_RESERVATION))
        held = result.payload
        if not isinstance(held, Reservation):
            self.check(f"read the reservation from {host.name}", result)
            return
        who = "nobody holds it" if wanted is None else f"{wanted.name} holds it"
        self.same(
            f"read the reservation from {host.name}: {who}",
            (held.key, held.type),
            (None, None) if wanted is None else (wanted.key, TYPE),
        )

    async def keys(self, host: Host, wanted: Iterable[Host]) -> None:
        """Which keys are registered, read from a host."""
        result = await host.do(self.lun, PersistentReserveIn(ReserveIn.READ_KEYS))
        hosts = list(wanted)
        if not isinstance(result.payload, Keys):
            self.check(f"read the keys from {host.name}", result)
            return
        names = f"{', '.join(each.name for each in hosts)} on every path" if hosts else "nobody"
        expected = sorted(each.key for each in hosts for _ in each.sessions)
        self.same(f"read the keys from {host.name}: {names}", sorted(result.payload.keys), expected)

    async def clear(self, hosts: Iterable[Host]) -> None:
        """The disk as it was: no reservation, no registration."""
        first, *_ = hosts
        await first.register(self.lun)
        result = await first.do(self.lun, PersistentReserveOut(ReserveOut.CLEAR, first.key))
        self.check(f"clear from {first.name}", result)


def _short(found: object) -> str:
    """What was found, in a few words: of a block, its first bytes."""
    return f"a block that begins {found[:8].hex()}" if isinstance(found, bytes) else repr(found)


def _words(status: Status) -> str:
    return status.name.replace("_", " ") if status is not Status.UNKNOWN else "no answer"


async def reservation(disks: Scratch) -> list[Line]:
    """Validate SCSI-3 Persistent Reservation: register, reserve, read, conflicting writes, preempt, release, clear."""
    steps = Steps(disks.luns[0])
    hosts = disks.hosts
    one, two = hosts[0], hosts[1]
    for host in hosts:
        await steps.register(host)
    await steps.keys(one, hosts)
    await steps.reserve(one)
    await steps.holder(two, one)
    await steps.write(two, 0x22)
    await steps.reserve(two, Status.RESERVATION_CONFLICT)
    for result in await two.register(steps.lun, 0):
        steps.check(f"take the registration of {two.name} back", result)
    await steps.write(two, 0x23, Status.RESERVATION_CONFLICT)
    await steps.read(two, 0x22)
    await steps.register(two)
    await steps.preempt(two, one)
    await steps.holder(one, two)
    await steps.keys(two, [host for host in hosts if host is not one])
    await steps.write(one, 0x11, Status.RESERVATION_CONFLICT)
    await steps.preempt(two, one, Status.RESERVATION_CONFLICT)
    await steps.write(two, 0x24)
    release = await two.do(steps.lun, PersistentReserveOut(ReserveOut.RELEASE, two.key, type=TYPE))
    steps.check(f"release from {two.name}", release)
    await steps.holder(one, None)
    await steps.clear([two])
    await steps.keys(one, [])
    return steps.lines


async def arbitration(disks: Scratch) -> list[Line]:
    """Validate Disk Arbitration: each host can become the owner, and one that defends keeps the disk."""
    steps = Steps(disks.luns[0])
    for owner in disks.hosts:
        await steps.register(owner)
        await steps.reserve(owner)
        for other in disks.hosts:
            if other is owner:
                continue
            await steps.register(other)
            await steps.reserve(other, Status.RESERVATION_CONFLICT)
            await steps.preempt(owner, other)
            await steps.preempt(other, owner, Status.RESERVATION_CONFLICT)
        await steps.holder(owner, owner)
        await steps.clear([owner])
    return steps.lines


async def multiple(disks: Scratch) -> list[Line]:
    """Validate Multiple Arbitration: all hosts at once, and exactly one wins; so too when an owner is to be removed."""
    steps = Steps(disks.luns[0])
    hosts = disks.hosts
    for host in hosts:
        await steps.register(host)
    action = [PersistentReserveOut(ReserveOut.RESERVE, host.key, type=TYPE) for host in hosts]
    first = await asyncio.gather(*(h.do(steps.lun, each) for h, each in zip(hosts, action, strict=True)))
    won = _winners(steps, "reserve", hosts, first)
    if len(won) == 1:
        owner = won[0]
        others = [host for host in hosts if host is not owner]
        preempts = [PersistentReserveOut(ReserveOut.PREEMPT, h.key, owner.key, TYPE) for h in others]
        second = await asyncio.gather(*(h.do(steps.lun, each) for h, each in zip(others, preempts, strict=True)))
        _winners(steps, f"preempt {owner.name}", others, second)
    await steps.clear([hosts[0]])
    return steps.lines


def _winners(steps: Steps, what: str, hosts: Iterable[Host], results: Iterable[Result]) -> list[Host]:
    won = []
    for host, result in zip(hosts, results, strict=True):
        steps.lines.append(ok(f"{what} from {host.name}, all at once: {_words(result.status)}"))
        if result.status is Status.GOOD:
            won.append(host)
        elif result.status is not Status.RESERVATION_CONFLICT:
            steps.check(f"{what} from {host.name}", result, Status.RESERVATION_CONFLICT)
    steps.same(f"exactly one of them could {what}", len(won), 1)
    return won


async def failover(disks: Scratch) -> list[Line]:
    """Validate Disk Failover: what one host wrote the next one reads, and the old owner's writes are refused."""
    return (await _round(disks, disks.luns[0])).lines


async def simultaneous(disks: Scratch) -> list[Line]:
    """Validate Simultaneous Failover: the same for several disks at once."""
    rounds = await asyncio.gather(*(_round(disks, lun) for lun in disks.luns))
    return [Line(f"LUN {each.lun}: {line.text}", line.outcome) for each in rounds for line in each.lines]


async def _round(disks: Scratch, lun: LunId) -> Steps:
    steps = Steps(lun)
    hosts = disks.hosts
    await steps.register(hosts[0])
    await steps.reserve(hosts[0])
    for at, owner in enumerate(hosts):
        following = hosts[(at + 1) % len(hosts)]
        await steps.write(owner, at + 1)
        await steps.register(following)
        await steps.preempt(following, owner)
        await steps.read(following, at + 1)
        await steps.write(owner, 0xEE, Status.RESERVATION_CONFLICT)
        await steps.read(following, at + 1)
    await steps.clear([hosts[0]])
    return steps


async def latency(disks: Scratch) -> list[Line]:
    """Validate Disk Access Latency: single blocks, written and read; only a slow array is worth a warning."""
    lines = []
    for host in disks.hosts:
        worst_ms = 0.0
        for at in range(ROUNDS):
            for command in (Write(at, bytes(BLOCK_BYTES)), Read(at, 1)):
                began = time.monotonic()
                result = await host.do(disks.luns[0], command)
                worst_ms = max(worst_ms, (time.monotonic() - began) * 1000)
                if result.status is not Status.GOOD:
                    lines.append(failed(f"{host.name}: block {at}: {_words(result.status)}"))
        text = f"{host.name}: {ROUNDS} blocks written and read, {worst_ms:.1f} ms at most"
        lines.append(ok(text) if worst_ms <= SLOW_MS else warning(f"{text}, more than {SLOW_MS:.0f} ms"))
    return lines
