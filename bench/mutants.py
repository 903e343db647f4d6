"""The bench of mutants: deliberate faults in the protocol, one after the other; does the explorer find them?

Law: the hunt is the same for all mutants and for the code as it is, which must survive it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, named
from tests.mutants.hunt import LABS, Chunk, limited, look
from tests.mutants.patching import Mutant

CHUNK = 20
"""Seeds that a worker looks at before it answers."""
SAY_EVERY_S = 20.0
BEGIN, END = "<!-- table: written by make mutants -->", "<!-- end of table -->"

EPILOG = """\
examples:
  make mutants                                   all mutants, and the code as it is
  make mutants ARGS="--only half_is_a_quorum"    one of them (may be repeated)
  make mutants ARGS="--markdown docs/mutants.md" write the table of the document anew

Exit status 0: every mutant was found and the unmutated code survived; 1: one survived, or the code as it is did not;
2: usage.
"""


@dataclass(slots=True)
class Hunt:
    """The hunt for one mutant, or with None for whatever is wrong with the code as it is."""

    mutant: Mutant | None
    limit: int
    next: int = 0
    under_way: int = 0
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.mutant.name if self.mutant is not None else "(no mutant)"

    @property
    def catch(self) -> Chunk | None:
        """The chunk with the lowest seed that shows something wrong."""
        return min((chunk for chunk in self.chunks if chunk.what), key=lambda chunk: chunk.last, default=None)

    @property
    def wants(self) -> bool:
        """Whether there are more seeds to look at."""
        return self.catch is None and self.next < self.limit

    @property
    def over(self) -> bool:
        """Whether all is known: every seed below the one that was caught has been looked at."""
        return not self.wants and not self.under_way

    @property
    def seeds(self) -> int:
        """How many seeds it took, or were looked at in vain."""
        catch = self.catch
        return catch.last + 1 if catch else self.next

    @property
    def cpu_s(self) -> float:
        """What those seeds took."""
        return sum(chunk.cpu_s for chunk in self.chunks if chunk.first < self.seeds)

    def line(self) -> str:
        """The outcome in a line."""
        catch = self.catch
        what = catch.what if catch else "SURVIVED" if self.mutant is not None else "nothing is wrong"
        return f"{self.name}: {self.seeds} seeds, {self.cpu_s:.1f} s: {what}"


def main() -> int:
    """Hunt; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.mutants",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--limit", type=int, default=5000, metavar="SEEDS", help="most seeds for a mutant [5000]")
    parser.add_argument("--clean", type=int, default=200, metavar="SEEDS", help="seeds for the code as it is [200]")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes [2]")
    parser.add_argument("--only", action="append", metavar="NAME", help="this mutant alone; may be repeated")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table into this document")
    parser.add_argument("--list", action="store_true", help="name the mutants and what they do")
    asked = parser.parse_args()
    known = {mutant.name for mutant in MUTANTS}
    problems = [f"there is no mutant {name!r} (--list names them)" for name in asked.only or () if name not in known]
    if min(asked.limit, asked.workers) < 1 or asked.clean < 0:
        problems.append("--limit and --workers are at least 1, --clean at least 0")
    if asked.markdown and (not asked.markdown.is_file() or BEGIN not in asked.markdown.read_text(encoding="utf-8")):
        problems.append(f"{asked.markdown} is not a document with the line {BEGIN!r}")
    if problems:
        parser.error("; ".join(problems))
    if asked.list:
        print("\n".join(f"{mutant.name}: {mutant.does}" for mutant in MUTANTS))
        return 0
    mutants = [named(name) for name in asked.only] if asked.only else list(MUTANTS)
    hunts = [Hunt(mutant, asked.limit) for mutant in mutants]
    clean = Hunt(None, asked.clean)
    labs = "; ".join(lab.sentence() for lab in LABS)
    print(f"{len(hunts)} mutants, at most {asked.limit} seeds each, in turn over: {labs}")
    began = time.perf_counter()
    hunt_all([clean, *hunts], asked.workers)
    if asked.markdown:
        write_table(asked.markdown, hunts)
    return report(hunts, clean, time.perf_counter() - began)


def hunt_all(hunts: list[Hunt], workers: int) -> None:
    """Give the workers chunks of seeds until every hunt is over; a worker without a hunt of its own helps another."""
    with ProcessPoolExecutor(workers, initializer=limited) as pool:
        running: dict[Future[Chunk], Hunt] = {}
        said = time.monotonic()
        while running or any(hunt.wants for hunt in hunts):
            while len(running) < workers and (wanting := [hunt for hunt in hunts if hunt.wants]):
                hunt = min(wanting, key=lambda each: each.under_way)
                count = min(CHUNK, hunt.limit - hunt.next)
                name = hunt.mutant.name if hunt.mutant is not None else None
                running[pool.submit(look, name, hunt.next, count)] = hunt
                hunt.next += count
                hunt.under_way += 1
            for done in wait(running, timeout=SAY_EVERY_S, return_when=FIRST_COMPLETED).done:
                hunt = running.pop(done)
                hunt.under_way -= 1
                hunt.chunks.append(done.result())
                if hunt.over:
                    print(hunt.line(), flush=True)
            if time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                still = ", ".join(f"{hunt.name} ({hunt.next} seeds)" for hunt in hunts if hunt.under_way)
                print(f"... {sum(not hunt.over for hunt in hunts)} to go, now {still}", file=sys.stderr, flush=True)


def write_table(document: Path, hunts: list[Hunt]) -> None:
    """Put the outcome between the marks of a document."""
    rows = ["| mutant | the law it breaks | seeds | s | how it was seen |", "|---|---|---:|---:|---|"]
    for hunt in hunts:
        assert hunt.mutant is not None
        seen = hunt.catch.what if hunt.catch else "SURVIVED"
        plain = re.sub(r"^seed \d+(, [\d.]+ s)?: ", "", seen).replace("|", "\\|")
        short = plain if len(plain) <= 160 else plain[:157] + "..."
        about = f"`{hunt.mutant.name}`<br>{hunt.mutant.does}"
        rows.append(f"| {about} | {hunt.mutant.law} | {hunt.seeds} | {hunt.cpu_s:.1f} | {short} |")
    before, rest = document.read_text(encoding="utf-8").split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    document.write_text(before + BEGIN + "\n\n" + "\n".join(rows) + "\n\n" + END + after, encoding="utf-8")


def report(hunts: list[Hunt], clean: Hunt, wall_s: float) -> int:
    """Print what survived and the line of JSON; returns the exit status."""
    found = [hunt for hunt in hunts if hunt.catch is not None]
    survivors = [hunt.name for hunt in hunts if hunt.catch is None]
    for name in survivors:
        print(f"SURVIVED: {name}")
    if clean.catch is not None:
        print(f"the code as it is does not survive the hunt: {clean.catch.what}")
    seeds = [hunt.seeds for hunt in found] or [0]
    figures = {
        "mutants": len(hunts),
        "found": len(found),
        "survivors": survivors,
        "seeds_median": statistics.median(seeds),
        "seeds_most": max(seeds),
        "cpu_s": round(sum(hunt.cpu_s for hunt in [*hunts, clean]), 1),
        "wall_s": round(wall_s, 1),
        "clean_seeds": clean.seeds,
        "clean_broken": int(clean.catch is not None),
    }
    print(json.dumps(figures))
    return int(bool(survivors) or clean.catch is not None)


if __name__ == "__main__":
    sys.exit(main())
