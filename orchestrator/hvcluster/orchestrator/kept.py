"""What a lab keeps between two starts, and whether a lab file still fits it.

Law: reads and writes the lab's own notes, never its nodes' or its array's data. Saved state belongs to the cluster and
to the LUNs it was written by.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition

from .errors import Exit, Failure
from .lab import Lab, size_text
from .state import LabDir


@dataclass(frozen=True, slots=True)
class LunSizes:
    """Every LUN the lab ever had, as (number, bytes)."""

    sizes: tuple[tuple[int, int], ...] = ()


def cluster(directory: LabDir) -> ClusterDefinition | None:
    """The cluster whose data lies in the directory; None if there is none."""
    try:
        return codec.load(ClusterDefinition, directory.definition.read_bytes())
    except (OSError, codec.Malformed):
        return None


def _luns(directory: LabDir) -> dict[int, int]:
    try:
        return dict(codec.load(LunSizes, directory.lun_sizes.read_bytes()).sizes)
    except (OSError, codec.Malformed):
        return {}


def check(lab: Lab, directory: LabDir) -> None:
    """Whether the lab may go on with the data in the directory. Raises Failure REFUSED."""
    known = cluster(directory)
    if known is None or not any((directory.path / "data").glob("*/*")):
        return
    before = _luns(directory)
    # A VHD that fills its LUN has its footer in the last block: in a larger or smaller LUN it is nowhere to be found.
    changed = [lun for lun in lab.luns if before.get(lun.id, lun.size_bytes) != lun.size_bytes]
    undo = "start over with `hvc up --fresh` (its VMs' data is lost), or undo the change"
    if changed:
        what = ", ".join(
            f"LUN {lun.id} from {size_text(before[lun.id])} to {size_text(lun.size_bytes)}" for lun in changed
        )
        raise Failure(
            Exit.REFUSED,
            f"the lab file changes {what}, but lab {directory.name!r} has written its data for the old size",
            undo,
        )
    if lab.definition(known.id) != known:
        raise Failure(Exit.REFUSED, f"the lab file has changed since lab {directory.name!r} wrote its data", undo)


def remember(lab: Lab, directory: LabDir) -> None:
    """Note the sizes of the lab's LUNs; those of LUNs that left the file stay noted, as the array keeps them."""
    sizes = _luns(directory) | {int(lun.id): lun.size_bytes for lun in lab.luns}
    directory.lun_sizes.write_bytes(codec.dump(LunSizes(tuple(sorted(sizes.items())))))


def remove(directory: LabDir) -> None:
    """Remove data, logs and notes: the next start is a first one."""
    for part in ("data", "genesis", "logs"):
        shutil.rmtree(directory.path / part, ignore_errors=True)
    directory.definition.unlink(missing_ok=True)
    directory.lun_sizes.unlink(missing_ok=True)
