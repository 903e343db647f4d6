"""The array and the paths to it: sessions, order on a path, answers that never come, and an array that crashes.

Law: drives the array's own core. A path keeps order (it is one stream); a session that broke answers UNKNOWN to
everything outstanding, and a new login of the same nexus makes the array drop whatever of the old one is still under
way.
"""

from __future__ import annotations

from collections.abc import Callable
from mmap import mmap
from typing import TYPE_CHECKING, Any

from hvcluster.model.definition import initiator_name
from hvcluster.model.scsi import UNKNOWN, Command, Nexus, Result
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId, NodeId, PathName
from hvcluster.san.core import effects as ef
from hvcluster.san.core import events as ae
from hvcluster.san.core.array import Array

if TYPE_CHECKING:
    from .guests import SimGuest
    from .machines import Machine
    from .world import World

LINK_LOW_US, LINK_HIGH_US = 100, 800
LOGIN_EVERY_US = 100_000


class SimArray:
    """The array's process and its medium."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.alive = False
        self.images: dict[LunId, ef.LunImage] = {}
        self.media: dict[LunId, mmap] = {}
        self.core = Array(ef.ArrayImage())
        self.links: dict[int, Link] = {}
        self.slow_us = 0
        self.crash_in: int | None = None
        self._sessions = 0
        self._cache: dict[tuple[LunId, int], bytes] = {}
        """What blocks held before writes that nobody has asked to be flushed: power loss may bring it back."""
        self._performs: dict[type, Callable[[Any], None]] = {
            ef.Respond: self._respond,
            ef.JournalEntry: world.judge.journal,
            ef.WriteBlocks: self._write,
            ef.ReadBlocks: self._read,
            ef.FlushBlocks: self._flush,
            ef.SaveImage: self._save,
            ef.AllocateBlocks: self._allocate,
            ef.EndSession: self._end,
        }

    def start(self) -> None:
        """First start: make the LUNs and let every node see them."""
        definition = self._world.definition
        self.alive = True
        luns = [(group.lun, self._world.lun_blocks) for group in definition.groups if group.extent is None]
        for volume in definition.volumes:
            ends = [g.extent.end for g in definition.groups if g.extent is not None and g.lun == volume.lun]
            luns.append((volume.lun, max([self._world.lun_blocks, *ends])))
        if definition.witness_lun is not None:
            luns.append((definition.witness_lun, self._world.witness_blocks))
        for lun, blocks in luns:
            self.feed(ae.CreateLun(0, lun, blocks))
            for node in definition.nodes:
                self.feed(ae.Unmask(0, lun, initiator_name(node.name)))

    def kill(self) -> None:
        """SIGKILL: sessions and everything in memory are gone, saved images and written blocks are not."""
        if not self.alive:
            return
        self.alive = False
        self.crash_in = None
        links, self.links = self.links, {}
        for session in sorted(links):
            links[session].broken()

    def lose_power(self) -> None:
        """Everything in memory is gone, and of what was not flushed whatever the medium did not get to."""
        self.kill()
        for (lun, block), before in self._cache.items():
            if self._world.random.random() < 0.5 and lun in self.media:
                self.media[lun][block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES] = before
        self._cache.clear()

    def restart(self) -> None:
        if self.alive:
            return
        self.alive = True
        self.core = Array(ef.ArrayImage(tuple(self.images[lun] for lun in sorted(self.images))))

    def login(self, link: Link, nexus: Nexus) -> int | None:
        """A new session for a nexus, or None when the array is not there."""
        if not self.alive:
            return None
        self._sessions += 1
        self.links[self._sessions] = link
        self.feed(ae.Login(nexus, self._sessions))
        return self._sessions

    def logout(self, session: int) -> None:
        if self.links.pop(session, None) is not None and self.alive:
            self.feed(ae.Logout(session))

    def receive(self, session: int, commands: list[tuple[int, LunId, Command]]) -> None:
        """Commands arrive on a session."""
        for tag, lun, command in commands:
            if not self.alive:
                return
            self.feed(ae.CommandReceived(session, tag, lun, command))

    def feed(self, event: ae.Event) -> None:
        for effect in self.core.handle(self._world.now, event):
            if not self.alive:
                return
            if self.crash_in is not None:
                self.crash_in -= 1
                if self.crash_in <= 0:
                    if isinstance(effect, ef.WriteBlocks):
                        self._tear(effect)
                    self.kill()
                    return
            perform = self._performs.get(type(effect))
            if perform is not None:  # the others answer an administrator, and here is none
                perform(effect)

    def _respond(self, effect: ef.Respond) -> None:
        link = self.links.get(effect.session)
        if link is not None:
            link.answer_leaves(effect.tag, effect.result)

    def _write(self, effect: ef.WriteBlocks) -> None:
        at = effect.lba * BLOCK_BYTES
        medium = self.media[effect.lun]
        self._world.judge.written(effect.lun, effect.lba, effect.data, medium)
        if self._cache or not effect.durable:
            self._remember(effect, medium)
        medium[at : at + len(effect.data)] = effect.data

    def _tear(self, effect: ef.WriteBlocks) -> None:
        """The crash comes in the middle of a write: some of its first blocks are on the medium."""
        blocks = len(effect.data) // BLOCK_BYTES
        done = self._world.random.randrange(blocks + 1)
        if done:
            self._write(ef.WriteBlocks(effect.lun, effect.lba, effect.data[: done * BLOCK_BYTES], effect.durable))

    def _remember(self, effect: ef.WriteBlocks, medium: mmap) -> None:
        for block in range(effect.lba, effect.lba + len(effect.data) // BLOCK_BYTES):
            if effect.durable:
                self._cache.pop((effect.lun, block), None)
            else:
                before = bytes(medium[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES])
                self._cache.setdefault((effect.lun, block), before)

    def _flush(self, effect: ef.FlushBlocks) -> None:
        for key in [key for key in self._cache if key[0] == effect.lun]:
            del self._cache[key]

    def _read(self, effect: ef.ReadBlocks) -> None:
        at = effect.lba * BLOCK_BYTES
        data = bytes(self.media[effect.lun][at : at + effect.blocks * BLOCK_BYTES])
        self.feed(ae.BlocksRead(effect.token, data))

    def _allocate(self, effect: ef.AllocateBlocks) -> None:
        self.media[effect.lun] = mmap(-1, effect.blocks * BLOCK_BYTES)  # zeros, and no memory until written

    def _end(self, effect: ef.EndSession) -> None:
        self.links.pop(effect.session, None)

    def _save(self, effect: ef.SaveImage) -> None:
        if effect.image is None:
            self.images.pop(effect.lun, None)
        else:
            self.images[effect.lun] = effect.image


class Link:
    """One path of one node: an I_T nexus, its session, and what is outstanding on it."""

    def __init__(self, world: World, machine: Machine, node: NodeId, name: str, path: PathName) -> None:
        self._world = world
        self._machine = machine
        self._life = machine.life
        self.path = path
        self.nexus = Nexus(initiator_name(name), path)
        self.node = node
        self.session: int | None = None
        self.cut_out = False
        self.cut_in = False
        self._tags = 0
        self._outstanding: dict[int, tuple[int, SimGuest | None, int]] = {}  # tag -> (deadline, owner, token)
        self._batch: list[tuple[int, LunId, Command]] | None = None
        self._answers: list[tuple[int, Result]] | None = None
        self._arrival = 0
        self._return = 0
        self._watching = False
        self._held: tuple[int | None, int, bool] = (None, 0, False)  # a session, until when, and whether logins too

    @property
    def _dead(self) -> bool:
        return self._life != self._machine.life

    def connect(self) -> None:
        """Log in, again and again until the array answers."""
        if self._dead or self.session is not None:
            return
        held = self._held[2] and self._world.now < self._held[1]
        if self._machine.frozen or self.cut_out or self.cut_in or held:
            self._world.after(LOGIN_EVERY_US, self.connect)
            return
        self.session = self._world.array.login(self, self.nexus)
        if self.session is None:
            self._world.after(LOGIN_EVERY_US, self.connect)
            return
        self._machine.path_changed(self.path, True)

    def submit(self, owner: SimGuest | None, token: int, lun: LunId, command: Command) -> None:
        """Send one command; its one answer goes to `owner`."""
        if self.session is None:
            self._world.after(1, self._machine.scsi_answered, self._life, owner, token, UNKNOWN)
            return
        self._tags += 1
        self._outstanding[self._tags] = (self._world.now + self._machine.scsi_timeout_us, owner, token)
        if not self._watching:
            self._watching = True
            self._world.after(self._machine.scsi_timeout_us, self._watch)
        if self._batch is not None:
            self._batch.append((self._tags, lun, command))
            return
        self._batch = [(self._tags, lun, command)]
        self._machine.batching = True
        delay = (
            LINK_LOW_US + int(self._world.random.random() * (LINK_HIGH_US - LINK_LOW_US)) + self._world.array.slow_us
        )
        self._arrival = max(self._arrival, self._world.now + delay)
        self._world.at(self._arrival, self._arrives, self.session, self._batch)

    def sent(self) -> None:
        """The event that submitted is over: what follows travels in the next batch."""
        self._batch = None

    def hold(self, us: int, *, logins: bool) -> None:
        """What was sent, and is, stays on the wire that long; with `logins` no new session gets through either."""
        self._held = (self.session, self._world.now + us, logins)

    def _through(self, session: int) -> int:
        """When something of a session gets to the array that would be there now."""
        held, until, _ = self._held
        return until if session == held and until > self._world.now else self._world.now

    def _log_out(self, session: int) -> None:
        self._world.at(self._through(session), self._world.array.logout, session)

    def _arrives(self, session: int, batch: list[tuple[int, LunId, Command]]) -> None:
        if self._held[1] and self._through(session) > self._world.now:
            self._world.at(self._through(session), self._arrives, session, batch)
            return
        if not self.cut_out:
            array = self._world.array
            if array.alive:
                array.receive(session, batch)
                self._answers = None
            elif session == self.session:
                self.broken()

    def answer_leaves(self, tag: int, result: Result) -> None:
        if self.cut_in:
            return
        if self._answers is not None:
            self._answers.append((tag, result))
            return
        self._answers = [(tag, result)]
        delay = LINK_LOW_US + int(self._world.random.random() * (LINK_HIGH_US - LINK_LOW_US))
        self._return = max(self._return, self._world.now + delay)
        self._world.at(self._return, self._answers_arrive, self.session, self._answers)

    def _answers_arrive(self, session: int | None, answers: list[tuple[int, Result]]) -> None:
        if session != self.session or self._dead or self.cut_in:
            return
        for tag, result in answers:
            waiting = self._outstanding.pop(tag, None)
            if waiting is not None:
                self._machine.scsi_answered(self._life, waiting[1], waiting[2], result)

    def _watch(self) -> None:
        """A command without an answer in time: the session is given up, as the initiator does."""
        self._watching = False
        if self._dead or not self._outstanding:
            return
        first = min(deadline for deadline, _, _ in self._outstanding.values())
        if first <= self._world.now and not self._machine.frozen:
            if self.session is not None and not self.cut_out:
                self._log_out(self.session)
            self.broken()
        else:
            self._watching = True
            self._world.at(max(first, self._world.now + 1000), self._watch)

    def broken(self) -> None:
        """The stream is gone: every outstanding command is UNKNOWN; log in anew."""
        if self._dead:
            return
        had, self.session = self.session, None
        outstanding, self._outstanding = self._outstanding, {}
        self._batch = None
        for tag in sorted(outstanding):
            _, owner, token = outstanding[tag]
            self._machine.scsi_answered(self._life, owner, token, UNKNOWN)
        if had is not None:
            self._machine.path_changed(self.path, False)
            self._world.after(LOGIN_EVERY_US, self.connect)

    def close(self) -> None:
        """The node's process is gone; the array sees the stream end, unless the wire is cut."""
        if self.session is not None and not self.cut_out:
            self._world.after(LINK_HIGH_US, self._log_out, self.session)
        self.session = None
