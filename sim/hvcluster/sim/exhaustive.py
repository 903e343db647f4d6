"""Breadth-first exploration of the real cores: from one world, everything that may happen next, and next, and next.

Law: states and limits; what a step is, is `exhaustive_steps`' business, what one world is `exhaustive_state`'s, where
it starts `exhaustive_starts`', whether it is well the judge's.

A world cannot be copied at every moment, so a state is remembered as a copy of an older world and the choices made
since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from .exhaustive_copies import Copies
from .exhaustive_state import Digests, digests, fingerprint
from .exhaustive_steps import Choice, Faults, Fixed, apply, changes, in_words, left, options, perform, quiet, tidy
from .judge import Broken
from .world import World

FAR = 8
"""After how many choices a state is worth a copy of its own; making one costs as much as some forty events."""
LIVE = 600
"""How many waiting states keep their world as it is; the others make it again from an older copy."""

Path: TypeAlias = tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the search ends: virtual time, states, and choices in a row. 0: no limit."""

    until: int
    states: int = 0
    depth: int = 0


@dataclass(slots=True)
class Report:
    """What a search came to."""

    name: str
    states: int = 0
    transitions: int = 0
    depth: int = 0
    ends: int = 0
    """States at the end of the time: nothing more is due within it."""
    served: int = 0
    """Ends in which a newer owner serves the VM."""
    refused: int = 0
    """Ends in which a late write met RESERVATION CONFLICT."""
    cut_off: str = ""
    """At which limit; empty: complete."""
    broken: str = ""
    story: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.broken


@dataclass(slots=True)
class _State:
    """A state that waits to be opened: an older world, the choices since, and what may still go wrong."""

    copy: bytes
    path: Path
    faults: Faults
    number: int
    depth: int
    parts: Digests
    world: World | None = None
    """Its world itself, while there is room for it."""


class Search:
    """One search over one start."""

    def __init__(self, name: str, world: World, faults: Faults, limits: Limits) -> None:
        self._copies = Copies()
        world.random = Fixed()
        world.facts.clear()
        self._start = self._copies.of(world)
        self._faults = faults
        self._limits = limits
        self._generation = max((generation for generation, _ in world.clients.serving.values()), default=0)
        self._seen: dict[bytes, int] = {}
        self._came: list[tuple[int, Choice | None]] = []
        self._live = 0
        self.report = Report(name)

    def run(self, progress: Callable[[Report], None] = lambda _: None) -> Report:
        """Search to the end, to a limit, or to the first broken invariant."""
        report = self.report
        world = self._copies.made(self._start)
        tidy(world)
        parts = digests(world, {}, ())
        self._new(world, parts, self._faults, -1, None)
        layer = [_State(self._start, (), self._faults, 0, 0, parts)]
        while layer and not report.cut_off:
            if self._limits.depth and report.depth >= self._limits.depth:
                report.cut_off = f"depth {report.depth}"
                break
            following: list[_State] = []
            for state in layer:
                for child in self._open(state):
                    following.append(child)
                    report.depth = child.depth
                if report.broken:
                    return report
                if self._limits.states and report.states >= self._limits.states:
                    report.cut_off = f"{report.states} states"
                    break
            progress(report)
            layer = following
        return report

    def _new(self, world: World, parts: Digests, faults: Faults, parent: int, choice: Choice | None) -> int | None:
        """The number of a state that was not seen before."""
        digest = fingerprint(world, parts) + bytes((faults.crashes, faults.losses, faults.starts, faults.thaws))
        if digest in self._seen:
            return None
        number = self._seen[digest] = len(self._came)
        self._came.append((parent, choice))
        self.report.states += 1
        return number

    def _open(self, state: _State) -> Iterator[_State]:
        """Everything that may happen next; yields the states that are new."""
        world: World | None = self._world(state)
        assert world is not None
        todo = list(options(world, state.faults, self._limits.until))
        if not todo:
            self._ended(world)
        while todo and not self.report.broken:
            choice = todo.pop()
            if world is None:
                world = self._world(state)
            self.report.transitions += 1
            changed = changes(world, choice)
            try:
                crashes = apply(world, choice)
            except (AssertionError, Broken) as error:
                self._broke(state, choice, error)
                return
            faults = left(state.faults, choice)
            if state.faults.crashes and choice.what == "run" and not choice.node:
                todo += (replace(choice, node=node, effects=done) for node, done in crashes)
            parts = digests(world, state.parts, changed)
            number = self._new(world, parts, faults, state.number, choice)
            if number is not None:
                yield self._waiting(state, choice, world, faults, number, parts)
            world = None

    def _waiting(
        self, parent: _State, choice: Choice, world: World, faults: Faults, number: int, parts: Digests
    ) -> _State:
        copy, path = parent.copy, (*parent.path, choice)
        if len(path) >= FAR and quiet(world):
            copy, path = self._copies.of(world), ()
        state = _State(copy, path, faults, number, parent.depth + 1, parts)
        if self._live < LIVE:
            self._live += 1
            state.world = world
        return state

    def _world(self, state: _State) -> World:
        if state.world is not None:
            world, state.world = state.world, None
            self._live -= 1
            return world
        world = self._copies.made(state.copy)
        for choice in state.path:
            perform(world, choice)
        return world

    def _ended(self, world: World) -> None:
        report = self.report
        report.ends += 1
        report.served += any(generation > self._generation for generation, _ in world.clients.serving.values())
        report.refused += bool(world.judge.refused)

    def _broke(self, state: _State, choice: Choice, error: AssertionError) -> None:
        self.report.broken = str(error) or repr(error)
        path: list[Choice] = [choice]
        number = state.number
        while number > 0:
            number, earlier = self._came[number]
            assert earlier is not None, "only the start has no choice before it"
            path.append(earlier)
        self.report.story = self._told(path[::-1])

    def _told(self, path: list[Choice]) -> list[str]:
        """The choices in words, with the facts that followed from each."""
        world = self._copies.made(self._start)
        tidy(world)
        lines = []
        for choice in path:
            world.facts.clear()
            lines.append(f"{world.now / 1e6:10.6f}  {in_words(world, choice)}")
            broken = ""
            try:
                perform(world, choice)
            except (AssertionError, Broken) as error:
                broken = f"            BROKEN: {error}"
            lines += [f"                node {fact.node}: {fact.line()}" for fact in world.facts]
            lines += [broken] if broken else []
        return lines
