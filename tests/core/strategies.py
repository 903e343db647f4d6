"""Values for property tests: every command, message and event that peers, the array and operators can send.

Law: shapes only; ranges are small so that values meet each other.
"""

from __future__ import annotations

from hypothesis import strategies as st

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.policy import AffinityRule, Policy, Priority, RestartAction, RuleKind
from hvcluster.model.properties import CHANGEABLE
from hvcluster.model.resources import ResourceDefinition, ResourcePolicy
from hvcluster.model.scsi import (
    Capacity,
    FullStatus,
    Keys,
    Nexus,
    Registration,
    Reservation,
    ReservationType,
    Result,
    Sense,
    SenseKey,
    Status,
)
from hvcluster.model.vocabulary import (
    DrainStatus,
    Failback,
    Generation,
    GroupState,
    Incarnation,
    LunId,
    MigrationState,
    MoveKind,
    NodeId,
    PathName,
    ResourceState,
    StoreId,
)
from hvcluster.model.votes import Configuration, Voter
from hvcluster.node.core import commands as cmd
from hvcluster.node.core import events as ev
from hvcluster.node.core import messages as msg
from hvcluster.node.core.guest_state import GuestImage
from hvcluster.node.core.journal import Tail
from hvcluster.node.core.saved import SavedState, Snapshot

numbers = st.integers(0, 12) | st.integers(0, 2**63 - 1)
nodes = st.integers(0, 6).map(NodeId)
stores = st.integers(0, 9).map(StoreId) | st.integers(0, 2**63 - 1).map(StoreId)
incarnations = st.integers(0, 4).map(Incarnation) | numbers.map(Incarnation)
generations = st.integers(0, 4).map(Generation) | st.integers(0, 2**32 - 1).map(Generation)
texts = st.sampled_from(("", "D1", "D2", "ONLINE", "OFFLINE", "FAILED", "leave", "ok")) | st.text(max_size=8)
luns = st.integers(0, 255).map(LunId)

configurations = st.builds(
    lambda voters, witness: Configuration(tuple(sorted({v.node: v for v in voters}.values())), witness),
    st.lists(st.builds(Voter, nodes, stores), max_size=4),
    st.booleans(),
)
windows = st.sampled_from((None, (-1, -1), (1, 4), (22, 3)))
policies = st.builds(
    lambda priority, action, threshold, period_ms, delay_ms, window, classes, locked: Policy(
        priority, action, threshold, period_ms, delay_ms, window is not None,
        (window or (-1, -1))[0], (window or (-1, -1))[1], tuple(sorted(classes)), locked,
    ),
    st.sampled_from(Priority),
    st.sampled_from(RestartAction),
    st.integers(0, 3),
    st.integers(1_000, 900_000),
    st.integers(0, 1_000),
    windows,
    st.sets(st.sampled_from(("web", "database", "D1")), max_size=2),
    st.booleans(),
)  # fmt: skip
resources = st.builds(
    ResourceDefinition,
    texts,
    texts,
    st.just(()),
    st.sampled_from(("", "[D1]", "[D2] OR [D1]", "[ok", "[D1] AND ([D2] OR [ok])")),
    st.builds(ResourcePolicy, st.sampled_from(RestartAction), st.integers(0, 3), *[st.integers(0, 900_000)] * 7),
)
groups = st.builds(
    GroupDefinition,
    texts,
    luns,
    st.lists(nodes, max_size=3).map(tuple),
    st.lists(nodes, max_size=3).map(tuple),
    st.none() | nodes,
    st.integers(0, 10_000),
    policies,
    st.integers(0, 4096),
    st.none() | st.integers(0, 300_000),
    resources=st.just(()) | st.lists(resources, max_size=3).map(tuple),
)
states = st.lists(st.tuples(texts, st.sampled_from(ResourceState)), max_size=3).map(tuple)

rules = st.builds(AffinityRule, texts, st.sampled_from(RuleKind), st.lists(texts, max_size=3).map(tuple), st.booleans())

commands: st.SearchStrategy[cmd.Command] = st.one_of(
    st.just(cmd.Noop()),
    st.builds(cmd.Configure, configurations, texts),
    st.builds(cmd.FormCluster, texts, st.booleans()),
    st.builds(cmd.NodeUp, nodes, incarnations, stores),
    st.builds(cmd.NodeDown, nodes, incarnations, texts, st.booleans(), st.booleans()),
    st.builds(cmd.AssignGroup, texts, generations, nodes, texts, st.lists(nodes).map(tuple), texts, numbers, numbers),
    st.builds(
        cmd.AssignGroup,
        texts,
        generations,
        nodes,
        texts,
        st.lists(nodes).map(tuple),
        texts,
        numbers,
        numbers,
        numbers,
        incarnations,
    ),
    st.builds(cmd.BeginMove, texts, generations, nodes, texts, nodes, st.sampled_from(MoveKind)),
    st.builds(cmd.CancelMove, texts, generations, numbers, st.sampled_from(MigrationState), texts),
    st.builds(cmd.Preempt, texts, generations, texts),
    st.builds(cmd.ReportGroup, texts, generations, st.sampled_from(GroupState), texts, texts),
    st.builds(cmd.ReportGroup, texts, generations, st.sampled_from(GroupState), texts, texts, numbers, states),
    st.builds(cmd.SetResource, texts, texts, st.booleans()),
    st.builds(cmd.FailNow, texts, texts),
    st.builds(cmd.SetDesired, texts, st.booleans()),
    st.builds(cmd.AssignVolume, texts, numbers, nodes, texts, st.booleans()),
    st.builds(cmd.PauseNode, nodes, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(Failback)),
    st.builds(cmd.ChangeGroup, texts, policies, st.just((NodeId(1),)), st.just(())),
    st.builds(cmd.EndDrain, nodes, st.sampled_from(DrainStatus), texts),
    st.builds(cmd.DefineGroup, groups),
    st.builds(cmd.RemoveGroup, texts),
    st.builds(cmd.NodeIsolated, nodes, incarnations, texts),
    st.builds(cmd.NodeReturned, nodes, incarnations),
    st.builds(cmd.QuarantineNode, nodes, st.integers(0, 9), texts),
    st.builds(cmd.ReleaseNode, nodes, texts),
    st.builds(cmd.PutRule, rules),
    st.builds(cmd.DropRule, texts),
    st.builds(cmd.SetWeight, nodes, st.integers(-1, 2)),
    st.builds(cmd.EvictMember, nodes),
    st.builds(cmd.SetProperty, st.sampled_from(CHANGEABLE) | texts, st.integers(-1, 3)),
    st.builds(cmd.AddMember, nodes),
    st.builds(cmd.UseWitness, st.booleans()),
    st.builds(cmd.ForgetLosses, nodes, st.integers(0, 9), st.integers(0, 9)),
)

snapshots = st.builds(Snapshot, numbers, numbers, configurations, st.binary(max_size=30))
saved_states = st.builds(SavedState, stores, incarnations, numbers, nodes, st.none() | snapshots, st.just(()))


@st.composite
def runs_of_entries(draw: st.DrawFn) -> tuple[msg.Entry, ...]:
    """Entries one after the other, terms never falling: all that a wire adapter lets through."""
    first, term = draw(st.integers(1, 12)), draw(st.integers(0, 9))
    made: list[msg.Entry] = []
    for n, command in enumerate(draw(st.lists(commands, max_size=4))):
        term += draw(st.integers(0, 1))
        made.append(msg.Entry(first + n, term, command))
    return tuple(made)


heard = st.builds(msg.Heard, nodes, incarnations, numbers, st.booleans())
heartbeats = st.builds(
    msg.Heartbeat, nodes, stores, incarnations, numbers, st.booleans(), numbers, nodes, st.booleans(), numbers, numbers,
    st.booleans(), st.booleans(), st.lists(heard, max_size=3).map(tuple),
    st.sets(st.sampled_from(("Backup", "Production"))).map(lambda names: tuple(sorted(names))),
)  # fmt: skip

images = st.builds(
    GuestImage,
    st.builds(Tail, st.binary(max_size=9), st.integers(-1, 2**70), generations, nodes, numbers, st.integers(0, 2**64)),
    st.integers(-5, 2**40),
)
of_migrations: st.SearchStrategy[msg.Message] = st.one_of(
    st.builds(msg.OfferVm, texts, generations, numbers, numbers),
    st.builds(msg.VmTaken, texts, generations, numbers, st.booleans(), st.booleans(), texts),
    st.builds(msg.LastOfVm, texts, generations, numbers, images),
    st.builds(msg.WhereIsVm, texts, generations),
    st.builds(msg.VmServed, texts, generations, texts),
    st.builds(msg.MoveReport, texts, generations, numbers, st.booleans(), nodes, incarnations, texts),
)

messages: st.SearchStrategy[msg.Message] = st.one_of(
    of_migrations,
    heartbeats,
    st.builds(msg.PreVote, numbers, numbers, numbers, st.booleans()),
    st.builds(msg.PreVoteReply, numbers, st.booleans(), numbers, texts),
    st.builds(msg.RequestVote, numbers, numbers, numbers, st.booleans()),
    st.builds(msg.VoteReply, numbers, st.booleans(), numbers, texts),
    st.builds(msg.AppendEntries, numbers, numbers, numbers, numbers, runs_of_entries(), numbers),
    st.builds(msg.AppendReply, numbers, st.booleans(), numbers, numbers),
    st.builds(msg.InstallSnapshot, numbers, numbers, numbers, configurations, st.binary(max_size=30), numbers),
    st.builds(msg.TimeoutNow, numbers),
    st.builds(msg.GroupReport, texts, generations, texts, texts, texts, numbers, states),
    st.builds(msg.Forward, numbers, st.binary(max_size=30)),
    st.builds(msg.Forwarded, numbers, st.booleans(), texts, texts),
)

nexuses = st.builds(Nexus, st.sampled_from(("a", "iqn.1991-05.com.microsoft:hyperv-1")), st.just(PathName("A")))
keys = st.integers(0, 2**64 - 1) | st.builds(
    lambda generation, node: (generation << 32) | (node << 16) | 0x734D, st.integers(0, 5), st.integers(0, 5)
)
payloads = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.binary(min_size=512, max_size=512),
    st.builds(Capacity, st.integers(0, 2**40)),
    st.builds(Keys, st.integers(0, 9), st.lists(keys, max_size=4).map(tuple)),
    st.builds(Reservation, st.integers(0, 9), st.none() | keys, st.none() | st.sampled_from(ReservationType)),
    st.builds(
        FullStatus,
        st.integers(0, 9),
        st.lists(
            st.builds(Registration, nexuses, keys, st.booleans(), st.none() | st.sampled_from(ReservationType)),
            max_size=3,
        ).map(tuple),
    ),
)
senses = st.builds(Sense, st.sampled_from(SenseKey), st.integers(0, 255), st.integers(0, 255))
results = st.builds(Result, st.sampled_from(Status), st.none() | senses, payloads)

requests: st.SearchStrategy[ev.Request] = st.one_of(
    st.builds(ev.MoveGroup, texts, nodes, st.sampled_from(MoveKind)),
    st.builds(ev.CancelMigration, texts),
    st.builds(ev.SetGroup, texts, policies, st.just((NodeId(1),)), st.just((NodeId(1), NodeId(2)))),
    st.builds(ev.SetGroupOnline, texts, st.booleans()),
    st.builds(ev.StopNode, nodes, st.booleans()),
    st.builds(ev.SetNodePaused, nodes, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(Failback)),
    st.builds(ev.ClearQuarantine, nodes),
    st.builds(ev.SetResourceOnline, texts, st.booleans()),
    st.builds(ev.FailResource, texts),
    st.builds(ev.SetAffinityRule, rules),
    st.builds(ev.MoveVolume, texts, nodes),
    st.builds(ev.RemoveAffinityRule, texts),
    st.builds(ev.SetNodeWeight, nodes, st.integers(-1, 2)),
    st.builds(ev.EvictNode, nodes, st.booleans()),
    st.builds(ev.SetClusterProperty, st.sampled_from(CHANGEABLE) | texts, st.integers(-1, 2**63)),
    st.builds(ev.AddNode, nodes),
    st.builds(ev.SetQuorum, st.booleans()),
)
