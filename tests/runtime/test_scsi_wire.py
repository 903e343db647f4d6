"""SCSI on the wire: what goes in comes out, and nothing that comes in can raise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.scsi import (
    UNKNOWN,
    Capabilities,
    Capacity,
    Command,
    CompareAndWrite,
    FullStatus,
    Keys,
    Nexus,
    PersistentReserveIn,
    PersistentReserveOut,
    Read,
    ReadCapacity,
    Registration,
    Reservation,
    ReservationType,
    ReserveIn,
    ReserveOut,
    Result,
    Sense,
    SenseKey,
    Status,
    SynchronizeCache,
    Write,
)
from hvcluster.model.scsi import TestUnitReady as UnitReady
from hvcluster.model.vocabulary import LunId, PathName
from hvcluster.runtime import scsi_wire
from hvcluster.v1 import san_pb2

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
names = st.text("abc:.-_09", min_size=1, max_size=32)
nexuses = st.builds(Nexus, names, names.map(PathName))
types = st.sampled_from(ReservationType)
data = st.binary(max_size=2048)

commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(UnitReady),
    st.builds(ReadCapacity),
    st.builds(SynchronizeCache),
    st.builds(Read, u64, u32),
    st.builds(Write, u64, data, st.booleans()),
    st.builds(CompareAndWrite, u64, data, data),
    st.builds(PersistentReserveIn, st.sampled_from(ReserveIn)),
    st.builds(PersistentReserveOut, st.sampled_from(ReserveOut), u64, u64, types, st.none() | nexuses, st.booleans()),
)
registrations = st.builds(
    lambda nexus, key, type: Registration(nexus, key, type is not None, type), nexuses, u64, st.none() | types
)
payloads = st.one_of(
    st.none(),
    data,
    st.builds(Capacity, u64),
    st.builds(Keys, u32, st.lists(u64).map(tuple)),
    st.builds(Reservation, u32, u64, types),
    st.builds(lambda generation: Reservation(generation, None, None), u32),
    st.builds(FullStatus, u32, st.lists(registrations, max_size=5).map(tuple)),
    st.builds(Capabilities, st.booleans(), st.booleans(), st.lists(types).map(tuple)),
)
senses = st.builds(Sense, st.sampled_from(SenseKey), st.integers(0, 255), st.integers(0, 255))
results = st.one_of(
    st.builds(lambda payload: Result(Status.GOOD, None, payload), payloads),
    st.builds(lambda sense: Result(Status.CHECK_CONDITION, sense), senses),
    st.sampled_from([Result(Status.RESERVATION_CONFLICT), Result(Status.BUSY)]),
)


@given(commands)
def test_a_command_survives_the_wire(command: Command) -> None:
    """The array gets what the node sent, byte for byte."""
    wire = san_pb2.ScsiCommand.FromString(scsi_wire.command_to_wire(9, LunId(2), command).SerializeToString())
    assert (wire.tag, wire.lun) == (9, 2)
    assert scsi_wire.command_from_wire(wire) == command


@given(results)
def test_a_result_survives_the_wire(result: Result) -> None:
    """The node gets what the array answered."""
    wire = san_pb2.ScsiResult.FromString(scsi_wire.result_to_wire(9, result).SerializeToString())
    assert wire.tag == 9
    assert scsi_wire.result_from_wire(wire) == result


@given(
    st.builds(
        san_pb2.ScsiCommand,
        lun=u32,
        reserve_out=st.builds(
            san_pb2.ScsiPersistentReserveOut,
            action=u32,
            type=u32,
            move_to=st.builds(san_pb2.ScsiNexus, initiator=st.text(), port=st.text()),
        ),
    )
)
def test_a_command_of_nonsense_is_an_illegal_request(wire: san_pb2.ScsiCommand) -> None:
    """Wrong numbers and names become CHECK CONDITION, never an exception."""
    found = scsi_wire.command_from_wire(wire)
    if isinstance(found, Result):
        assert found.sense is not None
        assert found.sense.key is SenseKey.ILLEGAL_REQUEST


@given(
    st.builds(
        san_pb2.ScsiResult,
        status=st.integers(-(2**31), 2**31 - 1),
        sense=st.builds(san_pb2.ScsiSense, key=u32, asc=u32, ascq=u32),
    ),
    st.sampled_from(
        [
            san_pb2.ScsiResult(),
            san_pb2.ScsiResult(reservation=san_pb2.ScsiReservation(key=1, type=99)),
            san_pb2.ScsiResult(reservation=san_pb2.ScsiReservation(type=5)),
            san_pb2.ScsiResult(
                full_status=san_pb2.ScsiFullStatus(registrations=[san_pb2.ScsiRegistration(holder=True)])
            ),
        ]
    ),
)
def test_a_result_of_nonsense_is_unknown(wire: san_pb2.ScsiResult, payload: san_pb2.ScsiResult) -> None:
    """It may well have been executed."""
    wire.MergeFrom(payload)
    found = scsi_wire.result_from_wire(wire)
    if wire.status not in (1, 2, 3, 4) or (wire.status == 1 and wire.WhichOneof("payload")):
        assert found == UNKNOWN


@given(st.text(), st.text())
def test_a_nexus_has_names_that_can_be_shown(initiator: str, port: str) -> None:
    """Not empty, not endless, no control characters, no blanks around."""
    nexus = scsi_wire.nexus_from_wire(initiator, port)
    good = all(
        name and len(name) <= limit and name.isprintable() and name == name.strip()
        for name, limit in ((initiator, 223), (port, 32))
    )
    assert (nexus is not None) == bool(good)
