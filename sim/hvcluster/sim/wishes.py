"""Faults that are an operator's wish: the request that a node is asked.

Law: pure; a fault in, a request out.
"""

from __future__ import annotations

from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.vocabulary import NOBODY, MoveKind, NodeId
from hvcluster.node.core import events as ev


def wish_of(fault: Fault, node: NodeId = NOBODY) -> ev.Request | None:
    """What an operator asks for; None for what is no wish. `node`: the target, where that is one."""
    word, target = fault.word, fault.target
    match word:
        case FaultWord.MOVE:
            return ev.MoveGroup(target, NOBODY, MoveKind[fault.type.upper() or "LIVE"])
        case FaultWord.CANCEL_MOVE:
            return ev.CancelMigration(target)
        case FaultWord.OFFLINE | FaultWord.ONLINE:
            return ev.SetGroupOnline(target, word is FaultWord.ONLINE)
        case FaultWord.OFFLINE_RESOURCE | FaultWord.ONLINE_RESOURCE:
            return ev.SetResourceOnline(target, word is FaultWord.ONLINE_RESOURCE)
        case FaultWord.FAIL_RESOURCE:
            return ev.FailResource(target)
        case FaultWord.USE_WITNESS:
            return ev.SetQuorum(bool(fault.amount))
        case FaultWord.SET_PROPERTY:
            return ev.SetClusterProperty(target, int(fault.amount))
        case FaultWord.PAUSE | FaultWord.DRAIN | FaultWord.RESUME:
            return ev.SetNodePaused(node, word is not FaultWord.RESUME, drain=word is FaultWord.DRAIN)
        case FaultWord.WEIGH:
            return ev.SetNodeWeight(node, int(fault.amount))
        case FaultWord.EVICT:
            return ev.EvictNode(node, force=True)
        case FaultWord.ADD_NODE:
            return ev.AddNode(node)
        case _:
            return None
