"""What a guest consists of: where it is, its disk, the end of its journal, and who waits for it.

Law: a record, and what others may see of it. What happens to it is for `guest` to say.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

from hvcluster.model.definition import Extent
from hvcluster.model.vocabulary import Generation, LunId, NodeId, PathName

from .guest_boot import TailSearch
from .guest_disk import Channel
from .guest_freeze import Freeze
from .guest_io import Fetch
from .guest_reads import FetchQueue
from .guest_state import GuestImage
from .journal import genesis

FIRST_GENERATION: Final = Generation(1)
"""Only this one formats a blank LUN: that a later one finds it blank may mean that a disk with data was replaced."""


class GuestState(Enum):
    """Where a guest is. The value is the sentence shown to people."""

    OFF = "The VM was not powered on yet."
    RESUMING = "It looks whether its disk is as its memory says."
    SIZING = "It asks how large its LUN is."
    CHECKING = "It reads the VHD footer."
    SEARCHING = "It looks for the end of its journal."
    FORMATTING = "It writes the VHD footer of a blank LUN."
    DELAYED = "Its disk is ready; the boot delay is not over."
    BOOTING = "It writes its boot record."
    ONLINE = "It serves."
    STOPPING = "It finishes the appends it has taken."
    SAVING = "Its memory is being saved on its disk."
    SEALING = "It writes the record that makes its saved state count."
    STOPPED = "It is off for good."


class GuestParts:
    """All that a guest remembers. The properties tell, they change nothing."""

    def __init__(
        self,
        vm: str,
        lun: LunId,
        generation: Generation,
        node: NodeId,
        boot_delay_us: int,
        disk_timeout_us: int,
        paths: tuple[PathName, ...],
        format_blank: bool | None = None,
        freeze_us: int = 0,
        image: GuestImage | None = None,
        restore_us: int = 0,
        extent: Extent | None = None,
    ) -> None:
        """`paths`: those up now. `format_blank`: may a blank LUN be formatted (None: in FIRST_GENERATION only).

        `freeze_us`: for how long it is frozen when its disk does not answer, before it is turned off.
        `image`: go on from this memory, if the disk is as it says; boot otherwise.
        `restore_us`: how long it takes to read a saved state, should there be one.
        `extent`: its blocks of the LUN, None for all of them.
        """
        first = extent.disk_first if extent is not None else 0
        self._extent = extent
        self._freeze = Freeze(freeze_us)
        self._generation = generation
        self._node = node
        self._boot_delay_us = boot_delay_us
        self._paths = tuple(sorted(paths))
        self._vm = vm
        self._format_blank = generation == FIRST_GENERATION if format_blank is None else format_blank
        self._state = GuestState.OFF
        self._disk = Channel("main", lun, disk_timeout_us, first_token=0, token_step=2, first_block=first)
        self._reader = Channel("fetch", lun, disk_timeout_us, first_token=1, token_step=2, first_block=first)
        self._search: TailSearch | None = None
        self._lun_blocks = 0
        self._last_data = 0  # highest sequence a client's record may get
        self._unformatted = False
        self._delay_over = False
        self._tail = genesis(vm)  # what is surely on the disk
        self._next_tail = self._tail  # with the records in flight
        self._flight: list[int] = []  # tickets of the WRITE under way, in order of their records
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._fetches = FetchQueue(self._tail.vm, self._reader)
        self._stop_reason = ""
        self._image = image
        self._restore_us = restore_us
        self._save_us = 0  # how long saving its memory takes
        self._restored = False
        self._forced = False  # it shuts down without what waits
        self._held = 0  # the move that it is paused for, 0 while it is not
        self._held_fetches: list[Fetch] = []

    def _disk_blocks(self, lun_blocks: int) -> int:
        """How large its disk is, 0 where the LUN is too small for its extent."""
        if self._extent is None:
            return lun_blocks
        return self._extent.disk_blocks if self._extent.end <= lun_blocks else 0

    @property
    def state(self) -> GuestState:
        """Where the guest is."""
        return self._state

    @property
    def generation(self) -> Generation:
        """The generation this guest is."""
        return self._generation

    @property
    def serves(self) -> bool:
        """Whether it takes requests of clients, be it paused."""
        return self._state is GuestState.ONLINE

    @property
    def paused(self) -> bool:
        """Whether nothing of it is under way, and nothing will be until it is told to go on."""
        return self._held > 0 and not self._disk.busy

    @property
    def sequence(self) -> int:
        """Number of the last record that is surely on the LUN; 0 when there is none."""
        return self._tail.sequence

    @property
    def boots(self) -> int:
        """How often the VM has booted, this boot included once it is online."""
        return self._tail.boots
