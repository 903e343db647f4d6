"""A study's answer as a picture: downtime by cause, and how long incidents last, for each topology.

Law: draws what the answer says. The library is an extra of the package and is loaded by name only when a picture is
asked for, so that nothing else needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .study import Answer
from .study_file import Study
from .study_tally import CAUSES
from .study_text import BIN_NAMES, CAUSE_NAMES

SUFFIXES: Final = (".svg", ".png")
COLOURS: Final = ("#0072b2", "#d55e00", "#777777", "#cc79a7", "#009e73", "#e69f00")
"""One for each cause; they stay apart for colour-blind readers."""

REMEDY: Final = "install the extra: pip install 'hvcluster[study]', or in this tree: make setup-dev"


class NoPlots(Exception):
    """The library that draws is not there; the text says the remedy."""


def library() -> Any:
    """The drawing library without a screen. Raises NoPlots."""
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise NoPlots(f"plots need matplotlib ({error}); {REMEDY}") from None


def draw(study: Study, answers: Sequence[Answer], file: Path) -> None:
    """Write the picture; the suffix of `file` says in which format. Raises NoPlots and OSError."""
    plot = library()
    # Text stays text, and no date or random name goes in: one answer, one file.
    with plot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "study", "font.size": 9}):
        rows = len(answers)
        figure = plot.figure(figsize=(11, 2.2 + 0.75 * rows), layout="constrained")
        grid = figure.add_gridspec(rows, 2, width_ratios=(3, 2))
        _downtime(figure.add_subplot(grid[:, 0]), answers)
        first = None
        for at, answer in enumerate(answers):
            first = _histogram(figure, grid[at, 1], answer, first, last=at == rows - 1)
        figure.suptitle(f"{study.why}\n{study.years:g} virtual years each, seed {study.seed}", fontsize=10)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, dpi=130)
        plot.close(figure)


def _downtime(axes: Any, answers: Sequence[Answer]) -> None:
    """Stacked bars: downtime a year by cause, with the interval of the whole."""
    names = [answer.topology.name for answer in answers]
    ends = [0.0] * len(answers)
    for cause, colour in zip(CAUSES, COLOURS, strict=True):
        widths = [answer.minutes_by_cause[cause] for answer in answers]
        axes.barh(names, widths, left=ends, color=colour, label=CAUSE_NAMES[cause], height=0.6)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    minutes = [answer.minutes_a_year for answer in answers]
    errors = [[max(0.0, m.mean - m.low) for m in minutes], [m.high - m.mean for m in minutes]]
    axes.errorbar([m.mean for m in minutes], names, xerr=errors, fmt="none", ecolor="black", capsize=3, linewidth=1)
    for m, name in zip(minutes, names, strict=True):
        axes.annotate(f"{m.mean:.0f}", (m.high, name), textcoords="offset points", xytext=(4, -3))
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_xlabel("downtime of a VM, minutes a year (bar: 95 % interval)")
    axes.legend(loc="lower right", title="begun by")


def _histogram(figure: Any, place: Any, answer: Answer, first: Any, *, last: bool) -> Any:
    """Incidents a year by duration; all topologies share the axes of the first."""
    axes = figure.add_subplot(place, sharex=first, sharey=first)
    heights = [sum(answer.histogram[cause][at] for cause in CAUSES) for at in range(len(BIN_NAMES))]
    axes.bar(BIN_NAMES, heights, color="#444444", width=0.7)
    axes.set_yscale("log")
    axes.text(0.99, 0.78, answer.topology.name, transform=axes.transAxes, fontsize=8, ha="right")
    axes.tick_params(axis="y", labelsize=7)
    axes.tick_params(axis="x", labelrotation=35, labelsize=8, labelbottom=last)
    if last:
        axes.set_xlabel("incidents a year and VM, by downtime per incident")
    return first or axes
