"""The first block of a VM's extent on a volume: which generation of the VM may use the others.

Law: pure bytes, and the steps that change them. A claim only ever rises; COMPARE AND WRITE makes it so, whoever else
tries at the same time. It decides who may start; the registrations on the volume decide whose writes are accepted.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from hvcluster.model.scsi import CompareAndWrite, Read, Status
from hvcluster.model.values import value
from hvcluster.model.vocabulary import BLOCK_BYTES, Generation, LunId, NodeId, PathName

from .journal import digest, is_blank
from .procedure import Steps, ask

MAGIC: Final = b"HVCCLAIM"
_BODY: Final = struct.Struct(">8s8sIH482s")  # magic, vm, generation, node, zeros
_MARK_BYTES: Final = BLOCK_BYTES - _BODY.size

assert _MARK_BYTES == 8


@value
class Claim:
    """Whose an extent is. `vm` is digest(name)."""

    vm: bytes
    generation: Generation
    node: NodeId

    def encode(self) -> bytes:
        """The block."""
        body = _BODY.pack(MAGIC, self.vm, self.generation, self.node, b"")
        return body + hashlib.blake2b(body, digest_size=_MARK_BYTES).digest()

    @staticmethod
    def decode(block: bytes) -> Claim | None:
        """The claim in a block, or None for anything that `encode` does not write."""
        if len(block) != BLOCK_BYTES or not block.startswith(MAGIC):
            return None
        if hashlib.blake2b(block[: _BODY.size], digest_size=_MARK_BYTES).digest() != block[_BODY.size :]:
            return None
        _, vm, generation, node, _ = _BODY.unpack_from(block)
        return Claim(vm, Generation(generation), NodeId(node))


def claim_for(vm: str, generation: Generation, node: NodeId) -> Claim:
    """The claim of one generation of a VM."""
    return Claim(digest(vm), generation, node)


def stake(path: PathName, lun: LunId, lba: int, claim: Claim) -> Steps[str | None]:
    """Write a claim over an older one. None when it could not be settled now; else "ours", "newer" or "foreign"."""
    (answer,) = yield from ask(path, lun, Read(lba, 1))
    if answer.status is not Status.GOOD or not isinstance(answer.payload, bytes) or len(answer.payload) != BLOCK_BYTES:
        return None
    before = Claim.decode(answer.payload)
    if before == claim:
        return "ours"
    if before is None and not is_blank(answer.payload):
        return "foreign"
    if before is not None and before.vm != claim.vm:
        return "foreign"
    if before is not None and before.generation >= claim.generation:
        return "newer"
    (answer,) = yield from ask(path, lun, CompareAndWrite(lba, answer.payload, claim.encode()))
    return "ours" if answer.status is Status.GOOD else None
