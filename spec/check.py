"""Checks the Promela models with spin: the protocol must hold, and each of its bad variants must not.

Law: which models, bounds and variants are checked and what each must come to is data (`RUNS`); the protocol itself is
in the .pml files. Needs spin and a C compiler, and nothing of this tree.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
HOLDS: Final = "holds"
UNFIT: Final = 2  # exit status when the tools are missing or the arguments are wrong
LIMIT_S: Final = 280
"""How long one search may take; the longest takes some twenty seconds."""
MEMORY_MB: Final = 3000


@dataclass(frozen=True)
class Run:
    """One search: a model under macros, and what it must come to: HOLDS, or the assertion that must break."""

    name: str
    model: str
    macros: tuple[str, ...]
    expected: str
    why: str


W2: Final = ("NODES=2", "WITNESS=1", "TERMS=3", "LOG=2")
N3: Final = ("NODES=3", "WITNESS=0", "TERMS=4", "LOG=2")
P1: Final = ("NODES=3", "PATHS=1", "GENERATIONS=4")
P2: Final = ("NODES=2", "PATHS=2", "GENERATIONS=4")
P3: Final = ("NODES=3", "PATHS=1", "GENERATIONS=3")
LEADER, COMMITTED, OWNER = "one_leader_a_term", "committed_entries_survive", "one_owner_a_generation"
WRITER, ALONE, REACHED = "one_writer", "one_owner", "not_reached"

# fmt: off
RUNS: Final = (
    Run("quorum-witness", "quorum", W2, HOLDS, "2 nodes and the disk witness, 3 terms, 2 generations"),
    Run("quorum-nodes", "quorum", N3, HOLDS, "3 nodes without a witness, 4 terms, 2 generations"),
    Run("takeover-nodes", "takeover", P1, HOLDS, "3 nodes with one path each, 4 generations"),
    Run("takeover-paths", "takeover", P2, HOLDS, "2 nodes with two paths each, 4 generations"),
    Run("any-holder", "takeover", (*P3, "PREEMPT_NAMES_WHOEVER_HOLDS"), HOLDS,
        "PREEMPT takes from whoever holds by then: steps 3 and 5 alone are enough to be safe"),
    Run("reach-witness", "quorum", (*W2, "REACH_WITNESS_DECIDES"), REACHED,
        "the search gets there: the witness decides the last term, with everything committed"),
    Run("reach-last-term", "quorum", (*N3, "REACH_LAST_TERM"), REACHED,
        "the search gets there: a leader of the last term, with everything committed"),
    Run("reach-refusal", "takeover", (*P1, "REACH_LATE_WRITE_REFUSED"), REACHED,
        "the search gets there: the last owner runs its VM, and the one before meets RESERVATION CONFLICT"),
    Run("vote-not-saved", "quorum", (*N3, "VOTE_NOT_SAVED"), LEADER, "a crash forgets the vote of the term"),
    Run("vote-not-saved-witness", "quorum", (*W2, "VOTE_NOT_SAVED"), LEADER, "the same with a witness"),
    Run("vote-without-log", "quorum", (*N3, "VOTE_WITHOUT_LOG_CHECK"), COMMITTED,
        "a node votes for a candidate whose log is behind"),
    Run("witness-without-log", "quorum", (*W2, "WITNESS_WITHOUT_LOG"), COMMITTED,
        "the witness's vote is cast without taking over its newer log"),
    Run("commit-old-terms", "quorum", ("NODES=3", "WITNESS=0", "TERMS=4", "LOG=1", "COMMIT_OLD_TERMS"), COMMITTED,
        "entries of older terms are committed by counting copies"),
    Run("act-before-commit", "quorum", (*N3, "ACT_BEFORE_COMMIT"), OWNER,
        "an owner acts on an assignment that is not committed"),
    Run("two-challengers", "quorum", (*W2, "CONFLICT_IS_GOOD"), LEADER,
        "a challenger whose PREEMPT was refused takes the witness for its own"),
    Run("read-before-held", "quorum", (*W2, "READ_BEFORE_HELD"), LEADER,
        "the witness is read before its reservation is held"),
    Run("witness-released", "quorum", (*W2, "WITNESS_RELEASED"), LEADER,
        "the witness is released when its holder no longer needs it"),
    Run("clear", "takeover", (*P1, "CLEAR_NAMES_NOBODY"), WRITER,
        "the LUN is taken by CLEAR and RESERVE, which name nobody"),
    Run("released-on-move", "takeover", (*P1, "RELEASED_ON_MOVE"), WRITER,
        "a planned move releases the reservation and unregisters"),
    Run("holder-unregisters", "takeover", (*P1, "HOLDER_UNREGISTERS"), WRITER,
        "a superseded node unregisters although it is the holder"),
    Run("no-look", "takeover", (*P1, "NO_LOOK_AT_GENERATIONS"), ALONE,
        "step 3 does not look for keys of newer generations"),
    Run("no-step-5", "takeover", (*P2, "NO_STEP_5"), WRITER, "other registrations stay, and nobody verifies"),
    Run("unknown-is-good", "takeover", (*P1, "UNKNOWN_IS_GOOD"), WRITER, "a PREEMPT without an answer counts as done"),
    Run("generation-twice", "takeover", (*P1, "GENERATION_RUN_TWICE"), ALONE,
        "a restarted node runs the same generation again"),
    Run("register-early", "takeover", (*P1, "REGISTERED_BEFORE_TERMINATED"), WRITER,
        "the new key is registered while the older VM still runs here"),
)
# fmt: on


@dataclass(frozen=True)
class Outcome:
    """What a search came to."""

    name: str
    expected: str
    result: str
    ok: bool
    states: int
    transitions: int
    depth: int
    memory_mb: float
    seconds: float


def missing_tools() -> list[str]:
    """What this machine lacks, each with its remedy."""
    lacks = []
    if shutil.which("spin") is None:
        lacks.append("spin is not installed; remedy: apt-get install spin (or https://spinroot.com)")
    if compiler() is None:
        lacks.append("no C compiler (cc, gcc or clang) is installed; remedy: apt-get install gcc libc6-dev")
    return lacks


def compiler() -> str | None:
    """The C compiler to use: $CC if set, else the first that is found."""
    wanted = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    return next((found for name in wanted if (found := shutil.which(name))), None)


def search(run: Run, *, shortest: bool = False, folder: Path) -> tuple[str, float]:
    """Let spin write the verifier in `folder`, compile it, run it; returns what it printed, and the seconds."""
    began = time.perf_counter()
    macros = [f"-D{macro}" for macro in run.macros]
    _do(["spin", "-a", *macros, str(FOLDER / f"{run.model}.pml")], folder)
    big = run.expected == HOLDS
    # All variables are global, so partial order reduction has nothing to reduce; without it and without masking of
    # constant bytes the same states are found a quarter sooner.
    options = ["-O2" if big else "-O0", "-w", "-DSAFETY", "-DNOFAIR", "-DNOREDUCE", "-DNOCOMP", f"-DMEMLIM={MEMORY_MB}"]
    if shortest:
        options.append("-DBFS")
    _do([compiler() or "cc", *options, "-o", "pan", "pan.c"], folder)
    pan = ["./pan", "-E", "-m20000", "-w24" if big else "-w20"]
    done = subprocess.run(pan, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.stdout + done.stderr, time.perf_counter() - began


def _do(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def judged(run: Run, printed: str, seconds: float) -> Outcome:
    """Read what the verifier printed. Anything but a complete search or a broken assertion is `incomplete`."""
    broken = re.search(r"assertion violated \(?(\w+)", printed)
    cut_off = re.search(r"max search depth too small|out of memory|Search not completed|pan: reached", printed)
    if broken:
        result = broken[1]
    elif cut_off or "errors: 0" not in printed:
        result = "incomplete"
    else:
        result = HOLDS
    return Outcome(
        run.name,
        run.expected,
        result,
        result == run.expected,
        int(_figure(printed, r"(\S+) states, stored")),
        int(_figure(printed, r"(\S+) transitions")),
        int(_figure(printed, r"depth reached (\d+)")),
        _figure(printed, r"(\S+)\s+memory usage \(Mbyte\)"),
        round(seconds, 1),
    )


def _figure(printed: str, pattern: str) -> float:
    found = re.search(pattern, printed)
    return float(found[1]) if found else 0.0


def check(runs: tuple[Run, ...], *, quiet: bool) -> list[Outcome]:
    """All searches, one after the other, with one line of a table for each."""
    outcomes = []
    if not quiet:
        print(f"{'search':24}{'states':>10}{'transitions':>13}{'depth':>7}{'MB':>6}{'s':>7}  result")
    for number, run in enumerate(runs, 1):
        if sys.stderr.isatty():
            print(f"\r{number} of {len(runs)}: {run.name} ...\033[K", end="\r", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="model-") as folder:
            outcome = judged(run, *search(run, folder=Path(folder)))
        outcomes.append(outcome)
        if not quiet:
            print(_row(run, outcome), flush=True)
    return outcomes


def _row(run: Run, outcome: Outcome) -> str:
    o = outcome
    verdict = "holds" if o.result == HOLDS else f"breaks {o.result}"
    if not o.ok:
        verdict += f"  NOT AS IT MUST BE: {o.expected} was expected ({run.why})"
    return f"{o.name:24}{o.states:10}{o.transitions:13}{o.depth:7}{o.memory_mb:6.0f}{o.seconds:7.1f}  {verdict}"


def show_trail(run: Run) -> int:
    """The shortest way to the broken assertion, step by step."""
    with tempfile.TemporaryDirectory(prefix="model-") as name:
        folder = Path(name)
        outcome = judged(run, *search(run, shortest=True, folder=folder))
        print(f"{run.name}: {run.why}\n{outcome.result}, {outcome.states} states")
        if not list(folder.glob("*.trail")):
            print("no counter-example: the search found nothing broken")
            return int(not outcome.ok)
        macros = [f"-D{macro}" for macro in run.macros]
        model = shutil.copy(FOLDER / f"{run.model}.pml", folder)
        for trail in folder.glob("*.trail"):
            command = ["spin", "-t", "-p", "-g", "-k", str(trail), *macros, str(model)]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
            print(done.stdout)
    return int(not outcome.ok)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Check the protocol's models exhaustively. The good ones must hold, the bad variants must not.",
        epilog="exit status: 0 all is as it must be, 1 something is not, 2 usage or missing tools. See docs/model.md.",
    )
    parser.add_argument("only", nargs="*", metavar="SEARCH", help="names of searches; without any: all")
    parser.add_argument("--list", action="store_true", help="list the searches and what each is for")
    parser.add_argument("--trail", metavar="SEARCH", help="print the shortest counter-example of one bad variant")
    parser.add_argument("--json", action="store_true", help="print nothing but the last line")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; the last line printed is JSON."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    known = {run.name: run for run in RUNS}
    wanted = [*asked.only, *([asked.trail] if asked.trail else [])]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        parser.error(f"no such search: {', '.join(unknown)}; --list shows them all")
    if asked.list:
        for run in RUNS:
            print(f"{run.name:24}{run.model:10}{run.expected:27}{run.why}")
        return 0
    lacks = missing_tools()
    if lacks:
        print("\n".join(f"check.py: {line}" for line in lacks), file=sys.stderr)
        return UNFIT
    if asked.trail:
        return show_trail(known[asked.trail])
    runs = tuple(run for run in RUNS if not asked.only or run.name in asked.only)
    began = time.perf_counter()
    try:
        outcomes = check(runs, quiet=asked.json)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"check.py: {error}", file=sys.stderr)
        return 1
    wrong = [outcome.name for outcome in outcomes if not outcome.ok]
    figures = {
        "searches": len(outcomes),
        "wrong": wrong,
        "states": sum(outcome.states for outcome in outcomes),
        "seconds": round(time.perf_counter() - began, 1),
        "runs": [asdict(outcome) for outcome in outcomes],
    }
    print(json.dumps(figures))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
