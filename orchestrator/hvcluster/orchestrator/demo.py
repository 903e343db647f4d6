"""`hvc demo`: VM D1 on LUN 2, its host killed, its host frozen; told from what the processes record.

Law: does, asks and tells. Every sentence about the cluster comes from an answer or a recorded row, and every promise is
checked after the fact; one that did not hold makes the exit status 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hvcluster.model.definition import initiator_name
from hvcluster.model.properties import Timing, defaults, with_values
from hvcluster.model.vocabulary import US_PER_S, LunId, NodeId, ReservationKey

from . import launcher, saboteur
from .array_journal import accepted, conflicts, journal_line, writes
from .demo_writer import LateWriter
from .downtime import cut
from .errors import Failure
from .lab import LAB_TIME_SCALE, Lab, LabLun, LabNode, LabVm
from .launcher import Wish
from .local import Local
from .observer import Observer
from .picture import Picture
from .probe import Gap, Probe
from .state import LabDir
from .story import Narrator

VM: Final = "D1"
PREFIX: Final = "demo-"
HEALTHY_S: Final = 40.0
TAKEOVER_S: Final = 15.0
BACK_S: Final = 15.0
FREEZES: Final = 3
WARM_WRITES: Final = 25
BOOT_MS: Final = 2000


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the acts need."""

    driver: Local
    observer: Observer
    narrator: Narrator
    probe: Probe
    timing: Timing


def lab(connection_loss: bool) -> Lab:
    """Three hosts, one array, one VM: heartbeats ten times faster than Windows sends them."""
    properties = with_values(
        defaults("ws2012r2"), {"time_scale": LAB_TIME_SCALE, "connection_loss_detection": connection_loss}
    )
    return Lab(
        name="DEMO",
        nodes=tuple(LabNode(NodeId(number), f"HyperV-{number}") for number in (1, 2, 3)),
        luns=(LabLun(LunId(1), 64 << 20), LabLun(LunId(2), 64 << 20)),
        vms=(LabVm(VM, LunId(2), owner=NodeId(1), boot_delay_ms=BOOT_MS),),
        witness_lun=LunId(1),
        properties=properties,
    )


async def run(home: Path, connection_loss: bool) -> bool:
    """The whole story; True if every promise held. Leaves no process, port or file behind."""
    launcher.remove_leftovers(home, PREFIX)
    scene = lab(connection_loss)
    directory = LabDir(home / f"{PREFIX}{os.getpid()}")
    narrator = Narrator(scene.definition(""))
    narrator.chapter("Three hosts, one array, one VM")
    async with launcher.tied(scene, directory, Wish(tied=True), narrator.say) as driver, Observer(driver) as observer:
        picture = await observer.until_healthy(HEALTHY_S)
        addresses = await driver.addresses()
        async with Probe(addresses.vms) as probe:
            stage = Stage(driver, observer, narrator, probe, Timing.of(scene.properties))
            await before(stage, picture)
            await killed(stage)
            await returned(stage)
            await frozen(stage)
            await verified(stage)
    return narrator.end()


def _owner(picture: Picture) -> tuple[NodeId, str, int]:
    group = picture.group(VM)
    if group is None or not group.owner:
        raise AssertionError("a healthy lab has an owner for its VM")
    return NodeId(group.owner), picture.node_name(group.owner), group.generation


def _holder(picture: Picture) -> tuple[str, int]:
    """Who holds the reservation of LUN 2, from the array: initiator and key."""
    row = picture.lun(2)
    found = next((r for r in row.registrations if r.holder), None) if row is not None else None
    return ("nobody", 0) if found is None else (found.nexus.initiator, found.key)


def _tell_holder(stage: Stage, picture: Picture) -> None:
    initiator, key = _holder(picture)
    parts = ReservationKey.decode(key) if key else None
    meaning = f"generation {parts.generation}, node {parts.node}" if parts else "not one of ours"
    stage.narrator.say(f"LUN 2 is reserved by {initiator}, key {key:016x}: {meaning}  (the array says)")


async def before(stage: Stage, picture: Picture) -> None:
    """Who owns what, and a client that starts to write."""
    narrator, definition = stage.narrator, stage.driver.definition
    _, name, generation = _owner(picture)
    best = picture.best
    assert best is not None
    row = best.quorum_row
    states = ", ".join(f"{n.name} {n.state.lower()}" for n in best.nodes)
    narrator.say(f"nodes    {states}; {picture.node_name(best.leader)} leads")
    witness = f"witness on LUN {row.witness_lun} (vote {row.witness_dynamic_weight})"
    narrator.say(f"quorum   {row.needed} of {row.votes} votes, {witness}")
    narrator.say(f"{VM}       runs on {name}, generation {generation}; its VHD is on LUN {definition.groups[0].lun}")
    _tell_holder(stage, picture)
    address = (await stage.driver.addresses()).vms[VM]
    narrator.say(f"client   appends to http://{address}/ every 20 ms, and keeps this address to the end")
    wanted = WARM_WRITES
    seen = stage.probe.seen[VM]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10.0):
            while len(seen.acknowledged) < wanted:
                await stage.probe.until_acknowledged(VM, seen.last_s or 0.0, 1.0)
    narrator.check(
        len(seen.acknowledged) >= wanted,
        f"{len(seen.acknowledged)} appends acknowledged before anything happens",
        f"only {len(seen.acknowledged)} appends were acknowledged in 10 s",
    )


@contextlib.asynccontextmanager
async def _told(stage: Stage) -> AsyncIterator[None]:
    """Tell the nodes' facts while the block runs."""
    task = asyncio.create_task(stage.narrator.follow(stage.observer), name="the story")
    try:
        yield
        await asyncio.sleep(0.25)  # the last lines are on their way; nothing depends on them
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _takeover(stage: Stage, generation: int, fault_us: int) -> tuple[Picture, Gap | None]:
    """Wait until the VM is online elsewhere and its client is served again."""
    picture = await stage.observer.until_online_after(VM, generation, TAKEOVER_S)
    seen = stage.probe.seen[VM]
    await stage.probe.until_acknowledged(VM, fault_us / US_PER_S + 0.05, TAKEOVER_S)
    gaps = [gap for gap in seen.gaps if gap.end_s > fault_us / US_PER_S]
    return picture, max(gaps, key=lambda gap: gap.seconds, default=None)


async def killed(stage: Stage) -> None:
    """Kill the owner's process and follow the VM to its next host."""
    narrator = stage.narrator
    picture = await stage.observer.look()
    node, name, generation = _owner(picture)
    leads = " and leads the cluster" if picture.best is not None and picture.best.leader == node else ""
    narrator.chapter(f"{name} dies")
    pid = next(m.pid for m in picture.members if m.node == node)
    narrator.say(f"kill -9 {pid}: {name} owns {VM}{leads}; at +0.000 s")
    async with _told(stage):
        fault_us = narrator.zero()
        await saboteur.kill(stage.driver, name)
        try:
            after, gap = await _takeover(stage, generation, fault_us)
        except Failure as error:
            narrator.check(False, "", f"{VM} did not come back: {error.text}")
            return
    _, heir, risen = _owner(after)
    narrator.check(
        heir != name, f"{VM} runs on {heir}, generation {risen}", f"{VM} is said to run on {heir}, which is dead"
    )
    _tell_holder(stage, after)
    await _explain(stage, node, risen, fault_us, gap)


async def _explain(stage: Stage, lost: NodeId, generation: int, fault_us: int, gap: Gap | None) -> None:
    narrator, timing = stage.narrator, stage.timing
    if gap is None:
        narrator.check(False, "", "the client was not served again")
        return
    narrator.say(f"the client saw no answer for {gap.seconds * 1000:.0f} ms; from the fault on, that was:")
    facts = [told.line for told in await stage.observer.all_facts()]
    parts = cut(facts, VM, generation, lost, fault_us, gap.end_s)
    silence = f"{timing.threshold} heartbeats of {timing.delay / 1000:.0f} ms missed on every route"
    if stage.driver.definition.properties.connection_loss_detection:
        silence = "last will and refused probe"
    narrator.cut(
        parts,
        {
            "detection": silence,
            "decision": "votes, leader, placement, committed by a majority",
            "reservation": "register, preempt the old key, nobody else left",
            "VM start": f"of which {BOOT_MS * LAB_TIME_SCALE:.0f} ms is the guest's boot delay",
            "client": "found again by the switch at the same address",
        },
    )
    missing = [name for name, value in parts.steps() if value is None]
    narrator.check(not missing, "every part is recorded", f"no fact for: {', '.join(missing)}")


async def returned(stage: Stage) -> None:
    """The dead node comes back and takes nothing."""
    narrator = stage.narrator
    picture = await stage.observer.look()
    dead = next((m for m in picture.members if m.node and m.node not in picture.answers), None)
    if dead is None:
        return
    _, owner, generation = _owner(picture)
    narrator.chapter(f"{dead.name} returns")
    await saboteur.start(stage.driver, dead.name)
    try:
        after = await stage.observer.until_healthy(BACK_S)
    except Failure as error:
        narrator.check(False, "", f"{dead.name} did not rejoin: {error.text}")
        return
    best = after.best
    row = next((n for n in best.nodes if n.id == dead.node), None) if best is not None else None
    if row is not None:
        narrator.say(f"{dead.name} is {row.state.lower()} as incarnation {row.incarnation}, vote {row.dynamic_weight}")
    _, now, still = _owner(after)
    narrator.check(
        (now, still) == (owner, generation),
        f"it took nothing back: {VM} stays on {now}, generation {still}",
        f"{VM} went to {now}, generation {still}, without a reason",
    )


async def frozen(stage: Stage) -> None:
    """Freeze the owner, let another take over, thaw it, and let it try to write.

    A node that wakes has two fences: its own lease, which it may look at before the first write leaves, and the array.
    Which one is met first is a matter of microseconds, so the act is repeated until the array's has been seen.
    """
    late: int | None = None
    for attempt in range(1, FREEZES + 1):
        late = await _freeze_once(stage, again=attempt > 1)
        if late is None or late:
            break
        stage.narrator.say("this time its own lease ended the VM before a write left: nothing to refuse")
    stage.narrator.check(
        bool(late), "its late write met RESERVATION CONFLICT", "no late write met RESERVATION CONFLICT"
    )


async def _freeze_once(stage: Stage, again: bool) -> int | None:
    """One freeze and one late awakening; how many writes the array refused, None if there was no takeover."""
    narrator = stage.narrator
    picture = await stage.observer.look()
    node, name, generation = _owner(picture)
    narrator.chapter(f"{name} freezes, and wakes up late{' (once more)' if again else ''}")
    answer = picture.answers[node]
    guest = next((vm.address for vm in answer.vms if vm.group == VM and vm.generation == generation), "")
    async with LateWriter(guest) as late:
        await late.warm()
        async with _told(stage):
            fault_us = narrator.zero()
            narrator.say(f"SIGSTOP: {name} stands still, {VM} running and writes in hand; at +0.000 s")
            await saboteur.freeze(stage.driver, name)
            try:
                after, gap = await _takeover(stage, generation, fault_us)
            except Failure as error:
                narrator.check(False, "", f"{VM} did not come back: {error.text}")
                await saboteur.thaw(stage.driver, name)
                return None
            _, heir, risen = _owner(after)
            downtime = f", {gap.seconds * 1000:.0f} ms without an answer for the client" if gap is not None else ""
            promise = f"{VM} runs on {heir}, generation {risen}{downtime}"
            narrator.check(heir != name, promise, f"{VM} is still said to be on {name}")
            mark = max((row.sequence for row in await stage.observer.journal()), default=0)
            await late.press()
            narrator.say(f"SIGCONT: {name} wakes and does not know; an old client hands it more writes")
            await saboteur.thaw(stage.driver, name)
            with contextlib.suppress(Failure):
                await stage.observer.until_healthy(BACK_S)
        acknowledged = await late.acknowledged()
    return await _judge_late_writes(stage, name, mark, acknowledged)


async def _judge_late_writes(stage: Stage, name: str, mark: int, acknowledged: int) -> int:
    """What the array's own journal says about the frozen node, from the takeover on; how many writes it refused."""
    narrator = stage.narrator
    rows = await stage.observer.journal(mark + 1)
    late = writes(rows, 2, initiator_name(name))
    executed = len(accepted(late))
    narrator.say(f"the array's journal after the takeover, {name} on LUN 2: {len(late)} write(s)")
    narrator.journal(journal_line(row) for row in late)
    narrator.check(not executed, f"no late write of {name} was executed", f"{executed} late writes were executed")
    told = f"{acknowledged} late writes were acknowledged"
    narrator.check(acknowledged == 0, "nothing was acknowledged to its old client", told)
    picture = await stage.observer.look()
    answer = next((a for a in picture.answers.values() if a.name == name), None)
    running = [vm.group for vm in answer.vms] if answer is not None else []
    narrator.check(not running, f"{name} turned its VM off", f"{name} still runs {', '.join(running)}")
    missing = picture.unhealthy()
    narrator.check(not missing, "every node is up again", f"not healthy: {'; '.join(missing)}")
    return len(conflicts(late))


async def verified(stage: Stage) -> None:
    """Read the whole journal of the VM back."""
    narrator = stage.narrator
    narrator.chapter("What the client was promised")
    await stage.probe.pause()
    verdict = await stage.probe.verify(VM)
    generations = ", ".join(map(str, verdict.generations))
    narrator.say(
        f"{verdict.records} records of generations {generations}; {verdict.acknowledged} appends were acknowledged"
    )
    narrator.check(
        not verdict.problems,
        "one chain, generations never fall, every acknowledged append is in it",
        "; ".join(verdict.problems[:3]),
    )
