"""The array as a process: killed, frozen, misused and lied to."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from hvcluster.model.scsi import (
    CONFLICT,
    GOOD,
    UNKNOWN,
    FullStatus,
    PersistentReserveIn,
    PersistentReserveOut,
    Read,
    ReserveIn,
    ReserveOut,
    Result,
    Status,
    SynchronizeCache,
    Write,
)
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId
from hvcluster.node.initiator import Direction
from hvcluster.runtime import scsi_wire
from hvcluster.v1 import san_pb2, san_pb2_grpc
from tests.processes.san_process import (
    BLOCKS,
    DEADLINE_S,
    LUN,
    PATH,
    TARGET,
    Host,
    SanProcess,
    array,
    host,
)


def block(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BLOCK_BYTES // 8)


def register(key: int) -> PersistentReserveOut:
    return PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=key)


async def registrations(asker: Host) -> FullStatus:
    result = await asker.ask(PersistentReserveIn(ReserveIn.READ_FULL_STATUS))
    assert isinstance(result.payload, FullStatus)
    return result.payload


@pytest.fixture
async def san(tmp_path: Path) -> AsyncIterator[SanProcess]:
    async with array(tmp_path, "--allow-chaos") as running:
        yield running


class TestKilling:
    """Issue: kill -9 of the array at any instant loses no acknowledged write and no reservation."""

    async def test_no_acknowledged_write_is_ever_lost(self, san: SanProcess) -> None:
        """Eight kills at random instants under a queue of writes; every acknowledged block is there after each."""
        dice = random.Random(7)
        written: dict[int, set[int]] = {}  # lba -> what it may hold
        async with host("a", san) as a:
            for round in range(8):
                await a.ready()
                asked: dict[asyncio.Future[Result], tuple[int, int]] = {}
                for index in range(64):
                    lba, number = index, 1 + round * 1_000 + index
                    asked[a.submit(Write(lba, block(number)))] = (lba, number)
                needed = dice.randrange(1, 64)
                while sum(future.done() for future in asked) < needed:
                    await asyncio.wait(
                        [future for future in asked if not future.done()], return_when=asyncio.FIRST_COMPLETED
                    )
                await san.end(signal.SIGKILL)
                await asyncio.wait(asked)
                for future, (lba, number) in asked.items():
                    if future.result() == GOOD:
                        written[lba] = {number}
                    else:
                        assert future.result() == UNKNOWN
                        written.setdefault(lba, {0}).add(number)
                await san.start()
                await a.ready()
                for lba, allowed in written.items():
                    payload = (await a.ask(Read(lba, 1))).payload
                    assert payload in {block(number) for number in allowed}, lba
                    assert isinstance(payload, bytes)
                    written[lba] = {int.from_bytes(payload[:8], "big")}

    async def test_no_acknowledged_reservation_is_ever_lost(self, san: SanProcess) -> None:
        """Eight kills under a stream of registrations: the last acknowledged key, or a later one, is registered."""
        dice = random.Random(8)
        async with host("a", san) as a:
            last = 0
            for _ in range(8):
                await a.ready()
                futures = [a.submit(register(key)) for key in range(last + 1, last + 33)]
                needed = dice.randrange(1, 32)
                while not futures[needed - 1].done():
                    await asyncio.wait((futures[needed - 1],))
                await san.end(signal.SIGKILL)
                await asyncio.wait(futures)
                acknowledged = sum(future.result() == GOOD for future in futures)
                assert acknowledged >= needed
                await san.start()
                await a.ready()
                status = await registrations(a)
                (row,) = status.registrations
                assert last + acknowledged <= row.key <= last + 32
                assert status.pr_generation == row.key, "one registration each"
                last = row.key

    async def test_a_reservation_still_protects_after_a_kill(self, san: SanProcess) -> None:
        """APTPL on a real process; the journal goes on where it stopped."""
        async with host("a", san) as a, host("b", san) as b:
            await a.ask(register(0xA))
            assert await a.ask(PersistentReserveOut(ReserveOut.RESERVE, 0xA)) == GOOD
            before = await san.journal()
            await san.end(signal.SIGKILL)
            await san.start()
            await b.ready()
            assert await b.ask(Write(0, block(1))) == CONFLICT
            assert (await san.journal())[: len(before)] == before

    async def test_a_volatile_write_cache_loses_what_was_not_flushed_and_only_that(self, tmp_path: Path) -> None:
        """--write-cache on: a kill is a power cut for writes without FUA."""
        async with array(tmp_path, "--write-cache", "on") as san, host("a", san) as a:
            await a.ask(Write(0, block(1), fua=False))
            await a.ask(SynchronizeCache())
            await a.ask(Write(1, block(2), fua=False))
            await a.ask(Write(2, block(3), fua=True))
            assert (await a.ask(Read(0, 3))).payload == block(1) + block(2) + block(3)
            await san.end(signal.SIGKILL)
            await san.start()
            await a.ready()
            assert (await a.ask(Read(0, 3))).payload == block(1) + block(0) + block(3)

    async def test_a_polite_stop_keeps_even_the_write_cache(self, tmp_path: Path) -> None:
        """SIGTERM: exit status 0, everything flushed."""
        async with array(tmp_path, "--write-cache", "on") as san, host("a", san) as a:
            await a.ask(Write(1, block(2), fua=False))
            assert await san.end(signal.SIGTERM) == 0
            await san.start()
            await a.ready()
            assert (await a.ask(Read(1, 1))).payload == block(2)


class TestSessions:
    """What makes UNKNOWN safe."""

    async def login(
        self, san: SanProcess, initiator: str = "a"
    ) -> grpc.aio.StreamStreamCall[san_pb2.PathRequest, san_pb2.PathResponse]:
        call = san_pb2_grpc.SanStub(san.channel()).Path(timeout=DEADLINE_S)
        login = san_pb2.PathLogin(protocol_version=1, target=TARGET, initiator=initiator, port="A")
        await call.write(san_pb2.PathRequest(login=login))
        response = await call.read()
        assert isinstance(response, san_pb2.PathResponse)
        assert response.login.accepted, response.login.reason
        return call

    async def test_a_second_login_ends_the_first_stream(self, san: SanProcess) -> None:
        """The older stream of the same nexus is told why: ABORTED."""
        old = await self.login(san)
        await self.login(san)
        async with asyncio.timeout(DEADLINE_S):
            assert await old.code() is grpc.StatusCode.ABORTED

    async def test_what_still_arrives_on_a_replaced_stream_is_not_executed(self, san: SanProcess) -> None:
        """Session reinstatement: neither executed nor answered."""
        old = await self.login(san)
        await self.login(san)
        late = san_pb2.PathRequest(commands=[scsi_wire.command_to_wire(1, LUN, Write(0, block(1)))])
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the stream may have ended by now
            await old.write(late)
        async with asyncio.timeout(DEADLINE_S):
            # INTERNAL is the client library's own word for a write that met the end of its stream.
            assert await old.code() in (grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL)
        async with host("b", san) as b:
            assert (await b.ask(Read(0, 1))).payload == block(0)

    async def test_a_frozen_arrays_backlog_is_not_executed_after_a_new_login(self, san: SanProcess) -> None:
        """Writes stuck in a frozen array are UNKNOWN; once the path is back, none of them can land later."""
        async with host("a", san, command_timeout_s=0.3) as a:
            san.signal(signal.SIGSTOP)
            stuck = [a.submit(Write(lba, block(7))) for lba in range(20)]
            await asyncio.wait(stuck)
            assert {future.result() for future in stuck} == {UNKNOWN}
            san.signal(signal.SIGCONT)
            await a.ready()
            seen = (await a.ask(Read(0, 20))).payload
            assert await a.ask(Write(30, block(8))) == GOOD
            assert (await a.ask(Read(0, 20))).payload == seen

    @pytest.mark.parametrize("direction", Direction)
    async def test_a_cut_path_answers_unknown_and_comes_back_when_healed(
        self, san: SanProcess, direction: Direction
    ) -> None:
        """Cut in the node, either way; a path that is down answers UNKNOWN at once."""
        async with host("a", san, command_timeout_s=0.3) as a:
            a.initiator.cut(PATH, direction)
            assert await a.ask(Write(0, block(1))) == UNKNOWN
            await a.path(False)
            assert await a.ask(Read(0, 1)) == UNKNOWN
            a.initiator.heal(PATH)
            await a.ready()
            expected = block(1) if direction is Direction.IN else block(0)
            assert (await a.ask(Read(0, 1))).payload == expected

    async def test_a_killed_array_makes_the_path_down_and_a_started_one_up(self, san: SanProcess) -> None:
        """on_path hears both, in order."""
        async with host("a", san) as a:
            await san.end(signal.SIGKILL)
            await a.path(False)
            await san.start()
            await a.path(True)
            assert a.changes == [True, False, True]


class TestFaults:
    """Chaos calls of the array."""

    @pytest.mark.parametrize("fault", ["drop_requests", "drop_answers"])
    async def test_answers_that_never_come_are_unknown(self, san: SanProcess, fault: str) -> None:
        """And of another initiator nothing is lost."""
        chaos = san.chaos()
        async with host("a", san, command_timeout_s=0.3) as a, host("b", san) as b:
            await chaos.SetFault(san_pb2.SanFault(initiator="a", **{fault: True}))  # type: ignore[arg-type]
            assert await a.ask(Write(0, block(1))) == UNKNOWN
            expected = block(1) if fault == "drop_answers" else block(0)
            assert (await b.ask(Read(0, 1))).payload == expected
            await chaos.ClearFaults(san_pb2.SanFaultsRequest())
            await a.ready()

    async def test_a_refused_initiator_loses_its_path_until_healed(self, san: SanProcess) -> None:
        """Path lost, from the array's side."""
        chaos = san.chaos()
        async with host("a", san) as a:
            await chaos.SetFault(san_pb2.SanFault(initiator="a", refuse=True))
            await a.path(False)
            assert len((await chaos.ListFaults(san_pb2.SanFaultsRequest())).faults) == 1
            await chaos.ClearFaults(san_pb2.SanFaultsRequest(initiator="a"))
            await a.path(True)

    async def test_slow_answers_are_late_but_right_and_in_order(self, san: SanProcess) -> None:
        """A delay per command."""
        async with host("a", san) as a:
            await san.chaos().SetFault(san_pb2.SanFault(delay_ms=100))
            loop = asyncio.get_running_loop()
            began = loop.time()
            order: list[int] = []
            futures = [a.submit(Write(0, block(number))) for number in range(5)]
            for number, future in enumerate(futures):
                future.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
            await asyncio.wait(futures)
            assert loop.time() - began >= 0.09
            assert order == sorted(order)

    async def test_commands_that_leave_late_keep_their_order_or_are_unknown(self, san: SanProcess) -> None:
        """chaos.proto, Quality: a node may be slow as well; its own timeout counts from the command, not the wire."""
        async with host("a", san, command_timeout_s=0.3) as a, host("b", san) as b:
            a.initiator.slow(0.02)
            order: list[int] = []
            futures = [a.submit(Write(0, block(number))) for number in range(5)]
            for number, future in enumerate(futures):
                future.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
            await asyncio.wait(futures)
            assert {future.result().status for future in futures} == {Status.GOOD}
            assert order == sorted(order)
            a.initiator.slow(DEADLINE_S)
            assert await a.ask(Write(0, block(9))) == UNKNOWN
            assert (await b.ask(Read(0, 1))).payload == block(4)
            a.initiator.slow(0.0)
            await a.ready()

    async def test_without_allow_chaos_there_is_no_chaos(self, tmp_path: Path) -> None:
        """Security and limits."""
        async with array(tmp_path) as san:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await san.chaos().SetFault(san_pb2.SanFault(initiator="a", refuse=True))
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


class TestTheJournal:
    """Issue, must hold 6."""

    async def test_proves_that_a_preempted_owner_got_no_write_accepted(self, san: SanProcess) -> None:
        """Every write of a after the preemption stands there, refused, without a registered key."""
        async with host("a", san) as a, host("b", san) as b:
            await a.ask(register(0xA))
            await a.ask(PersistentReserveOut(ReserveOut.RESERVE, 0xA))
            assert await a.ask(Write(0, block(1))) == GOOD
            await b.ask(register(0xB))
            assert await b.ask(PersistentReserveOut(ReserveOut.PREEMPT, 0xB, 0xA)) == GOOD
            assert await a.ask(Write(0, block(2))) == CONFLICT
            assert await b.ask(Write(0, block(3))) == GOOD
        rows = await san.journal()
        assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
        preempted = next(row.sequence for row in rows if row.command == "PERSISTENT RESERVE OUT PREEMPT")
        writes = [row for row in rows if row.command == "WRITE"]
        assert [(row.nexus.initiator, scsi_wire.status_from_wire(row.status), row.key) for row in writes] == [
            ("a", Status.GOOD, 0xA),
            ("a", Status.RESERVATION_CONFLICT, 0),
            ("b", Status.GOOD, 0xB),
        ]
        assert not writes[1].HasField("key")
        assert writes[0].sequence < preempted < writes[1].sequence

    async def test_can_be_followed(self, san: SanProcess) -> None:
        """The stream stays open and brings what happens later."""
        stream = san.admin().ReadJournal(san_pb2.SanJournalRequest(follow=True), timeout=DEADLINE_S)
        async with host("a", san) as a:
            await a.ask(Write(9, block(1)))
            async for chunk in stream:
                if any(row.command == "WRITE" and row.lba == 9 for row in chunk.rows):
                    break


class TestAdministration:
    """SanAdmin."""

    async def test_a_lun_lives_its_whole_life(self, san: SanProcess) -> None:
        """Create, unmask, write, grow, list, delete."""
        admin, lun = san.admin(), LunId(9)
        async with host("a", san) as a:
            assert (await admin.CreateLun(san_pb2.LunSizeRequest(lun=lun, blocks=8))).ok
            assert (await a.ask(Read(0, 1), lun)).sense is not None
            assert (await admin.UnmaskLun(san_pb2.LunMaskRequest(lun=lun, initiator="a"))).ok
            assert await a.ask(Write(0, block(1)), lun) == GOOD
            assert (await admin.ResizeLun(san_pb2.LunSizeRequest(lun=lun, blocks=16))).ok
            assert (await a.ask(Read(15, 1), lun)).status is Status.CHECK_CONDITION  # capacity has changed
            assert (await a.ask(Read(15, 1), lun)).payload == block(0)
            await a.ask(register(0xA), lun)
            row = next(row for row in (await admin.ListLuns(san_pb2.LunListRequest())).luns if row.lun == lun)
            assert (row.blocks, list(row.initiators), row.registrations[0].key) == (16, ["a"], 0xA)
            reply = await admin.DeleteLun(san_pb2.LunDeleteRequest(lun=lun))
            assert (reply.ok, reply.code) == (False, "REGISTERED")
            assert (await admin.DeleteLun(san_pb2.LunDeleteRequest(lun=lun, force=True))).ok
        assert sorted(path.name for path in san.data.glob("lun-*")) == ["lun-2.blocks"]

    async def test_shows_sessions_and_counters(self, san: SanProcess) -> None:
        """Who is logged in, from where; how many of each command."""
        admin = san.admin()
        async with host("a", san) as a:
            await a.ask(Write(0, block(1)))
            (session,) = (await admin.ListSessions(san_pb2.SanSessionsRequest())).sessions
            assert (session.nexus.initiator, session.nexus.port) == ("a", "A")
            assert session.peer.startswith("ipv4:127.0.0.1:")
            counters = (await admin.Counters(san_pb2.SanCountersRequest())).counters
            assert counters["WRITE GOOD"] == 1


class TestMisuse:
    """Whatever comes over the wire or the command line is refused in words."""

    @pytest.mark.parametrize(
        "command",
        [
            san_pb2.ScsiCommand(lun=2),
            san_pb2.ScsiCommand(lun=2, reserve_out=san_pb2.ScsiPersistentReserveOut(action=99, type=5)),
            san_pb2.ScsiCommand(lun=2, reserve_out=san_pb2.ScsiPersistentReserveOut(action=1, type=4)),
            san_pb2.ScsiCommand(lun=2, reserve_in=san_pb2.ScsiPersistentReserveIn(action=4)),
            san_pb2.ScsiCommand(lun=2, write=san_pb2.ScsiWrite(data=b"short")),
            san_pb2.ScsiCommand(lun=2, write=san_pb2.ScsiWrite(lba=2**64 - 1, data=bytes(512))),
            san_pb2.ScsiCommand(lun=2, read=san_pb2.ScsiRead(blocks=2**32 - 1)),
            san_pb2.ScsiCommand(lun=2**32 - 1, test_unit_ready=san_pb2.ScsiTestUnitReady()),
        ],
        ids=lambda command: str(command.WhichOneof("command")),
    )
    async def test_a_command_that_makes_no_sense_is_an_illegal_request(
        self, san: SanProcess, command: san_pb2.ScsiCommand
    ) -> None:
        """And the array goes on."""
        call = await TestSessions().login(san)
        ready = san_pb2.ScsiCommand(tag=1, lun=2, test_unit_ready=san_pb2.ScsiTestUnitReady())
        command.tag = 2
        await call.write(san_pb2.PathRequest(commands=[ready, command]))
        results: dict[int, san_pb2.ScsiResult] = {}
        while 2 not in results:
            response = await call.read()
            assert isinstance(response, san_pb2.PathResponse)
            results |= {result.tag: result for result in response.results}
        assert (results[2].status, results[2].sense.key) == (san_pb2.SCSI_STATUS_CHECK_CONDITION, 5)

    @pytest.mark.parametrize(
        "login",
        [
            san_pb2.PathLogin(protocol_version=2, target=TARGET, initiator="a", port="A"),
            san_pb2.PathLogin(protocol_version=1, target="other", initiator="a", port="A"),
            san_pb2.PathLogin(protocol_version=1, target=TARGET, initiator="", port="A"),
            san_pb2.PathLogin(protocol_version=1, target=TARGET, initiator="a" * 224, port="A"),
            san_pb2.PathLogin(protocol_version=1, target=TARGET, initiator="a\n", port="A"),
            None,
        ],
    )
    async def test_a_login_that_makes_no_sense_is_refused_with_its_reason(
        self, san: SanProcess, login: san_pb2.PathLogin | None
    ) -> None:
        """A foreign or newer initiator learns why."""
        call = san_pb2_grpc.SanStub(san.channel()).Path(timeout=DEADLINE_S)
        await call.write(san_pb2.PathRequest(login=login))
        response = await call.read()
        assert isinstance(response, san_pb2.PathResponse)
        assert not response.login.accepted
        assert response.login.reason

    async def test_a_second_array_on_a_directory_is_refused(self, san: SanProcess) -> None:
        """Exit status 2."""
        status, said = await SanProcess(san.data, 0).run_to_the_end()
        assert status == 2
        assert "another array runs on this directory" in said

    async def test_a_busy_port_is_named(self, san: SanProcess, tmp_path: Path) -> None:
        """Exit status 3, with who holds it."""
        status, said = await SanProcess(tmp_path / "other", san.port).run_to_the_end()
        assert status == 3
        assert f"127.0.0.1:{san.port} is busy" in said

    @pytest.mark.parametrize("damage", ["database", "blocks missing", "blocks short", "checksum"])
    async def test_a_damaged_directory_is_refused_by_name(self, tmp_path: Path, damage: str) -> None:
        """Never starts from half a file: exit status 2, the file, and the way back."""
        async with array(tmp_path) as san:
            await san.end(signal.SIGTERM)
            file = san.data / ("array.sqlite" if damage in ("database", "checksum") else f"lun-{LUN}.blocks")
            if damage == "database":
                file.write_bytes(b"garbage" * 1_000)
            elif damage == "blocks missing":
                file.unlink()
            elif damage == "blocks short":
                file.write_bytes(bytes(BLOCKS))
            else:
                with contextlib.closing(sqlite3.connect(file)) as database, database:
                    database.execute("UPDATE luns SET checksum = checksum + 1")
            status, said = await san.run_to_the_end()
            assert status == 2
            assert str(file) in said
            assert "Restore the directory" in said

    async def test_a_lun_that_cannot_be_made_as_asked_is_refused(self, tmp_path: Path) -> None:
        """Exit status 2, in words."""
        status, said = await SanProcess(tmp_path / "array", 0, ("--lun", "300:5")).run_to_the_end()
        assert status == 2
        assert "LUN numbers go from 0 to 255" in said
