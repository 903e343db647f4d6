"""`hvc sim study`: a study's file in, tables and pictures out.

Law: reads arguments and files, prints and writes. Exit status 0: answered; 1: the cores did not do what the votes say,
or workers died for good; 2: usage, or a file that cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hvcluster.model.complaints import NotToml, toml

from .study import SEEDS, Answer, MeasurePart, YearsPart, run
from .study_file import MAX_YEARS, Study, StudyError, read
from .study_measure import Disagreement
from .study_plot import SUFFIXES, NoPlots, draw, library
from .study_pool import WorkersLost
from .study_text import as_json, into, text

MAX_SEEDS = 1000  # seeds of one study's situations must not run into those of the next seed's
SHOWN = 5

DESCRIPTION = """\
How available is a VM on this cluster, or on that one? Components fail and are repaired over virtual years; whether the
cluster keeps quorum is decided by its own arithmetic of votes, and how long a VM is away is measured by hitting the
real cores in the simulator. Downtime by cause and per incident, availability with its confidence interval, by topology.
"""

EPILOG = """\
examples:
  hvc sim study studies/two-three-four.toml                    tables
  hvc sim study studies/two-three-four.toml --plot out.svg --plot out.png
  hvc sim study mine.toml --years 1000 --samples 3             a first look, in seconds
  hvc sim study mine.toml --json                               one document for programs

the smallest file:
  why = "Is one host enough?"
  years = 10000
  [rates]                        # mean time to failure in hours (inf: never), mean time of a repair
  host        = { mttf_h = 8766, mttr_h = 4 }
  array       = { mttf_h = 87660, mttr_h = 6 }
  path        = { mttf_h = 43830, mttr_h = 4 }
  bus         = { mttf_h = 43830, mttr_h = 4 }
  guest_os    = { mttf_h = 4383, mttr_min = 2 }
  application = { mttf_h = 2922, mttr_s = 30 }
  [[topology]]
  name = "1 host"
  hosts = 1
  witness = false

What is exact and what is not is in docs/studies.md. The same file and seed give the same answer on any machine,
with any number of workers.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hvc sim study",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="the study's file (TOML)")
    parser.add_argument("--years", type=float, metavar="N", help="virtual years instead of the file's")
    parser.add_argument("--seed", type=int, metavar="N", help="seed instead of the file's")
    parser.add_argument(
        "--samples", type=int, default=SEEDS, metavar="N", help=f"seeds for each measured situation [{SEEDS}]"
    )
    workers = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=workers, metavar="N", help=f"processes [{workers}]")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    parser.add_argument(
        "--plot",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a picture, .svg or .png; may be given twice",
    )
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="put the tables between the two study marks of a Markdown file"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; returns the exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    _check(parser, asked)
    try:
        if asked.plot:
            library()
        if asked.into is not None:
            into(asked.into.read_text(encoding="utf-8"), "")
        study = _study(asked.file)
    except StudyError as error:
        return _unusable(error)
    except (FileNotFoundError, IsADirectoryError) as error:
        what = "there is no file" if isinstance(error, FileNotFoundError) else "this is a directory:"
        return _fail(f"{what} {error.filename}; docs/studies.md describes a study's file, studies/ has one", 2)
    except (NoPlots, OSError, ValueError) as error:
        return _fail(f"{asked.into}: {error}" if type(error) is ValueError else str(error), 2)
    if asked.years is not None:
        study = replace(study, years=asked.years)
    if asked.seed is not None:
        study = replace(study, seed=asked.seed)
    try:
        answers = run(study, asked.samples, asked.workers, _progress, _lost)
        _hand_out(asked, study, answers)
    except (Disagreement, WorkersLost) as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(str(error), 2)
    return 0


def _study(file: Path) -> Study:
    """The study in a file. Raises StudyError, OSError."""
    try:
        text, _ = toml(file.read_bytes())
    except NotToml as error:
        raise StudyError(str(file), [str(error)]) from None
    return read(str(file), text.encode())


def _check(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    wrong: list[str] = []
    if asked.years is not None and not 1 <= asked.years <= MAX_YEARS:
        wrong.append(f"--years is {asked.years:g}; choose 1 to {MAX_YEARS:g}")
    if asked.seed is not None and asked.seed < 0:
        wrong.append("--seed must not be negative")
    if not 1 <= asked.samples <= MAX_SEEDS:
        wrong.append(f"--samples is {asked.samples}; choose 1 to {MAX_SEEDS}")
    if asked.workers < 1:
        wrong.append("--workers must be at least 1")
    wrong.extend(
        f"--plot {file}: unknown kind of picture; choose a name that ends in {' or '.join(SUFFIXES)}"
        for file in asked.plot
        if file.suffix not in SUFFIXES
    )
    if wrong:
        parser.error("; ".join(wrong))


def _hand_out(asked: argparse.Namespace, study: Study, answers: Sequence[Answer]) -> None:
    if asked.json:
        print(json.dumps(as_json(study, answers)))
    else:
        print(text(study, answers), end="")
    for file in asked.plot:
        draw(study, answers, file)
        print(f"wrote {file}", file=sys.stderr)
    if asked.into is not None:
        document = asked.into.read_text(encoding="utf-8")
        asked.into.write_text(into(document, text(study, answers, markdown=True, measured=False)), encoding="utf-8")
        print(f"wrote {asked.into}", file=sys.stderr)


def _progress(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)


def _lost(parts: Sequence[MeasurePart] | Sequence[YearsPart]) -> None:
    names = "; ".join(str(part) for part in parts[:SHOWN])
    more = f"; and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    print(f"hvc: a worker died; what was unfinished is run again: {names}{more}", file=sys.stderr)


def _unusable(error: StudyError) -> int:
    count = len(error.problems)
    print(f"hvc: {error.file} has {count} problem{'s' * (count > 1)}; nothing was run", file=sys.stderr)
    for problem in error.problems:
        print(f"  {error.file}:{problem}", file=sys.stderr)
    return 2


def _fail(sentence: str, status: int) -> int:
    print(f"hvc: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
