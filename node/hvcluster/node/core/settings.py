"""The properties of the cluster as they are now: those it was made with, and what operators have changed since.

Law: follows the database. Only what its readers look up anew each time may change; whatever a lease, a timer or a vote
under way rests on stays as it was made.
"""

from __future__ import annotations

from hvcluster.model.properties import Changes, Properties, changed


class Settings:
    """`now` is the value to read, each time it is needed."""

    __slots__ = ("_changes", "_made", "now")

    def __init__(self, made: Properties) -> None:
        self._made = made
        self._changes: Changes = ()
        self.now = made

    def follow(self, changes: Changes) -> None:
        """The database says what has been changed."""
        if changes != self._changes:
            self._changes = changes
            self.now = changed(self._made, changes)
