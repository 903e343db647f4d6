"""A cloud witness on an account of a blob service: our own, and Azurite where it is installed (npm install azurite)."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.share import NO_FILE, TURNED_AWAY, ReadFile, ShareAnswer, ShareOutcome, WriteFile
from hvcluster.node.cuts import Cuts, Wire
from hvcluster.node.share import NAME, ShareWire
from hvcluster.runtime import blob_account, ports
from hvcluster.runtime.blob_account import BlobAccount
from tests.processes.test_witness_place import DEADLINE_S, ask

AZURITE = shutil.which("azurite-blob")
SERVICES = [
    "ours",
    pytest.param("azurite", marks=pytest.mark.skipif(AZURITE is None, reason="azurite-blob is not installed")),
]


@asynccontextmanager
async def service(kind: str, folder: Path) -> AsyncIterator[BlobAccount]:
    """A blob service on a free port, with one account."""
    (port,) = ports.free(1)
    key = base64.b64encode(os.urandom(32)).decode()
    text = f"AccountName=lab;AccountKey={key};BlobEndpoint=http://{ports.LOOPBACK}:{port}/lab"
    file = folder / "account"
    file.write_text(text)
    data = folder / kind
    if kind == "ours":
        argv = [sys.executable, "-m", "hvcluster.san.witness", "--kind", "cloud", "--account", str(file)]
        argv += ["--data", str(data), "--port", str(port), "--log", str(folder / "log")]
    else:
        assert AZURITE is not None
        argv = [AZURITE, "--blobHost", ports.LOOPBACK, "--blobPort", str(port), "--location", str(data)]
        argv += ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    environment = os.environ | {"AZURITE_ACCOUNTS": f"lab:{key}"}
    process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(DEADLINE_S), ClientSession() as session:
            while process.returncode is None:
                try:
                    await (await session.get(f"http://{ports.LOOPBACK}:{port}/")).release()
                    break
                except ClientError:
                    await asyncio.sleep(0.05)
        assert process.returncode is None, (folder / "log").read_text()
        yield blob_account.load(file)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def wire(account: BlobAccount, cluster: str = "c1") -> AsyncIterator[ShareWire]:
    """A node's wire to it."""
    share = ShareWire(TagWitnessKind.CLOUD, account, cluster, Cuts({Wire.WITNESS: (NAME,)}), DEADLINE_S)
    try:
        yield share
    finally:
        await share.close()


@pytest.mark.conforms("cloud-witness")
@pytest.mark.parametrize("kind", SERVICES)
async def test_a_blob_of_an_account_is_a_lock(kind: str, tmp_path: Path) -> None:
    """A new account gets its container; a blob is written only over the version that was read, by whoever is first."""
    async with service(kind, tmp_path) as account, wire(account) as one, wire(account) as two:
        assert await ask(one, ReadFile()) == ShareAnswer(ShareOutcome.DONE)
        said = await asyncio.gather(ask(one, WriteFile(b"a", NO_FILE)), ask(two, WriteFile(b"b", NO_FILE)))
        assert sorted(answer.outcome.name for answer in said) == ["CHANGED", "DONE"]
        first = next(answer for answer in said if answer.outcome is ShareOutcome.DONE)
        second = await ask(two, WriteFile(b"next", first.version))
        assert second.outcome is ShareOutcome.DONE
        late = await ask(one, WriteFile(b"late", first.version))
        assert late == ShareAnswer(ShareOutcome.CHANGED, b"next", second.version)
        async with wire(account, "c2") as other:
            assert await ask(other, ReadFile()) == ShareAnswer(ShareOutcome.DONE)
            none = await ask(other, WriteFile(b"x", first.version))
            assert none == ShareAnswer(ShareOutcome.CHANGED)


@pytest.mark.conforms("cloud-witness")
@pytest.mark.parametrize("kind", SERVICES)
async def test_a_key_that_is_no_more_is_told_from_silence(kind: str, tmp_path: Path) -> None:
    """1569: the service answers and refuses; nothing was read and nothing was written."""
    async with service(kind, tmp_path) as account, wire(account) as share:
        written = await ask(share, WriteFile(b"a", NO_FILE))
        stranger = BlobAccount(account.name, b"another key", account.endpoint)
        async with wire(stranger) as other:
            assert await ask(other, ReadFile()) == TURNED_AWAY
            assert await ask(other, WriteFile(b"b", written.version)) == TURNED_AWAY
        assert (await ask(share, ReadFile())).data == b"a"
