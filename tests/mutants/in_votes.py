"""Mutants of votes that an operator changes: NodeWeight, and whether the witness is used.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.vocabulary import Instant
from hvcluster.node.core.commands import Command, Configure
from hvcluster.node.core.database import Database
from hvcluster.node.core.planner import Planner
from tests.mutants.patching import Patch, breaks


@breaks("votes follow what an operator wishes one at a time")
def wishes_become_votes_at_once(patch: Patch) -> None:
    """A leader gives the votes to those with NodeWeight 1, and to nobody else, in one entry of the log."""
    real: Callable[[Planner, Instant, Database], list[Command]] = Planner._votes

    def votes(self: Planner, now: Instant, database: Database) -> list[Command]:
        configuration = wished = self._state.log.configuration
        for voter in configuration.voters:
            if not database.members[voter.node].weight and len(wished.voters) > 1:
                wished = wished.without(voter)
        if not database.has_witness:
            wished = wished.with_witness(False)
        changed = len(configuration.voters) - len(wished.voters) + (configuration.witness != wished.witness)
        return [Configure(wished, "as an operator wishes")] if changed > 1 else real(self, now, database)

    patch.set(Planner, "_votes", votes)


VOTES = (wishes_become_votes_at_once,)
