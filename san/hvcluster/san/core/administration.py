"""What an administrator asks of the array: LUNs made, grown, removed, shown and hidden.

Law: one request, one answer; what is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from hvcluster.model.scsi import MAX_INITIATOR_NAME
from hvcluster.model.vocabulary import MAX_LUNS, LunId

from . import sense
from .answers import Effects
from .attentions import Attentions
from .commands import MAX_INITIATORS, MAX_LUN_BLOCKS
from .effects import AdminAnswer, AdminError, AllocateBlocks, DiscardBlocks, LunImage, SaveImage
from .events import AdminEvent, CreateLun, DeleteLun, Mask, ResizeLun, Unmask
from .unit import LogicalUnit


class Administration:
    """The LUNs of an array, as their administrator sees them."""

    __slots__ = ("_attentions", "_luns", "_make")

    def __init__(
        self, luns: dict[LunId, LogicalUnit], attentions: Attentions, make: Callable[[LunImage], LogicalUnit]
    ) -> None:
        self._luns = luns
        self._attentions = attentions
        self._make = make

    def handle(self, event: AdminEvent) -> Effects:
        lun = self._luns.get(event.lun)
        if isinstance(event, CreateLun):
            return self._create(event)
        if lun is None:
            return (AdminAnswer(event.request, AdminError.NO_SUCH_LUN),)
        match event:
            case ResizeLun():
                return self._resize(event, lun)
            case DeleteLun():
                return self._delete(event, lun)
            case Mask():
                lun.initiators.discard(event.initiator)
            case Unmask():
                if not 0 < len(event.initiator) <= MAX_INITIATOR_NAME:
                    return (AdminAnswer(event.request, AdminError.BAD_INITIATOR),)
                if event.initiator not in lun.initiators and len(lun.initiators) >= MAX_INITIATORS:
                    return (AdminAnswer(event.request, AdminError.TOO_MANY_INITIATORS),)
                lun.initiators.add(event.initiator)
            case _:
                assert_never(event)
        return lun.save(), AdminAnswer(event.request)

    def _create(self, event: CreateLun) -> Effects:
        error = None
        if not 0 <= event.lun < MAX_LUNS:
            error = AdminError.BAD_LUN
        elif event.lun in self._luns:
            error = AdminError.LUN_EXISTS
        elif not 0 < event.blocks <= MAX_LUN_BLOCKS:
            error = AdminError.BAD_SIZE
        if error is not None:
            return (AdminAnswer(event.request, error),)
        lun = self._luns[event.lun] = self._make(LunImage(event.lun, event.blocks))
        return AllocateBlocks(lun.id, lun.blocks, True), lun.save(), AdminAnswer(event.request)

    def _resize(self, event: ResizeLun, lun: LogicalUnit) -> Effects:
        if not 0 < event.blocks <= MAX_LUN_BLOCKS:
            return (AdminAnswer(event.request, AdminError.BAD_SIZE),)
        if event.blocks < lun.blocks:
            return (AdminAnswer(event.request, AdminError.SHRINK),)
        if event.blocks == lun.blocks:
            return (AdminAnswer(event.request),)
        lun.blocks = event.blocks
        self._attentions.add_for_all(lun.id, sense.CAPACITY_CHANGED)
        return AllocateBlocks(lun.id, lun.blocks, False), lun.save(), AdminAnswer(event.request)

    def _delete(self, event: DeleteLun, lun: LogicalUnit) -> Effects:
        if lun.reservations.parts()[1] and not event.force:
            return (AdminAnswer(event.request, AdminError.REGISTERED),)
        del self._luns[lun.id]
        self._attentions.forget(lun.id)
        return SaveImage(lun.id, None), DiscardBlocks(lun.id), AdminAnswer(event.request)
