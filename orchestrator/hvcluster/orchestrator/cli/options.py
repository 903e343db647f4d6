"""Which lab a command means, and how it is driven.

Law: options shared by all commands, and the choice they lead to; nothing is started or asked here.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.lab_reader import near

if TYPE_CHECKING:
    from hvcluster.orchestrator.driver import Driver
    from hvcluster.orchestrator.state import LabDir

F = TypeVar("F", bound=Callable[..., Any])

PROJECT: Final = "hvcluster"
"""The compose project that is meant when none is named."""
_COMMAND: Final = re.compile(
    "`(hvc (?:status|watch|get|why|test|log|journal|kill|start|freeze|thaw|stop|pause|resume|wipe|cut|heal|bus|san"
    "|move|online|offline|probe|down)[^`]*)`"
)
"""Commands in remedies that mean one lab."""


class _Positive(click.FloatRange):
    """A number above 0 that ends somewhere; NaN is below nothing, so the range alone lets it through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no length of time; write a number above 0", param, ctx)
        return number


SECONDS: Final = _Positive(min=0, min_open=True)
"""A length of time on a command line, in seconds or milliseconds."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the options of a command line said."""

    lab: str | None
    state: Path | None
    compose: bool
    project: str

    def home(self) -> Path:
        """The directory under which labs keep their state."""
        from hvcluster.orchestrator.state import state_home

        return self.state or state_home()

    def directory(self, stopped: bool = False) -> LabDir:
        """The directory of the lab that is meant; with `stopped`, also of one that does not run. Raises Failure."""
        from hvcluster.orchestrator.state import labs

        known = labs(self.home())
        running = [directory for directory in known if directory.runs]
        if self.lab is not None:
            for directory in known:
                if directory.name.lower() == self.lab.lower():
                    return directory
            names = [directory.name for directory in known]
            remedy = near(self.lab, names) or (f"there are: {', '.join(names)}" if names else "start one with `hvc up`")
            raise Failure(Exit.NOT_FOUND, f"there is no lab {self.lab!r}", remedy)
        meant = [directory for directory in running if _alive(directory)] or running or (known if stopped else [])
        if not meant:
            raise Failure(Exit.NOT_FOUND, "no lab is running", "start one with `hvc up`, or see one with `hvc demo`")
        if len(meant) > 1:
            names = [directory.name for directory in meant]
            state = "run" if running else "are stopped"
            raise Failure(Exit.USAGE, f"several labs {state}: {', '.join(names)}", "choose one with --lab NAME")
        return meant[0]

    def options(self) -> str:
        """What another command line needs to reach the same lab, with a space before it; usually nothing."""
        words = ["--compose"] if self.compose else []
        words += ["--project", self.project] if self.compose and self.project != PROJECT else []
        words += ["--lab", self.lab] if self.lab is not None else []
        words += ["--state", str(self.state)] if self.state is not None else []
        return f" {shlex.join(words)}" if words else ""

    def reaching(self, remedy: str) -> str:
        """A remedy whose commands reach the same lab."""
        return _COMMAND.sub(lambda match: f"`{match[1]}{self.options()}`", remedy)

    def driver(self) -> Driver:
        """The driver of the lab that is meant. Raises Failure."""
        if self.compose:
            from hvcluster.orchestrator.compose import Compose

            return Compose(self.project)
        inside = os.environ.get("HVC_INSIDE")
        if inside:
            from hvcluster.orchestrator.inside import Inside

            return Inside(Path(inside))
        from hvcluster.orchestrator.local import Local

        return Local(self.directory())


def _alive(directory: LabDir) -> bool:
    from hvcluster.model.codec import Malformed
    from hvcluster.orchestrator.state import Life, life

    try:
        runtime = directory.load()
    except Malformed:
        return True
    return runtime is not None and any(life(p, runtime.boot) is not Life.DEAD for p in runtime.processes)


def lab_options(command: F) -> F:
    """Give a command `--lab`, `--state`, `--compose` and `--project`, handed over as one `choice`."""

    def wrapper(*args: Any, lab: str | None, state: Path | None, compose: bool, project: str, **kwargs: Any) -> Any:
        choice = Choice(lab, state, compose, project)
        try:
            return command(*args, choice=choice, **kwargs)
        except Failure as error:
            raise Failure(error.status, error.text, choice.reaching(error.remedy)) from None

    wrapper.__name__ = command.__name__
    wrapper.__doc__ = command.__doc__
    wrapper.__click_params__ = list(getattr(command, "__click_params__", []))  # type: ignore[attr-defined]
    for option in (
        click.option("--project", default=PROJECT, envvar="HVC_PROJECT", help=f"Compose project; default {PROJECT}."),
        click.option("--compose", is_flag=True, envvar="HVC_COMPOSE", help="The lab is a compose project."),
        click.option(
            "--state", type=click.Path(path_type=Path), envvar="HVC_STATE", help="Where labs keep their state."
        ),
        click.option("-L", "--lab", metavar="NAME", envvar="HVC_LAB", help="Which lab, when several run."),
    ):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]
