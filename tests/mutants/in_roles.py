"""Mutants of roles of resources: order, the disk first, late answers, late reports, an end that ends everything.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from collections.abc import Collection

from hvcluster.model.dependencies import Expression, names
from hvcluster.model.vocabulary import GroupState, Instant
from hvcluster.node.core import rcm
from hvcluster.node.core.commands import ReportGroup
from hvcluster.node.core.disk import DiskOutcome
from hvcluster.node.core.groups import Groups
from hvcluster.node.core.members import Group
from hvcluster.node.core.offline import Ending
from hvcluster.node.core.rcm import Held, ResourceControl
from hvcluster.node.core.runs import Phase, Run
from hvcluster.node.core.workloads import Workloads
from tests.mutants.patching import Mutant, Patch, breaks


@breaks("nothing of a role runs before its disk is reserved")
def resources_start_before_their_disk(patch: Patch) -> None:
    """A role whose resources need no disk by their dependencies does not wait for the reservation."""
    real = Groups._begin

    def begin(self: Groups, now: Instant, run: Run) -> None:
        if not run.has_resources:
            real(self, now, run)
            return
        run.phase = Phase.ARBITRATING
        self._disk_done(run, now, (DiskOutcome.ONLINE, ()))

    patch.set(Groups, "_begin", begin)


@breaks("a resource comes online only on what it depends on")
def one_provider_is_enough(patch: Patch) -> None:
    """AND is read as OR."""

    def holds(expression: Expression, online: Collection[str]) -> bool:
        wanted = names(expression)
        return not wanted or any(name in online for name in wanted)

    patch.set(rcm, "holds", holds)


@breaks("what depends on a resource goes offline before it")
def providers_do_not_wait_for_dependents(patch: Patch) -> None:
    """Everything that is to go offline goes at once."""

    def leaned_on(self: ResourceControl, held: Held, kept: set[str]) -> bool:
        return False

    patch.set(ResourceControl, "_leaned_on", leaned_on)


@breaks("an answer counts for the call that it answers, and for no later one")
def any_answer_will_do(patch: Patch) -> None:
    """What a monitor says of a resource is taken for the answer to whatever it was asked last."""
    real = ResourceControl.answered

    def answered(self: ResourceControl, now: Instant, name: str, token: int, ok: bool, reason: str) -> None:
        real(self, now, name, self._held[name].token, ok, reason)

    patch.set(ResourceControl, "answered", answered)


@breaks("a report that is older than what is known changes nothing")
def late_reports_count(patch: Patch) -> None:
    """Whatever an owner says of its resources is taken in, in the order in which it arrives."""

    def news(self: Group, by: ReportGroup) -> bool:
        if by.state is GroupState.PENDING and self.state is not GroupState.PENDING:
            return False
        return by.state is not self.state or by.resources != tuple((r.name, r.state) for r in self.resources)

    patch.set(Group, "news", news)


@breaks("a role that its node does not own any more is ended")
def a_lost_role_goes_on(patch: Patch) -> None:
    """A role that another node has by now is forgotten instead of ended."""
    real = Workloads.stop

    def stop(self: Workloads, now: Instant, run: Run, how: Ending, reason: str, moved: bool = False) -> None:
        if run.has_resources and not how.polite:
            self._controls.pop(run.group, None)
            self.stopped(now, run.group, run.generation, "terminated", reason)
        else:
            real(self, now, run, how, reason, moved)

    patch.set(Workloads, "stop", stop)


ROLES: tuple[Mutant, ...] = (
    resources_start_before_their_disk,
    one_provider_is_enough,
    providers_do_not_wait_for_dependents,
    any_answer_will_do,
    late_reports_count,
    a_lost_role_goes_on,
)
