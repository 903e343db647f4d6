"""The place of a file share or cloud witness as a real process: what it answered is there after a kill."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGKILL

import pytest
from aiohttp import ClientSession

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.share import UNANSWERED, ReadFile, ShareAnswer, ShareOutcome, ShareRequest, WriteFile
from hvcluster.node.core.tag_record import TagRecord
from hvcluster.node.cuts import Cuts, Direction, Quality, Wire
from hvcluster.node.share import CONTAINER, NAME, ShareWire
from hvcluster.runtime import parent, ports, ready, witness_file
from hvcluster.runtime.witness_file import FILE

DEADLINE_S = 20.0
KINDS = list(TagWitnessKind)


@asynccontextmanager
async def place(kind: TagWitnessKind, data: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, serving."""
    argv = ["-m", "hvcluster.san.witness", "--kind", kind.value, "--data", str(data), "--port", str(port)]
    log = data.with_suffix(".log")
    with ready.Announcement() as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *argv, "--log", str(log), *said.arguments(), *parent.arguments(), pass_fds=(said.fd,)
        )
        said.started()
        try:
            await said.wait(process, "witness", DEADLINE_S, log)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def wire(kind: TagWitnessKind, port: int, cluster: str = "c1") -> AsyncIterator[tuple[ShareWire, Cuts]]:
    """A node's wire to it."""
    cuts = Cuts({Wire.WITNESS: (NAME,)})
    share = ShareWire(kind, (ports.LOOPBACK, port), cluster, cuts, DEADLINE_S)
    try:
        yield share, cuts
    finally:
        await share.close()


async def ask(share: ShareWire, request: ShareRequest) -> ShareAnswer:
    """One question; exactly one answer."""
    answers: list[ShareAnswer] = []
    answered = asyncio.Event()

    def answer(said: ShareAnswer) -> None:
        answers.append(said)
        answered.set()

    share.ask(request, answer)
    async with asyncio.timeout(2 * DEADLINE_S):
        await answered.wait()
    (said,) = answers
    return said


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_written_is_there_after_a_kill(kind: TagWitnessKind, tmp_path: Path) -> None:
    """A vote and a tag that were answered are durable."""
    (port,) = ports.free(1)
    data = tmp_path / "place"
    async with wire(kind, port) as (share, _):
        async with place(kind, data, port) as process:
            assert await ask(share, ReadFile()) == ShareAnswer(ShareOutcome.DONE)
            first = await ask(share, WriteFile(b"one", ""))
            second = await ask(share, WriteFile(b"two", first.version))
            assert (first.outcome, second.outcome) == (ShareOutcome.DONE, ShareOutcome.DONE)
            process.send_signal(SIGKILL)
            await process.wait()
            assert await ask(share, ReadFile()) == UNANSWERED
        async with place(kind, data, port):
            found = await ask(share, ReadFile())
            while found == UNANSWERED:  # the channel has not noticed yet that somebody listens again
                found = await ask(share, ReadFile())
            assert found == ShareAnswer(ShareOutcome.DONE, b"two", second.version)
            assert (await ask(share, WriteFile(b"late", first.version))) == ShareAnswer(
                ShareOutcome.CHANGED, b"two", second.version
            )


@pytest.mark.parametrize("kind", KINDS)
async def test_of_two_writes_over_one_version_one_is_carried_out(kind: TagWitnessKind, tmp_path: Path) -> None:
    """The condition is what makes a lock of a file, whoever asks first."""
    (port,) = ports.free(1)
    async with place(kind, tmp_path / "place", port), wire(kind, port) as (one, _), wire(kind, port) as (two, _):
        said = await asyncio.gather(ask(one, WriteFile(b"a", "")), ask(two, WriteFile(b"b", "")))
        assert sorted(answer.outcome.name for answer in said) == ["CHANGED", "DONE"]
        loser = next(answer for answer in said if answer.outcome is ShareOutcome.CHANGED)
        assert (await ask(one, ReadFile())).data == loser.data


@pytest.mark.parametrize("kind", KINDS)
async def test_each_cluster_has_a_file_of_its_own(kind: TagWitnessKind, tmp_path: Path) -> None:
    """wsfc.md 3.1: dedicated per cluster; a blob is named by the cluster's id."""
    (port,) = ports.free(1)
    async with place(kind, tmp_path / "place", port), wire(kind, port) as (one, _), wire(kind, port, "c2") as (two, _):
        await ask(one, WriteFile(b"of c1", ""))
        assert await ask(two, ReadFile()) == ShareAnswer(ShareOutcome.DONE)
    assert (tmp_path / "place" / "c1" / FILE).read_bytes().endswith(b"of c1")


@pytest.mark.parametrize(("direction", "written"), [(Direction.OUT, b""), (Direction.IN, b"once")])
async def test_a_question_on_a_cut_wire_has_the_answer_unknown(
    direction: Direction, written: bytes, tmp_path: Path
) -> None:
    """UNKNOWN: what was asked may have been carried out."""
    (port,) = ports.free(1)
    kind = TagWitnessKind.FILE_SHARE
    async with place(kind, tmp_path / "place", port), wire(kind, port) as (other, _):
        cuts = Cuts({Wire.WITNESS: (NAME,)})
        share = ShareWire(kind, (ports.LOOPBACK, port), "c1", cuts, 1.0)
        cuts.cut(Wire.WITNESS, "", direction)
        assert await ask(share, WriteFile(b"once", "")) == UNANSWERED
        assert (await ask(other, ReadFile())).data == written
        cuts.heal(None, "")
        cuts.degrade(Quality(witness_delay_us=2_000_000))
        assert await ask(share, ReadFile()) == UNANSWERED
        await share.close()


async def test_a_blob_speaks_http(tmp_path: Path) -> None:
    """GET, HEAD and PUT with a condition, as blob services have them; a PUT without one is refused."""
    (port,) = ports.free(1)
    url = f"http://{ports.LOOPBACK}:{port}/{CONTAINER}/c1"
    async with place(TagWitnessKind.CLOUD, tmp_path / "place", port), ClientSession() as session:
        assert (await session.get(url)).status == 404
        assert (await session.put(url, data=b"x")).status == 400
        made = await session.put(url, data=b"x", headers={"If-None-Match": "*"})
        assert made.status == 201
        assert (await session.put(url, data=b"y", headers={"If-None-Match": "*"})).status == 412
        head = await session.head(url)
        assert (head.status, head.headers["ETag"]) == (200, made.headers["ETag"])
        big = await session.put(url, data=bytes(70_000), headers={"If-Match": made.headers["ETag"]})
        assert big.status == 413
        assert (await session.put(f"{url}/../../evil", data=b"y", headers={"If-None-Match": "*"})).status >= 400


async def test_one_directory_has_one_process(tmp_path: Path) -> None:
    """Two processes that write one file would each know only their own versions."""
    (port,) = ports.free(1)
    async with place(TagWitnessKind.FILE_SHARE, tmp_path / "place", port):
        argv = [sys.executable, "-m", "hvcluster.san.witness", "--data", str(tmp_path / "place")]
        done = await asyncio.to_thread(
            subprocess.run, argv, capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
    assert done.returncode == 2
    assert "in use by another process" in done.stderr


@asynccontextmanager
async def mounted(directory: Path, cluster: str = "c1") -> AsyncIterator[ShareWire]:
    """A node's way to a share that it has mounted."""
    share = ShareWire(TagWitnessKind.FILE_SHARE, directory, cluster, Cuts({Wire.WITNESS: (NAME,)}), DEADLINE_S)
    try:
        yield share
    finally:
        await share.close()


@pytest.mark.conforms("usb-witness")
async def test_a_directory_on_a_share_is_a_lock_for_all_who_have_mounted_it(tmp_path: Path) -> None:
    """Of two writes over one version one is carried out; what was answered is in the file, and a late write is not."""
    witness_file.prepare(tmp_path, "c1")
    async with mounted(tmp_path) as one, mounted(tmp_path) as two:
        assert await ask(one, ReadFile()) == ShareAnswer(ShareOutcome.DONE)
        said = await asyncio.gather(*(ask(share, WriteFile(b"a", "")) for share in (one, two, one, two)))
        assert sorted(answer.outcome.name for answer in said) == ["CHANGED"] * 3 + ["DONE"]
        first = next(answer for answer in said if answer.outcome is ShareOutcome.DONE)
        second = await ask(two, WriteFile(b"next", first.version))
        assert await ask(one, WriteFile(b"late", first.version)) == ShareAnswer(
            ShareOutcome.CHANGED, b"next", second.version
        )
    assert (tmp_path / "c1" / FILE).read_bytes().endswith(b"next")


@pytest.mark.conforms("usb-witness")
async def test_a_share_that_is_not_mounted_is_no_witness(tmp_path: Path) -> None:
    """Where the share should be lies an empty directory: nobody makes a witness of his own there."""
    async with mounted(tmp_path) as share:
        assert await ask(share, WriteFile(b"mine", "")) == UNANSWERED
        assert await ask(share, ReadFile()) == UNANSWERED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.conforms("usb-witness")
async def test_a_lock_that_somebody_holds_is_waited_for_and_ends_with_its_holder(tmp_path: Path) -> None:
    """A machine that dies in the middle of a write leaves the old file and no lock."""
    witness_file.prepare(tmp_path, "c1")
    lock = tmp_path / "c1" / witness_file.LOCK
    hold = (
        f"import fcntl, sys; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        await holder.stdout.readline()
        with pytest.raises(witness_file.Busy):
            witness_file.ask(tmp_path, "c1", ReadFile(), 0.02)
        async with mounted(tmp_path) as share:
            asked = asyncio.create_task(ask(share, WriteFile(b"mine", "")))
            holder.send_signal(SIGKILL)
            assert (await asked).outcome is ShareOutcome.DONE
    finally:
        if holder.returncode is None:
            holder.kill()
        await holder.wait()


async def test_what_is_not_a_witness_file_is_left_alone(tmp_path: Path) -> None:
    """Somebody's file under that name is neither a witness nor overwritten."""
    witness_file.prepare(tmp_path, "c1")
    (tmp_path / "c1" / FILE).write_bytes(b"a letter")
    async with mounted(tmp_path) as share:
        found = await ask(share, ReadFile())
        assert TagRecord.decode(found.data) is None
        assert found.version
        assert (await ask(share, WriteFile(b"mine", found.version))).outcome is ShareOutcome.CHANGED
    assert (tmp_path / "c1" / FILE).read_bytes() == b"a letter"
