"""`hvc sim replay`: a scenario once more, and whether its trace is the one that lies beside the file.

Law: reads arguments and files, prints verdicts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from hvcluster.model.scenario import parse

from .scenarios import run
from .story import story
from .trace import HEAD, difference, digest, trace


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="hvc sim replay",
        description="Play a scenario and compare every decision with the trace FILE.trace, bit for bit.",
        epilog="Exit status 0: the same; 1: not the same, or there is no trace (write one with --write); 2: usage; "
        "3: no such file; 6: mistakes in it.",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="a scenario file")
    made.add_argument("--write", action="store_true", help="write the trace instead of comparing")
    made.add_argument("--story", action="store_true", help="print what happened: who, when and why")
    made.add_argument("--json", action="store_true", help="one line of JSON")
    return made


def trace_of(file: Path) -> Path:
    """Where the trace of a scenario file lies."""
    return file.with_suffix(file.suffix + ".trace")


def _compared(file: Path, lines: list[str]) -> str:
    """Where a history parts from the trace beside its file, or why that cannot be said; "" when nowhere."""
    beside = trace_of(file)
    remedy = f"write it with `hvc sim replay --write {file}`"
    if not beside.exists():
        return f"there is no {beside}; {remedy}"
    if beside.is_dir():
        return f"{beside} is a directory and no trace; move it away, and {remedy}"
    before = beside.read_text(errors="replace").splitlines()
    if before[:1] != [HEAD]:
        return f"{beside} is no trace: its first line is not {HEAD!r}; {remedy}"
    return difference(before, lines)


def main(arguments: list[str] | None = None) -> int:
    """Replay a file; returns the exit status."""
    asked = parser().parse_args(arguments)
    scenario = parse(str(asked.file), asked.file.read_bytes())
    outcome = run(scenario)
    lines = trace(outcome.facts, outcome.problem)
    beside = trace_of(asked.file)
    if asked.story:
        for line in story(outcome.performed, outcome.facts, outcome.problem or "every invariant held"):
            print(line)
    if asked.write:
        beside.write_text("\n".join(lines) + "\n")
        parted = ""
    else:
        parted = _compared(asked.file, lines)
    if asked.json:
        values = {"scenario": scenario.name, "same": not parted, "difference": parted, "trace": digest(lines)}
        print(json.dumps({**values, "problem": outcome.problem}))
    elif parted:
        print(f"{scenario.name}: {parted}", file=sys.stderr)
    else:
        done = "written to" if asked.write else "the same as in"
        print(f"{scenario.name}: {len(lines)} lines, {done} {beside}\n  {outcome.problem or 'every invariant held'}")
    return int(bool(parted))
