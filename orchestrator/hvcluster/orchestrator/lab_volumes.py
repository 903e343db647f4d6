"""The Cluster Shared Volumes of a lab file: [[volume]] tables, and where on them the VMs lie.

Law: reads and complains; VMs lie on a volume in the order of the file, one behind the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hvcluster.model.definition import EXTENT_BLOCKS, Extent, VolumeDefinition
from hvcluster.model.toml_lines import Path as TomlPath
from hvcluster.model.vocabulary import BLOCK_BYTES, MAX_LUNS, LunId

from .lab import LabLun, LabVm, parse_size, size_text
from .lab_reader import Section, near

VOLUME_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")
LEAST_BYTES: Final = 128 << 10
MOST_BYTES: Final = 1 << 40
FIRST_BLOCK: Final = 1  # block 0 stays what it is: a claim of nobody is never found by mistake


def volumes(top: Section, luns: list[LabLun], witness: LunId | None) -> dict[str, VolumeDefinition]:
    """The volumes by name."""
    found: dict[str, VolumeDefinition] = {}
    there = {lun.id for lun in luns}
    for section in top.sections("volume"):
        name = section.text("name", required=True) or ""
        number = section.integer("lun", 0, MAX_LUNS - 1, required=True)
        section.finish()
        if name and not VOLUME_NAME.fullmatch(name):
            section.complain("name", f"{name!r} is no volume name", "use letters, digits, '.', '_' and '-', 32 at most")
        elif name.lower() in (known.lower() for known in found):
            section.complain("name", f"there are two volumes {name!r}", "give every volume a name of its own")
        if number is None:
            continue
        lun = LunId(number)
        if lun not in there:
            section.complain("lun", f"volume {name!r} is on LUN {lun}, which does not exist", f"add [[lun]] id = {lun}")
        if lun == witness:
            section.complain("lun", f"LUN {lun} is the witness", "a volume cannot be a witness; give it another LUN")
        if lun in (known.lun for known in found.values()):
            section.complain("lun", f"two volumes are on LUN {lun}", "give every volume a LUN of its own")
        if name:
            found[name] = VolumeDefinition(name, lun)
    return found


def place_of(section: Section) -> tuple[str | None, int]:
    """The volume that a VM names, and how many blocks its VHD is to have."""
    volume = section.text("volume")
    text = section.text("size")
    if text is None:
        return volume, EXTENT_BLOCKS - 1
    size = parse_size(text)
    if volume is None:
        section.complain("size", "a VM on a LUN of its own is as large as that", "leave size out, or name a volume")
    elif size is None or size % BLOCK_BYTES or not LEAST_BYTES <= size <= MOST_BYTES:
        limits = f"{size_text(LEAST_BYTES)} to {size_text(MOST_BYTES)}, in whole blocks of {BLOCK_BYTES} bytes"
        section.complain("size", f"{text!r} is no size of a VHD", f"write a size from {limits}")
    else:
        return volume, size // BLOCK_BYTES
    return volume, EXTENT_BLOCKS - 1


def placed(
    top: Section, vms: list[LabVm], wanted: Mapping[str, tuple[str, int]], known: Mapping[str, VolumeDefinition],
    luns: list[LabLun],
) -> list[LabVm]:  # fmt: skip
    """The VMs with their extents; `wanted`: volume and blocks by VM."""
    sizes = {lun.id: lun.blocks for lun in luns}
    next_block: dict[LunId, int] = {}
    done: list[LabVm] = []
    for at, vm in enumerate(vms):
        if vm.name not in wanted:
            done.append(vm)
            continue
        name, blocks = wanted[vm.name]
        volume = known.get(name)
        if volume is None:
            remedy = near(name, known) or "name a [[volume]] of this lab"
            top.report.add(("vm", at, "volume"), f"there is no volume {name!r}", remedy)
            done.append(vm)
            continue
        extent = Extent(next_block.get(volume.lun, FIRST_BLOCK), blocks + 1)
        next_block[volume.lun] = extent.end
        if extent.end > sizes.get(volume.lun, extent.end):
            top.report.add(
                ("vm", at, "volume"), f"VM {vm.name!r} does not fit on volume {name!r} any more",
                f"make LUN {volume.lun} larger: it has to have {size_text(extent.end * BLOCK_BYTES)} at least",
            )  # fmt: skip
        done.append(replace(vm, lun=volume.lun, extent=extent))
    return done


def lun_remedy(luns: set[LunId], number: int) -> str:
    """What to do about a LUN that does not exist."""
    there = f"there are {', '.join(str(lun) for lun in sorted(luns))}" if luns else "there is none"
    return f"add [[lun]] with id = {number}, or choose another ({there})"


def check_disks(top: Section, luns: set[LunId], vms: list[LabVm], volumes: dict[LunId, str]) -> None:
    """Every VM has a LUN of its own, or an extent on a volume."""
    first: dict[LunId, tuple[str, TomlPath]] = {}
    for at, vm in enumerate(vms):
        path: TomlPath = ("vm", at, "lun")
        if vm.lun < 0 or vm.extent is not None:
            continue
        if vm.lun in volumes:
            remedy = f'write volume = "{volumes[vm.lun]}" instead'
            top.report.add(path, f"LUN {vm.lun} of VM {vm.name!r} is the volume {volumes[vm.lun]!r}", remedy)
        if vm.lun not in luns:
            top.report.add(path, f"VM {vm.name!r} is on LUN {vm.lun}, which does not exist", lun_remedy(luns, vm.lun))
        if vm.lun in first:
            other, where = first[vm.lun]
            top.report.add(
                path,
                f"VM {vm.name!r} is on LUN {vm.lun}, and so is {other!r} (line {top.report.line(where)})",
                "give every VM a LUN of its own: the reservation is per LUN",
            )
        first.setdefault(vm.lun, (vm.name, path))
