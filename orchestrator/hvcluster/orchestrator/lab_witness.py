"""`[witness]` of a lab file: a LUN, a file share, or a blob of a cloud.

Law: reads and checks that section; what a witness does is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.properties import PROFILES
from hvcluster.model.vocabulary import MAX_LUNS, LunId
from hvcluster.runtime import blob_account

from . import lab_volumes
from .lab import LabVm
from .lab_reader import Section

CLOUD_SINCE: Final = "ws2016"


@dataclass(frozen=True, slots=True)
class LabWitness:
    """What the section says. `kind` is None for a disk witness or none.

    `account`: the file of a cloud's account; `directory`: of a share that is mounted; None where the lab has its own.
    """

    lun: LunId | None
    kind: TagWitnessKind | None
    port: int
    account: Path | None
    directory: Path | None


def witness(top: Section, luns: Collection[LunId], vms: list[LabVm], profile: str) -> LabWitness:
    """Read the section; without it there is no witness."""
    section = top.section("witness")
    kinds = {kind.value: kind for kind in TagWitnessKind}
    kind = kinds.get(section.choice("kind", ("disk", *kinds), "disk"))
    port = section.integer("port", 0, 65535, 0)
    if kind is TagWitnessKind.CLOUD and PROFILES.index(profile) < PROFILES.index(CLOUD_SINCE):
        section.complain("kind", f"{profile} has no cloud witness", f'write profile = "{CLOUD_SINCE}" or a later one')
    account, directory = _account(section, kind), _directory(section, kind)
    if kind is not None and section.has("lun"):
        section.complain("lun", f"a {kind.value} witness is on no LUN", 'leave lun out, or write kind = "disk"')
    if kind is None and section.has("port"):
        section.complain("port", "a disk witness has no port", "leave port out")
    lun = _lun(section, kind, luns, vms)
    section.finish()
    return LabWitness(lun if kind is None else None, kind, port or 0, account, directory)


def _lun(section: Section, kind: TagWitnessKind | None, luns: Collection[LunId], vms: list[LabVm]) -> LunId | None:
    if kind is None and section.has("kind") and not section.has("lun"):
        section.complain("kind", "a disk witness needs a LUN", "write lun = and the number of a LUN")
    number = section.integer("lun", 0, MAX_LUNS - 1)
    if number is None or not section.has("lun"):
        return None
    if LunId(number) not in luns:
        remedy = lab_volumes.lun_remedy(set(luns), number)
        section.complain("lun", f"the witness is on LUN {number}, which does not exist", remedy)
    users = [vm.name for vm in vms if vm.lun == number]
    if users:
        section.complain("lun", f"LUN {number} is in use by VM {users[0]!r}", "give the witness a LUN of its own")
    return LunId(number)


def _account(section: Section, kind: TagWitnessKind | None) -> Path | None:
    """The file with a connection string; relative to the lab file."""
    text = section.text("account", "") or ""
    if not text:
        return None
    file = (Path(section.report.file).parent / Path(text).expanduser()).resolve()
    if kind is not TagWitnessKind.CLOUD:
        section.complain("account", "only a cloud witness has an account", 'leave account out, or write kind = "cloud"')
    elif section.has("port"):
        section.complain("port", "the service of an account says itself where it is", "leave port out")
    else:
        try:
            blob_account.load(file)
        except blob_account.BadAccount as error:
            section.complain("account", str(error), "name a file with the connection string of the account")
    return file


def _directory(section: Section, kind: TagWitnessKind | None) -> Path | None:
    """A directory that is there already, for an empty mount point would be nobody's share; relative to the lab file."""
    text = section.text("directory", "") or ""
    if not text:
        return None
    folder = (Path(section.report.file).parent / Path(text).expanduser()).resolve()
    if kind is not TagWitnessKind.FILE_SHARE:
        remedy = 'leave directory out, or write kind = "file-share"'
        section.complain("directory", "only a file share witness lies in a directory", remedy)
    elif section.has("port"):
        section.complain("port", "nobody listens for a witness in a directory", "leave port out")
    elif not folder.is_dir():
        section.complain("directory", f"there is no directory {folder}", "mount the share, or make the directory")
    return folder
