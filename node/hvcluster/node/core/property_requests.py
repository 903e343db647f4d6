"""An operator's request that a property of the cluster be another one from now on.

Law: decides as leader; what fits together is for `model.properties` to say.
"""

from __future__ import annotations

from hvcluster.model.properties import CHANGEABLE, LIMITS, Properties, changed, problems

from .commands import SetProperty
from .database import Database
from .decisions import Decision, Outcome, refused
from .operator_requests import SetClusterProperty


def set_property(database: Database, made: Properties, request: SetClusterProperty) -> Decision:
    """A property is to have another value."""
    name, value = request.name, request.value
    if name not in CHANGEABLE:
        known = ", ".join(CHANGEABLE)
        return refused("refused", f"{name[:64]!r} does not change while the cluster runs; these do: {known}")
    low, high = LIMITS.get(name, (0, 1))
    if not low <= value <= high:
        return refused("refused", f"{name} is a value from {low:g} to {high:g}, and not {value}")
    if name == "lower_quorum_priority_node_id" and value and value not in database.members:
        return refused("unknown-node", f"there is no node {value}")
    after = database.with_property(name, value)
    wrong = next((text for key, text in problems(changed(made, after)) if key == name), None)
    if wrong is not None:
        return refused("refused", wrong)

    def watch(database: Database) -> Outcome | None:
        if getattr(changed(made, database.changes), name) != value:
            return None
        return Outcome(True, "ok", f"{name} is {value}")

    return Decision(None, (SetProperty(name, value),), watch)
