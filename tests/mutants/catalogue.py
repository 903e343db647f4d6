"""Every mutant: deliberate faults in the protocol, which whoever explores it must find.

Law: a list; the mutants themselves stand in the modules `in_...`, the product code knows none.
"""

from __future__ import annotations

from tests.mutants.in_disks import DISKS
from tests.mutants.in_forcing import FORCING
from tests.mutants.in_migration import MIGRATION
from tests.mutants.in_raft import RAFT
from tests.mutants.in_resiliency import RESILIENCY
from tests.mutants.in_roles import ROLES
from tests.mutants.in_saving import SAVING
from tests.mutants.in_tag_witness import TAG_WITNESS
from tests.mutants.in_volumes import VOLUMES
from tests.mutants.in_votes import VOTES
from tests.mutants.in_witness import WITNESS
from tests.mutants.patching import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *RAFT, *WITNESS, *TAG_WITNESS, *DISKS, *RESILIENCY, *FORCING, *MIGRATION, *ROLES, *SAVING, *VOTES, *VOLUMES,
)  # fmt: skip


def named(name: str) -> Mutant:
    """The mutant of that name. Raises KeyError."""
    for mutant in MUTANTS:
        if mutant.name == name:
            return mutant
    raise KeyError(name)
