"""The reservation code against a naive model of SPC-4 5.13, step by step over random commands and power losses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hvcluster.model.scsi import (
    CONFLICT,
    GOOD,
    FullStatus,
    Nexus,
    PersistentReserveIn,
    PersistentReserveOut,
    Reservation,
    ReservationType,
    ReserveIn,
    ReserveOut,
    Result,
    Sense,
    Write,
)
from hvcluster.model.scsi import TestUnitReady as UnitReady
from hvcluster.model.vocabulary import BLOCK_BYTES
from hvcluster.san.core import sense
from tests.core.array_driver import A, B, Bench, C, D

WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = ReservationType
EVERYONE = (A, B, C, D)
KEYS = (0, 1, 2, 3)


@dataclass
class Unit:
    """A logical unit as a person would keep it on paper: a key beside each name, and a list of holders."""

    key: dict[Nexus, int] = field(default_factory=dict)
    type: ReservationType | None = None
    owner: Nexus | None = None
    generation: int = 0
    owed: dict[Nexus, list[Sense]] = field(default_factory=lambda: {who: [] for who in EVERYONE})

    def holders(self) -> list[Nexus]:
        if self.type in (WE_AR, EA_AR):
            return sorted(self.key)
        return [self.owner] if self.owner is not None and self.type is not None else []

    def tell(self, listeners: list[Nexus], what: Sense, sender: Nexus) -> None:
        for who in listeners:
            if who != sender and what not in self.owed[who]:
                self.owed[who].append(what)

    def free(self) -> None:
        self.type = self.owner = None

    def ask(self, who: Nexus, command: PersistentReserveOut) -> Result:
        """One PERSISTENT RESERVE OUT by the letter, or a unit attention, or a conflict, in that order of SAM-4."""
        action = command.action
        registering = action in (ReserveOut.REGISTER, ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY)
        if self.type is not None and not registering:
            if who not in self.key:
                return CONFLICT
            if action in (ReserveOut.RESERVE, ReserveOut.REGISTER_AND_MOVE) and who not in self.holders():
                return CONFLICT
        if self.owed[who]:
            return sense.attention(self.owed[who].pop(0))
        if action is ReserveOut.REGISTER and command.key != self.key.get(who, 0):
            return CONFLICT
        if not registering and (who not in self.key or command.key != self.key[who]):
            return CONFLICT
        if registering:
            self.generation += 1
            if command.service_key:
                self.key[who] = command.service_key
            elif who in self.key:
                self.unregister(who)
            return GOOD
        return getattr(self, action.name.lower())(who, command)  # type: ignore[no-any-return]

    def unregister(self, who: Nexus) -> None:
        held, type = who in self.holders(), self.type
        del self.key[who]
        if held and not (type in (WE_AR, EA_AR) and self.key):
            self.free()
            if type in (WE_RO, EA_RO):
                self.tell(sorted(self.key), sense.RESERVATIONS_RELEASED, who)

    def reserve(self, who: Nexus, command: PersistentReserveOut) -> Result:
        if self.type is None:
            self.type, self.owner = command.type, who
            return GOOD
        return GOOD if self.type is command.type else CONFLICT

    def release(self, who: Nexus, command: PersistentReserveOut) -> Result:
        if who not in self.holders():
            return GOOD
        if self.type is not command.type:
            return sense.INVALID_RELEASE
        if self.type not in (WE, EA):
            self.tell(sorted(self.key), sense.RESERVATIONS_RELEASED, who)
        self.free()
        return GOOD

    def clear(self, who: Nexus, command: PersistentReserveOut) -> Result:
        self.tell(sorted(self.key), sense.RESERVATIONS_PREEMPTED, who)
        self.key.clear()
        self.free()
        self.generation += 1
        return GOOD

    def preempt(self, who: Nexus, command: PersistentReserveOut) -> Result:
        wanted, shared = command.service_key, self.type in (WE_AR, EA_AR)
        if not wanted and not shared:
            return sense.INVALID_PARAMETER
        victims = [name for name in sorted(self.key) if not wanted or self.key[name] == wanted]
        if not victims:
            return CONFLICT
        taking = not wanted if shared else any(name in victims for name in self.holders())
        if taking:
            victims = [name for name in victims if name != who]
        for name in victims:
            del self.key[name]
        self.tell(victims, sense.REGISTRATIONS_PREEMPTED, who)
        if taking:
            if self.type is not command.type:
                self.tell(sorted(self.key), sense.RESERVATIONS_RELEASED, who)
            self.type, self.owner = command.type, who
        elif shared and not self.key:
            self.free()
        self.generation += 1
        return GOOD

    preempt_and_abort = preempt

    def register_and_move(self, who: Nexus, command: PersistentReserveOut) -> Result:
        if self.type is None:
            return sense.INVALID_FIELD
        if self.type in (WE_AR, EA_AR):
            return CONFLICT
        if command.service_key == 0 or command.move_to is None or command.move_to == who:
            return sense.INVALID_PARAMETER
        self.key[command.move_to] = command.service_key
        self.owner = command.move_to
        if command.unregister:
            del self.key[who]
        self.generation += 1
        return GOOD


nexuses = st.sampled_from(EVERYONE)
commands = st.builds(
    PersistentReserveOut,
    action=st.sampled_from(ReserveOut),
    key=st.sampled_from(KEYS),
    service_key=st.sampled_from(KEYS),
    type=st.sampled_from(ReservationType),
    move_to=st.none() | nexuses,
    unregister=st.booleans(),
)


class Twins(RuleBasedStateMachine):
    """House style: a clever function has a dumb twin in its test."""

    @initialize()
    def begin(self) -> None:
        self.bench = Bench()
        self.unit = Unit()

    @rule(who=nexuses, command=commands)
    def any_command(self, who: Nexus, command: PersistentReserveOut) -> None:
        assert self.bench.ask(who, command) == self.unit.ask(who, command)

    @rule(who=nexuses, command=commands)
    def a_command_that_knows_its_key(self, who: Nexus, command: PersistentReserveOut) -> None:
        """Most random keys are wrong; this gets past that check."""
        self.any_command(who, replace(command, key=self.unit.key.get(who, 0)))

    @rule(who=nexuses)
    def unregister(self, who: Nexus) -> None:
        """Of all random registrations few would be this one."""
        self.any_command(who, PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY))

    @rule(command=commands)
    def the_holder_commands(self, command: PersistentReserveOut) -> None:
        """The service actions that only a holder gets to."""
        for who in self.unit.holders()[:1]:
            self.hear_everything(who)
            self.a_command_that_knows_its_key(who, command)

    @rule(who=nexuses)
    def hear_everything(self, who: Nexus) -> None:
        """Take every unit attention that is waiting."""
        while self.unit.owed[who]:
            assert self.bench.ask(who, UnitReady()) == sense.attention(self.unit.owed[who].pop(0))
        assert self.bench.ask(who, UnitReady()) == GOOD

    @rule(
        keys=st.tuples(*[st.sampled_from(KEYS[1:])] * len(EVERYONE)),
        holder=nexuses,
        type=st.sampled_from(ReservationType),
    )
    def all_register_and_one_reserves(self, keys: tuple[int, ...], holder: Nexus, type: ReservationType) -> None:
        """Random commands alone rarely get this far."""
        for who, key in zip(EVERYONE, keys, strict=True):
            self.hear_everything(who)
            self.any_command(who, PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, 0, key))
        for who in EVERYONE:
            self.a_command_that_knows_its_key(
                who, PersistentReserveOut(ReserveOut.RELEASE, type=self.unit.type or type)
            )
        for who in EVERYONE:
            self.hear_everything(who)
        self.a_command_that_knows_its_key(holder, PersistentReserveOut(ReserveOut.RESERVE, type=type))
        assert self.unit.type is type

    @rule(who=nexuses)
    def write(self, who: Nexus) -> None:
        unit, result = self.unit, self.bench.ask(who, Write(0, bytes(BLOCK_BYTES)))
        if unit.type is not None and who not in (unit.holders() if unit.type in (WE, EA) else unit.key):
            assert result == CONFLICT
        elif unit.owed[who]:
            assert result == sense.attention(unit.owed[who].pop(0))
        else:
            assert result == GOOD

    @rule()
    def lose_power(self) -> None:
        self.bench.power_cycle()
        for who in EVERYONE:
            self.unit.owed[who].clear()
            assert self.bench.ask(who, UnitReady()) == sense.attention(sense.POWER_ON_OCCURRED)

    @invariant()
    def agree(self) -> None:
        """READ FULL STATUS and READ RESERVATION, asked through a nexus that is owed nothing, say the same."""
        asker = next((who for who in EVERYONE if not self.unit.owed[who]), None)
        if asker is None:
            return
        status = self.bench.ask(asker, PersistentReserveIn(ReserveIn.READ_FULL_STATUS)).payload
        assert isinstance(status, FullStatus)
        assert status.pr_generation == self.unit.generation
        assert {row.nexus: row.key for row in status.registrations} == self.unit.key
        assert [row.nexus for row in status.registrations if row.holder] == self.unit.holders()
        held = self.bench.ask(asker, PersistentReserveIn(ReserveIn.READ_RESERVATION)).payload
        assert isinstance(held, Reservation)
        assert held.type is self.unit.type
        assert held.type is None or self.unit.holders(), "a reservation has a holder"


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
