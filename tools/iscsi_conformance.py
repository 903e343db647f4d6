"""Runs libiscsi's conformance suite against an array of its own, and says what passed, what was skipped and why.

The tool counts a skipped test as passed; here its text is read, test by test. Last line: JSON. Exit status: 0 no test
failed; 1 some did; 2 iscsi-test-cu (Debian: libiscsi-bin) is not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hvcluster.runtime import parent, ready

TARGET = "iqn.2026-01.lab.hvcluster:array"
BLOCKS = 204_800
UNITS = {1: "thin, removable medium", 2: "fully provisioned, fixed medium"}
DEADLINE_S = 300


@dataclass
class Run:
    """What one run of the suite came to, by test: SUITE.TEST."""

    passed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def judged(text: str) -> Run:
    """Read what the tool printed. A test is skipped where it says so, whatever its last word is."""
    run = Run()
    suite = test = ""
    lines: list[str] = []

    def end() -> None:
        if not test:
            return
        said = "\n".join(lines)
        skip = re.search(r"\[SKIPPED\] *(.*)", said)
        if re.search(r"(?<!\[)FAILED\s*$", said, re.MULTILINE):
            run.failed[f"{suite}.{test}"] = " ".join(said.split())[:300]
        elif skip:
            run.skipped[f"{suite}.{test}"] = skip.group(1).strip()
        else:
            run.passed.append(f"{suite}.{test}")

    for line in text.splitlines():
        if line.startswith(("Suite: ", "Run Summary:")):
            end()
            suite, test = line.partition(": ")[2].strip(), ""
        elif found := re.match(r"  Test: (\S+) \.\.\.(.*)", line):
            end()
            test, lines = found.group(1), [found.group(2)]
        else:
            lines.append(line)
    return run


@asynccontextmanager
async def array(home: Path) -> AsyncIterator[tuple[int, int]]:
    """An array with a thin removable and a thick fixed LUN; the ports of its two portals."""
    units = [f"--lun={unit}:{BLOCKS}" for unit in UNITS] + [f"--unmask={unit}:*" for unit in UNITS]
    with ready.Announcement() as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hvcluster.san", f"--data={home / 'array'}", "--port=0"),
            *("--iscsi-port=0", "--iscsi-port=0", "--removable=1", "--thick=2", "--no-power-loss-safe"),
            *(*units, f"--log={home / 'array.log'}", *said.arguments(), *parent.arguments()),
            pass_fds=(said.fd,),
        )
        said.started()
        try:
            found = await said.wait(process, "array", 30, home / "array.log")
            yield found.ports["iscsi"], found.ports["iscsi2"]
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()


def suite(port: int, unit: int, second: int | None, tests: str) -> Run:
    """One run of the tool."""
    urls = [f"iscsi://127.0.0.1:{at}/{TARGET}/{unit}" for at in (port, second) if at is not None]
    done = subprocess.run(
        ["iscsi-test-cu", "-d", "-t", tests, *urls],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    return judged(done.stdout)


async def _all(tests: str, *, quick: bool) -> list[Run]:
    results: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="hvcluster-iscsi-") as home:
        async with array(Path(home)) as (one, two):
            for unit, what in UNITS.items():
                for second in () if quick and unit != 1 else (two,) if quick else (None, one, two):
                    portals = {None: "one path", one: "one portal twice", two: "two portals"}[second]
                    run = await asyncio.to_thread(suite, one, unit, second, tests)
                    results.append(run)
                    _tell(f"{what}; {portals}", run)
    return results


def _tell(what: str, run: Run) -> None:
    print(f"{what}: {len(run.passed)} pass, {len(run.skipped)} skip, {len(run.failed)} fail", flush=True)
    for name, why in (*run.failed.items(), *run.skipped.items()):
        print(f"  {'FAIL' if name in run.failed else 'skip'} {name}: {why}")


def main() -> int:
    """Run every combination of unit and number of portals that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="the thin unit with two portals alone")
    parser.add_argument("--tests", default="ALL", help="FAMILY[.SUITE[.TEST]] (%(default)s)")
    options = parser.parse_args()
    if shutil.which("iscsi-test-cu") is None:
        print("iscsi-test-cu is not installed; on Debian: apt-get install libiscsi-bin", file=sys.stderr)
        return 2
    results = asyncio.run(_all(options.tests, quick=options.quick))
    least = min(results, key=lambda run: (-len(run.failed), len(run.passed)))
    best = max(results, key=lambda run: len(run.passed))
    summary = {"pass": len(best.passed), "skip": len(best.skipped), "fail": len(least.failed), "runs": len(results)}
    print(json.dumps(summary))
    return 1 if least.failed else 0


if __name__ == "__main__":
    sys.exit(main())
