"""One logical unit as the core keeps it: what survives power loss, and what does not.

Law: state and its small changes; which command may change it is decided in the array.
"""

from __future__ import annotations

from hvcluster.model.scsi import Nexus
from hvcluster.model.vocabulary import LunId

from .effects import LunImage, SaveImage
from .reservations import Reservations

EVERYONE = "*"
"""An initiator name that stands for all."""


class LogicalUnit:
    """A LUN. An ejected medium, prevented removal and RESERVE (6) are forgotten at power loss, as on a disk."""

    __slots__ = (
        "blocks",
        "ejected",
        "id",
        "initiators",
        "prevented_by",
        "removable",
        "reservations",
        "reserved_by",
        "thin",
    )

    def __init__(self, image: LunImage, *, thin: bool = True, removable: bool = False) -> None:
        self.id: LunId = image.lun
        self.blocks = image.blocks
        self.initiators = set(image.initiators)
        self.reservations = Reservations(image)
        self.thin = thin
        self.removable = removable
        self.ejected = False
        self.prevented_by: set[Nexus] = set()
        self.reserved_by: Nexus | None = None

    def save(self) -> SaveImage:
        generation, registrations, holder, type = self.reservations.parts()
        initiators = tuple(sorted(self.initiators))
        return SaveImage(
            self.id,
            LunImage(self.id, self.blocks, initiators, generation, registrations, holder, type),
        )

    def shows(self, initiator: str) -> bool:
        """Whether an initiator sees it."""
        return initiator in self.initiators or EVERYONE in self.initiators

    def lose(self, nexus: Nexus) -> None:
        """An I_T nexus was lost: what it held for its own time ends."""
        self.prevented_by.discard(nexus)
        if self.reserved_by == nexus:
            self.reserved_by = None

    def reset(self) -> None:
        """LOGICAL UNIT RESET (SAM-4 6.3.3): persistent reservations stay."""
        self.prevented_by.clear()
        self.reserved_by = None
