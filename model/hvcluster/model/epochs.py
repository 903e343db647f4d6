"""Force epochs: how a side whose quorum an administrator forced outranks every other, in terms and in generations.

Law: arithmetic only. An epoch is a round and the node that was forced in it, so that two sides which are forced
without knowing of each other never have the same one. It is the high part of a term (32 bits count the terms of one
epoch) and of a generation (18 bits count the assignments of a group in one epoch): whatever compares terms or
generations compares epochs first. Epoch 0 is that of a cluster that nobody ever forced.
"""

from __future__ import annotations

from typing import Final

from .vocabulary import Generation, NodeId

NODE_BITS: Final = 6  # MAX_NODES - 1
TERM_BITS: Final = 32
GENERATION_BITS: Final = 18  # a group that fails over every hour comes to 2^18 after thirty years
MAX_ROUND: Final = 255
"""What is left of the 32 bits of a generation; a cluster is forced a few times in its life, if ever."""


def epoch_of(term: int) -> int:
    """The epoch that a term belongs to."""
    return term >> TERM_BITS


def first_term(epoch: int) -> int:
    """The term in which the forced node itself leads."""
    return epoch << TERM_BITS | 1


def round_of(epoch: int) -> int:
    """How many forced starts this epoch rests on, as far as the forced node knew; 0 for none."""
    return epoch >> NODE_BITS


def forced_node(epoch: int) -> NodeId:
    """The node that was forced; only for an epoch above 0."""
    return NodeId((epoch & (1 << NODE_BITS) - 1) + 1)


def next_epoch(epoch: int, node: NodeId) -> int:
    """The epoch of a node that is forced while it knows of `epoch`: above it, whoever else is forced as well."""
    return round_of(epoch) + 1 << NODE_BITS | node - 1


def first_generation(epoch: int) -> Generation:
    """Generations of an epoch are above this one; those of every lower epoch are below it."""
    return Generation(epoch << GENERATION_BITS)


def epoch_text(epoch: int) -> str:
    """For people: "0", or round and node, as in "1.2"."""
    return f"{round_of(epoch)}.{forced_node(epoch)}" if epoch else "0"


def tag_text(term: int, index: int) -> str:
    """For people, in place of a Paxos tag: epoch:term:index, as in "1.2:3:276"."""
    return f"{term_tag(term)}:{index}"


def term_tag(term: int) -> str:
    """The first two parts of a tag: epoch:term."""
    return f"{epoch_text(epoch_of(term))}:{term & (1 << TERM_BITS) - 1}"


def term_text(term: int) -> str:
    """For people: a term as "3", or "3 of epoch 1.2"."""
    count, epoch = term & (1 << TERM_BITS) - 1, epoch_of(term)
    return f"{count} of epoch {epoch_text(epoch)}" if epoch else f"{count}"
