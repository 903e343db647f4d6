"""Registrations and the one persistent reservation of a logical unit (SPC-4 5.13).

Law: a persistent reservation always has at least one registered holder, and every change of it happens here.
Two deliberate readings of the standard: the array behaves as if APTPL were set in every registration, and the
PRgeneration counter survives power loss too, so that it never repeats a value that an initiator has seen.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from hvcluster.model.scsi import (
    CONFLICT,
    GOOD,
    Capabilities,
    FullStatus,
    Keys,
    Nexus,
    Payload,
    PersistentReserveOut,
    Registration,
    Reservation,
    ReservationType,
    ReserveIn,
    ReserveOut,
    Result,
    Sense,
)
from hvcluster.model.values import value

from . import sense
from .conflicts import ALL_REGISTRANTS, NEEDED, REGISTRANTS_ONLY, UNRESERVED, Access, Rank
from .effects import LunImage

MAX_REGISTRATIONS: Final = 256  # 64 nodes with 4 paths each; arrays of this class stop at 64 to 1,024
_GENERATION_MASK: Final = 0xFFFF_FFFF  # PRgeneration is a 32-bit counter that wraps (SPC-4 6.15.2)


@value
class Outcome:
    """What one PERSISTENT RESERVE OUT came to, and the unit attentions to establish."""

    result: Result
    changed: bool = False
    attentions: tuple[tuple[Nexus, Sense], ...] = ()


_REFUSED: Final = Outcome(CONFLICT)
_NOTHING_DONE: Final = Outcome(GOOD)
_CAPABILITIES: Final = Capabilities(aptpl_capable=True, aptpl_active=True, types=tuple(ReservationType))


class Reservations:
    """The reservation state of one logical unit."""

    __slots__ = ("_generation", "_holder", "_keys", "_needed", "_type")

    def __init__(self, image: LunImage) -> None:
        self._keys: dict[Nexus, int] = dict(image.registrations)
        self._generation = image.pr_generation
        self._holder: Nexus | None = None
        self._type: ReservationType | None = None
        self._needed: tuple[Rank, ...] = UNRESERVED
        self._reserve(image.holder, image.type)

    def key_of(self, nexus: Nexus) -> int | None:
        """The key registered for a nexus, or None."""
        return self._keys.get(nexus)

    def permits(self, access: Access, nexus: Nexus, key: int | None) -> bool:
        """False means RESERVATION CONFLICT. `key` is what `key_of(nexus)` says."""
        needed = self._needed[access]
        return needed == 0 or (key is not None and (needed == 1 or self._holds(nexus)))

    def parts(self) -> tuple[int, tuple[tuple[Nexus, int], ...], Nexus | None, ReservationType | None]:
        """PRgeneration, registrations sorted by nexus, holder and type, as `LunImage` keeps them."""
        return self._generation, tuple(sorted(self._keys.items())), self._holder, self._type

    def read(self, action: ReserveIn) -> Payload:
        """Parameter data of PERSISTENT RESERVE IN (SPC-4 6.15)."""
        match action:
            case ReserveIn.READ_KEYS:
                return Keys(self._generation, tuple(key for _, key in sorted(self._keys.items())))
            case ReserveIn.READ_RESERVATION:
                if self._type is None:
                    return Reservation(self._generation, None, None)
                key = 0 if self._holder is None else self._keys[self._holder]
                return Reservation(self._generation, key, self._type)
            case ReserveIn.REPORT_CAPABILITIES:
                return _CAPABILITIES
            case ReserveIn.READ_FULL_STATUS:
                rows = tuple(
                    Registration(nexus, key, held := self._holds(nexus), self._type if held else None)
                    for nexus, key in sorted(self._keys.items())
                )
                return FullStatus(self._generation, rows)

    def out(self, nexus: Nexus, command: PersistentReserveOut, initiators: Container[str]) -> Outcome:
        """Carry out one PERSISTENT RESERVE OUT; `initiators` are those that the logical unit is there for.

        The RESERVATION KEY must be the one registered for the nexus, except where the service action says
        otherwise (SPC-4 6.16.3).
        """
        action, key = command.action, self._keys.get(nexus)
        if action is ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY:
            return self._register(nexus, command.service_key)
        if action is ReserveOut.REGISTER:
            return self._register(nexus, command.service_key) if command.key == (key or 0) else _REFUSED
        if key is None or key != command.key:
            return _REFUSED
        match action:
            case ReserveOut.RESERVE:
                return self._take(nexus, command.type)
            case ReserveOut.RELEASE:
                return self._release(nexus, command.type)
            case ReserveOut.CLEAR:
                return self._clear(nexus)
            case ReserveOut.PREEMPT | ReserveOut.PREEMPT_AND_ABORT:
                # The core finishes every command before it takes the next, so there is never one to abort.
                return self._preempt(nexus, command.service_key, command.type)
            case ReserveOut.REGISTER_AND_MOVE:
                return self._move(nexus, command, initiators)

    # -- state -------------------------------------------------------------------------------------

    def _holds(self, nexus: Nexus) -> bool:
        if self._type in ALL_REGISTRANTS:
            return nexus in self._keys
        return self._type is not None and self._holder == nexus

    def _reserve(self, holder: Nexus | None, type: ReservationType | None) -> None:
        self._type = type
        self._holder = None if type is None or type in ALL_REGISTRANTS else holder
        self._needed = UNRESERVED if type is None else NEEDED[type]

    def _count(self) -> None:
        self._generation = (self._generation + 1) & _GENERATION_MASK

    def _tell_registrants(self, what: Sense, but: Nexus) -> tuple[tuple[Nexus, Sense], ...]:
        return tuple((nexus, what) for nexus in sorted(self._keys) if nexus != but)

    # -- service actions ---------------------------------------------------------------------------

    def _register(self, nexus: Nexus, new: int) -> Outcome:
        """REGISTER and its twin that ignores the old key (SPC-4 5.13.7); key 0 unregisters."""
        known = nexus in self._keys
        if new and not known and len(self._keys) >= MAX_REGISTRATIONS:
            return Outcome(sense.NO_REGISTRATION_RESOURCES)
        self._count()
        if new:
            self._keys[nexus] = new
        elif known:
            return Outcome(GOOD, True, self._unregister(nexus))
        return Outcome(GOOD, True)

    def _unregister(self, nexus: Nexus) -> tuple[tuple[Nexus, Sense], ...]:
        """Remove one registration, and with its last holder the reservation (SPC-4 5.13.11.3)."""
        type, held = self._type, self._holds(nexus)
        del self._keys[nexus]
        if not held or (type in ALL_REGISTRANTS and self._keys):
            return ()
        self._reserve(None, None)
        if type in REGISTRANTS_ONLY:
            return self._tell_registrants(sense.RESERVATIONS_RELEASED, nexus)
        return ()

    def _take(self, nexus: Nexus, type: ReservationType) -> Outcome:
        """RESERVE (SPC-4 5.13.9): a holder may ask again for what it has, and for nothing else."""
        if self._type is None:
            self._reserve(nexus, type)
            return Outcome(GOOD, True)
        return _NOTHING_DONE if self._holds(nexus) and self._type is type else _REFUSED

    def _release(self, nexus: Nexus, type: ReservationType) -> Outcome:
        """RELEASE (SPC-4 5.13.11.2): not an error for a registrant that holds nothing."""
        if not self._holds(nexus):
            return _NOTHING_DONE
        if self._type is not type:
            return Outcome(sense.INVALID_RELEASE)
        self._reserve(None, None)
        if type in REGISTRANTS_ONLY or type in ALL_REGISTRANTS:
            return Outcome(GOOD, True, self._tell_registrants(sense.RESERVATIONS_RELEASED, nexus))
        return Outcome(GOOD, True)

    def _clear(self, nexus: Nexus) -> Outcome:
        """CLEAR (SPC-4 5.13.11.6): no reservation and no registration remains."""
        told = self._tell_registrants(sense.RESERVATIONS_PREEMPTED, nexus)
        self._keys.clear()
        self._reserve(None, None)
        self._count()
        return Outcome(GOOD, True, told)

    def _preempt(self, nexus: Nexus, victim_key: int, type: ReservationType) -> Outcome:
        """PREEMPT (SPC-4 5.13.11.4): which of its three meanings it has depends on whom the key names."""
        everyone = self._type in ALL_REGISTRANTS
        if victim_key == 0:
            if not everyone:
                return Outcome(sense.INVALID_PARAMETER)
            return self._preempt_holder(nexus, [other for other in self._keys if other != nexus], type)
        victims = [other for other, key in self._keys.items() if key == victim_key]
        if not victims:
            return _REFUSED
        if self._holder is not None and self._keys[self._holder] == victim_key:
            return self._preempt_holder(nexus, [other for other in victims if other != nexus], type)
        for victim in victims:
            del self._keys[victim]
        if everyone and not self._keys:
            self._reserve(None, None)
        self._count()
        return Outcome(GOOD, True, self._tell_victims(victims, nexus))

    def _preempt_holder(self, nexus: Nexus, victims: list[Nexus], type: ReservationType) -> Outcome:
        """Take the reservation itself (SPC-4 5.13.11.4.3); preempting oneself keeps the registration."""
        changed = self._type is not type
        for victim in victims:
            del self._keys[victim]
        self._reserve(nexus, type)
        self._count()
        told = self._tell_victims(victims, nexus)
        if changed:
            told += self._tell_registrants(sense.RESERVATIONS_RELEASED, nexus)
        return Outcome(GOOD, True, told)

    def _tell_victims(self, victims: list[Nexus], but: Nexus) -> tuple[tuple[Nexus, Sense], ...]:
        return tuple((victim, sense.REGISTRATIONS_PREEMPTED) for victim in sorted(victims) if victim != but)

    def _move(self, nexus: Nexus, command: PersistentReserveOut, initiators: Container[str]) -> Outcome:
        """REGISTER AND MOVE (SPC-4 5.13.8): hand registration and reservation to another nexus, same type."""
        to = command.move_to
        if self._type is None:
            return Outcome(sense.INVALID_FIELD)
        if not self._holds(nexus) or self._type in ALL_REGISTRANTS:
            return _REFUSED
        if command.service_key == 0 or to is None or to == nexus or to.initiator not in initiators:
            return Outcome(sense.INVALID_PARAMETER)
        if to not in self._keys and len(self._keys) >= MAX_REGISTRATIONS:
            return Outcome(sense.NO_REGISTRATION_RESOURCES)
        self._keys[to] = command.service_key
        self._holder = to
        if command.unregister:
            del self._keys[nexus]
        self._count()
        return Outcome(GOOD, True)
