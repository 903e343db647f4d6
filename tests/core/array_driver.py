"""Drives the array's core in a test: sessions that ask and get answers, a medium of plain bytes, saved images."""

from __future__ import annotations

from collections.abc import Sequence

from hvcluster.model.scsi import (
    Command,
    Nexus,
    PersistentReserveOut,
    ReservationType,
    ReserveOut,
    Result,
    TestUnitReady,
)
from hvcluster.model.vocabulary import BLOCK_BYTES, Instant, LunId, PathName
from hvcluster.san.core.array import Array
from hvcluster.san.core.effects import (
    AdminAnswer,
    AdminError,
    AllocateBlocks,
    ArrayImage,
    DiscardBlocks,
    Effect,
    EndSession,
    FillBlocks,
    FlushBlocks,
    JournalEntry,
    LoginAnswer,
    LunImage,
    MapBlocks,
    ReadBlocks,
    Respond,
    SaveImage,
    WriteBlocks,
)
from hvcluster.san.core.events import AdminEvent, BlocksMapped, BlocksRead, CommandReceived, Event, Login, Logout

LUN = LunId(2)
BLOCKS = 64


def nexus(name: str, port: str = "A") -> Nexus:
    """The nexus of an initiator called `name`."""
    return Nexus(name, PathName(port))


A, B, C, D = (nexus(name) for name in "abcd")


class Bench:
    """One array with one LUN that initiators a, b, c and d see, and everything it ever did."""

    def __init__(self, initiators: Sequence[str] = "abcd", reported: bool = True) -> None:
        """With `reported` the POWER ON unit attentions are out of the way."""
        self.media: dict[LunId, bytearray] = {LUN: bytearray(BLOCKS * BLOCK_BYTES)}
        self.images: dict[LunId, LunImage] = {LUN: LunImage(LUN, BLOCKS, tuple(sorted(initiators)))}
        self.array = Array(ArrayImage(tuple(self.images.values())))
        self.effects: list[Effect] = []
        self.readable = True
        self._sessions: dict[Nexus, int] = {}
        self._numbers = 0
        if reported:
            for name in initiators:
                self.ask(nexus(name), TestUnitReady())

    def feed(self, event: Event) -> list[Effect]:
        """Hand over an event, perform its effects, and return them all in order."""
        done: list[Effect] = []
        waiting = [event]
        while waiting:
            for effect in self.array.handle(Instant(len(self.effects)), waiting.pop(0)):
                done.append(effect)
                answer = self._perform(effect)
                if answer is not None:
                    waiting.append(answer)
        self.effects += done
        return done

    def _perform(self, effect: Effect) -> BlocksRead | BlocksMapped | None:
        match effect:
            case SaveImage():
                if effect.image is None:
                    del self.images[effect.lun]
                else:
                    self.images[effect.lun] = effect.image
            case AllocateBlocks():
                old = b"" if effect.fresh else bytes(self.media[effect.lun])
                self.media[effect.lun] = bytearray(old.ljust(effect.blocks * BLOCK_BYTES, b"\0"))
            case DiscardBlocks():
                del self.media[effect.lun]
            case WriteBlocks():
                start = effect.lba * BLOCK_BYTES
                self.media[effect.lun][start : start + len(effect.data)] = effect.data
            case ReadBlocks():
                start = effect.lba * BLOCK_BYTES
                data = bytes(self.media[effect.lun][start : start + effect.blocks * BLOCK_BYTES])
                return BlocksRead(effect.token, data if self.readable else None)
            case FillBlocks():
                start, block = effect.lba * BLOCK_BYTES, effect.block or bytes(BLOCK_BYTES)
                self.media[effect.lun][start : start + effect.blocks * BLOCK_BYTES] = block * effect.blocks
            case MapBlocks():
                return BlocksMapped(effect.token, len(self.media[effect.lun]) // BLOCK_BYTES - effect.lba, True)
            case FlushBlocks() | Respond() | LoginAnswer() | EndSession() | AdminAnswer() | JournalEntry():
                pass
        return None

    def login(self, who: Nexus) -> int:
        """Log in, again if need be; the number of the session."""
        self._numbers += 1
        self._sessions[who] = self._numbers
        assert LoginAnswer(self._numbers) in self.feed(Login(who, self._numbers))
        return self._numbers

    def logout(self, who: Nexus) -> None:
        """End the session of a nexus."""
        self.feed(Logout(self._sessions.pop(who)))

    def send(self, session: int, command: Command, lun: LunId = LUN) -> list[Effect]:
        """Everything one command on one session leads to."""
        return self.feed(CommandReceived(session, 7, lun, command))

    def ask(self, who: Nexus, command: Command, lun: LunId = LUN) -> Result:
        """The answer to one command, logging in first if there is no session."""
        session = self._sessions.get(who) or self.login(who)
        answers = [effect for effect in self.send(session, command, lun) if isinstance(effect, Respond)]
        assert [(answer.session, answer.tag) for answer in answers] == [(session, 7)]
        return answers[0].result

    def administer(self, event: AdminEvent) -> AdminError | None:
        """The outcome of an administrative request."""
        last = self.feed(event)[-1]
        assert isinstance(last, AdminAnswer)
        assert last.request == event.request
        return last.error

    def register(self, who: Nexus, key: int) -> Result:
        """REGISTER AND IGNORE EXISTING KEY."""
        ignore = ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY
        return self.ask(who, PersistentReserveOut(ignore, service_key=key))

    def out(
        self,
        who: Nexus,
        action: ReserveOut,
        key: int,
        service_key: int = 0,
        type: ReservationType = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
    ) -> Result:
        """Any other PERSISTENT RESERVE OUT."""
        return self.ask(who, PersistentReserveOut(action, key, service_key, type))

    def power_cycle(self) -> None:
        """The array dies and comes back from what it saved."""
        self.array = Array(ArrayImage(tuple(self.images[lun] for lun in sorted(self.images))))
        self._sessions.clear()
