"""PERSISTENT RESERVE OUT as bytes: its CDB and parameter list, and TransportIDs both ways (SPC-4 6.16, 7.6.4).

Law: translation. Initiator ports of iSCSI are named as SPC-4 does: the name, ",i,0x" and the ISID.
"""

from __future__ import annotations

import struct
from typing import Final

from hvcluster.model.scsi import (
    MAX_INITIATOR_NAME,
    Nexus,
    PersistentReserveOut,
    ReservationType,
    ReserveOut,
    Result,
)
from hvcluster.model.vocabulary import PathName
from hvcluster.san.core import sense

_HEAD: Final = struct.Struct(">QQ4xB3x")
_ISCSI: Final = 0x05
_WITH_ISID: Final = 0x40


def port_of(isid: bytes, group: int) -> PathName:
    """The name of an initiator port as this target portal group sees it: an I_T nexus without the initiator's name."""
    return PathName(f"{isid.hex()},{group}")


def port_parts(port: PathName) -> tuple[str, int] | None:
    """ISID in hexadecimal and target portal group of an iSCSI port; None for a port of another kind."""
    isid, comma, group = port.partition(",")
    if not comma or len(isid) != 12 or not group.isdecimal():
        return None
    return isid, int(group)


def transport_id(nexus: Nexus) -> bytes:
    """The TransportID of a nexus's initiator port: zero-padded to a multiple of four, at least 20 bytes."""
    parts = port_parts(nexus.port)
    text = nexus.initiator if parts is None else f"{nexus.initiator},i,0x{parts[0]}"
    name = text.encode() + b"\0"
    name = name.ljust(max(20, -(-len(name) // 4) * 4), b"\0")
    return struct.pack(">BxH", _ISCSI | (0 if parts is None else _WITH_ISID), len(name)) + name


def nexus_of(data: bytes, group: int) -> tuple[Nexus, int] | None:
    """A TransportID as the nexus through a target portal group, with its length; None where it makes no sense."""
    if len(data) < 4:
        return None
    kind, size = struct.unpack_from(">BxH", data)
    name = data[4 : 4 + size].split(b"\0", 1)[0]
    if kind != _ISCSI | _WITH_ISID or len(data) < 4 + size:
        return None
    try:
        initiator, separator, isid = name.decode("ascii").partition(",i,0x")
        port = port_of(bytes.fromhex(isid.rjust(12, "0")), group)
    except ValueError:
        return None
    if not separator or not 0 < len(initiator) <= MAX_INITIATOR_NAME or len(isid) > 12:
        return None
    return Nexus(initiator, port), 4 + size


def reserve_out(cdb: bytes, data: bytes | memoryview) -> PersistentReserveOut | Result:
    """The typed command. Types and scopes that do not exist are refused where they count."""
    action = ReserveOut(cdb[1] & 0x1F)
    length = struct.unpack_from(">I", cdb, 5)[0]
    if len(data) < 24 or length < 24 or length > len(data):
        return sense.PARAMETER_LIST_LENGTH
    key, service_key, flags = _HEAD.unpack_from(data)
    if action is ReserveOut.REGISTER_AND_MOVE:
        return _move(cdb, bytes(data), key, service_key)
    type = ReservationType.WRITE_EXCLUSIVE
    if action in _TYPED:
        try:
            type = ReservationType(cdb[2] & 0x0F)
        except ValueError:
            return sense.INVALID_FIELD
        if cdb[2] & 0xF0:  # only the scope of the whole unit exists
            return sense.INVALID_FIELD
    if flags & 0x08 or flags & 0x04:  # SPEC_I_PT, ALL_TG_PT: REPORT CAPABILITIES says that neither is supported
        return sense.INVALID_PARAMETER
    if length != 24:
        return sense.PARAMETER_LIST_LENGTH
    return PersistentReserveOut(action, key, service_key, type)


_TYPED: Final = (ReserveOut.RESERVE, ReserveOut.RELEASE, ReserveOut.PREEMPT, ReserveOut.PREEMPT_AND_ABORT)


def _move(cdb: bytes, data: bytes, key: int, service_key: int) -> PersistentReserveOut | Result:
    flags, group, size = struct.unpack_from(">xBHI", data, 16)
    found = nexus_of(data[24 : 24 + size], group)
    if found is None or size < 24 or size % 4 or found[1] != size:
        return sense.INVALID_PARAMETER
    return PersistentReserveOut(
        ReserveOut.REGISTER_AND_MOVE, key, service_key, move_to=found[0], unregister=bool(flags & 2)
    )
