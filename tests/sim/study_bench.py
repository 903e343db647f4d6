"""Studies for the tests: rates in one line, and clusters whose waiting times are given instead of measured."""

from __future__ import annotations

import math
from dataclasses import replace

from hvcluster.model.properties import defaults
from hvcluster.sim.study_file import Component, Law, Rate, Spread, Study, Topology
from hvcluster.sim.study_measure import Kind, Samples, situations
from hvcluster.sim.study_tally import Tally
from hvcluster.sim.study_years import Years

HOUR = 3600.0
NEVER = Rate(Spread(math.inf), Spread(1.0))


def rate(mttf_h: float, mttr_h: float, law: Law = Law.EXPONENTIAL) -> Rate:
    """A rate in hours."""
    return Rate(Spread(mttf_h * HOUR, law), Spread(mttr_h * HOUR, law))


def study(years: float, crews: int | None = None, **rates: Rate) -> Study:
    """A study in which everything that is not named never fails."""
    table = {component: rates.get(component.value, NEVER) for component in Component}
    return Study("bench", "a test asks", years, 1, table, (), crews)


def topology(hosts: int, witness: bool = False, dynamic: bool = True, vms: int = 1, boot_s: float = 1.0) -> Topology:
    """A cluster of today's profile, or of the one with static votes and nothing else changed."""
    properties = defaults("ws2012r2")
    if not dynamic:
        properties = replace(properties, dynamic_quorum=False, dynamic_witness=False)
    return Topology(f"{hosts} hosts", hosts, witness, properties, vms=vms, boot_s=boot_s)


def given(topology: Topology, wait_s: float) -> Samples:
    """Every incident costs the same; a host that returns disturbs nobody."""
    return {s: (0.0 if s.kind is Kind.RETURN else wait_s,) for s in situations(topology)}


def run(study: Study, topology: Topology, wait_s: float, seed: str = "1") -> Tally:
    """All the years in one go."""
    return Years(study, topology, given(topology, wait_s), seed, study.years).run()


def unavailability(tally: Tally) -> float:
    """The share of time that a VM was away."""
    return sum(tally.down_s.values()) / tally.vm_s
