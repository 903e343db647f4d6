"""A client that never changes its address: measures downtime, remembers what was acknowledged, verifies it afterwards.

Law: believes nothing but answers. An append without an answer may have happened and may not; one with an answer must be
in the journal for ever.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypedDict

import aiohttp

from .driver import Address

INTERVAL_S: Final = 0.02
REQUEST_S: Final = 5.0
"""A request to a frozen owner hangs until the switch resets it; no client waits for ever."""
PAGE: Final = 128
MAX_RECORDS: Final = 1_000_000
"""Guards the verification against a service that never comes to its last page."""


class RecordJson(TypedDict):
    """A journal record as the guest service shows it."""

    sequence: int
    generation: int
    node: int
    kind: str
    payload: str
    previous: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without answers, on this machine's monotonic clock."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.end_s - self.begin_s


@dataclass(slots=True)
class Seen:
    """What a client saw of one VM. `acknowledged`: payload -> the sequence it was told."""

    vm: str
    answers: int = 0
    failures: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    last_s: float | None = None
    failed_since: bool = False

    def answer(self, now_s: float) -> None:
        """A request was answered."""
        if self.failed_since and self.last_s is not None:
            self.gaps.append(Gap(self.last_s, now_s))
        self.answers += 1
        self.last_s = now_s
        self.failed_since = False

    def failure(self) -> None:
        """A request was not answered, or not with success."""
        self.failures += 1
        self.failed_since = True

    @property
    def longest(self) -> Gap | None:
        """The longest gap."""
        return max(self.gaps, key=lambda gap: gap.seconds, default=None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the journal of one VM says after the run. `problems` is empty when every promise held."""

    vm: str
    records: int
    acknowledged: int
    generations: tuple[int, ...]
    problems: tuple[str, ...]


class Probe:
    """Clients of several VMs. Use as an async context manager; they run until it is left."""

    def __init__(self, vms: Mapping[str, Address], interval_s: float = INTERVAL_S, write: bool = True) -> None:
        self._vms = dict(vms)
        self._interval_s = interval_s
        self._write = write
        self._run = secrets.token_hex(4)
        self.seen = {vm: Seen(vm) for vm in vms}
        self._session: aiohttp.ClientSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Probe:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=REQUEST_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        self._tasks = [asyncio.create_task(self._client(vm), name=f"client of {vm}") for vm in self._vms]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pause()
        if self._session is not None:
            await self._session.close()

    async def pause(self) -> None:
        """Stop asking; what was seen stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def until_acknowledged(self, vm: str, after_s: float, deadline_s: float) -> bool:
        """Wait until an append that was answered later than the instant `after_s`; False if the deadline passes."""
        try:
            async with asyncio.timeout(deadline_s), self._changed:
                await self._changed.wait_for(lambda: (self.seen[vm].last_s or 0.0) > after_s)
        except TimeoutError:
            return False
        return True

    async def _client(self, vm: str) -> None:
        loop = asyncio.get_running_loop()
        for number in itertools.count():
            due = loop.time() + self._interval_s
            done = await self._ask(vm, f"probe-{self._run}-{number}")
            seen = self.seen[vm]
            if done:
                seen.answer(time.monotonic())
                async with self._changed:
                    self._changed.notify_all()
            else:
                seen.failure()
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _ask(self, vm: str, payload: str) -> bool:
        assert self._session is not None
        url = f"http://{self._vms[vm]}"
        try:
            if not self._write:
                async with self._session.get(f"{url}/") as response:
                    await response.read()
                    return response.status == 200
            async with self._session.post(f"{url}/append", data=payload.encode()) as response:
                body = await response.json()
                if response.status != 200:
                    return False
                self.seen[vm].acknowledged[payload] = int(body["sequence"])
                return True
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            return False

    async def describe(self, vm: str) -> dict[str, int | str] | None:
        """`GET /`: what the VM says of itself, None when it does not answer."""
        assert self._session is not None
        try:
            async with self._session.get(f"http://{self._vms[vm]}/") as response:
                told: dict[str, int | str] = await response.json()
                return told if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    async def verify(self, vm: str) -> Verdict:
        """Read the whole journal back and compare it with what was acknowledged."""
        try:
            records = await self._records(vm)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
            return Verdict(vm, 0, len(self.seen[vm].acknowledged), (), (f"the journal cannot be read: {error!r}",))
        return judge(vm, records, self.seen[vm].acknowledged)

    async def _records(self, vm: str) -> list[RecordJson]:
        assert self._session is not None
        records: list[RecordJson] = []
        first = 1
        while len(records) < MAX_RECORDS:
            url = f"http://{self._vms[vm]}/records?from={first}&limit={PAGE}"
            async with self._session.get(url) as response:
                response.raise_for_status()
                page: list[RecordJson] = await response.json()
            records += page
            if len(page) < PAGE:
                break
            first = page[-1]["sequence"] + 1
        return records


def judge(vm: str, records: list[RecordJson], acknowledged: Mapping[str, int]) -> Verdict:
    """One unbroken chain, generations never fall, everything acknowledged is there at the sequence that was told."""
    problems: list[str] = []
    for before, record in itertools.pairwise(records):
        at = record["sequence"]
        if at != before["sequence"] + 1:
            problems.append(f"record {at} follows record {before['sequence']}")
        if record["previous"] != before["checksum"]:
            problems.append(f"record {at} does not continue the chain")
        if record["generation"] < before["generation"]:
            problems.append(
                f"the generation falls from {before['generation']} to {record['generation']} at record {at}"
            )
    by_sequence = {record["sequence"]: record for record in records}
    for payload, sequence in acknowledged.items():
        found = by_sequence.get(sequence)
        if found is None or found["payload"] != payload:
            problems.append(f"acknowledged write {payload} is not at record {sequence}: lost")
    payloads = [record["payload"] for record in records if record["payload"] in acknowledged]
    if len(payloads) != len(set(payloads)):
        problems.append("an acknowledged write is in the journal twice")
    generations = tuple(sorted({record["generation"] for record in records}))
    return Verdict(vm, len(records), len(acknowledged), generations, tuple(problems))
