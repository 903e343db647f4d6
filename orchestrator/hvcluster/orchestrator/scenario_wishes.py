"""Steps of a scenario that are an operator's wish: the request that a node is asked.

Law: pure; a fault in, a request out.
"""

from __future__ import annotations

from hvcluster.model.faults import Fault, FaultWord
from hvcluster.v1 import node_pb2 as pb


def wish_of(fault: Fault, node: int = 0) -> pb.OperatorRequest | None:
    """What an operator asks for with a step; None for what is no wish. `node`: the id of its target, if that is one."""
    word, target = fault.word, fault.target
    match word:
        case FaultWord.MOVE:
            return pb.OperatorRequest(move_group=pb.MoveGroupRequest(group=target, type=fault.type))
        case FaultWord.CANCEL_MOVE:
            return pb.OperatorRequest(cancel_move=pb.CancelMoveRequest(group=target))
        case FaultWord.OFFLINE | FaultWord.ONLINE:
            online = word is FaultWord.ONLINE
            return pb.OperatorRequest(set_group_online=pb.SetGroupOnlineRequest(group=target, online=online))
        case FaultWord.OFFLINE_RESOURCE | FaultWord.ONLINE_RESOURCE:
            online = word is FaultWord.ONLINE_RESOURCE
            return pb.OperatorRequest(set_resource_online=pb.SetResourceOnlineRequest(resource=target, online=online))
        case FaultWord.FAIL_RESOURCE:
            return pb.OperatorRequest(fail_resource=pb.FailResourceRequest(resource=target))
        case FaultWord.USE_WITNESS:
            return pb.OperatorRequest(set_quorum=pb.SetQuorumRequest(witness=bool(fault.amount)))
        case FaultWord.SET_PROPERTY:
            wanted = pb.SetClusterPropertyRequest(name=target, value=int(fault.amount))
            return pb.OperatorRequest(set_cluster_property=wanted)
        case FaultWord.PAUSE | FaultWord.DRAIN | FaultWord.RESUME:
            pauses, drains = word is not FaultWord.RESUME, word is FaultWord.DRAIN
            pause = pb.SetNodePausedRequest(node=node, paused=pauses, drain=drains)
            return pb.OperatorRequest(set_node_paused=pause)
        case FaultWord.WEIGH:
            vote = pb.SetNodeWeightRequest(node=node, weight=int(fault.amount))
            return pb.OperatorRequest(set_node_weight=vote)
        case FaultWord.EVICT:
            return pb.OperatorRequest(evict_node=pb.EvictNodeRequest(node=node, force=True))
        case FaultWord.ADD_NODE:
            return pb.OperatorRequest(add_node=pb.AddNodeRequest(node=node))
        case _:
            return None
