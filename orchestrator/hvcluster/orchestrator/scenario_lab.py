"""The lab in which a scenario runs on real processes or containers, and what neither can be given.

Law: one translation, from the cluster that a scenario file defines to a lab that can be started; nothing is started
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.faults import SIMULATED_ONLY, FaultWord
from hvcluster.model.scenario import Scenario
from hvcluster.model.vocabulary import BLOCK_BYTES, LunId

from .errors import Exit, Failure
from .lab import LAB_TIME_SCALE, Lab, LabLun, LabNode, LabVm

LUN_BYTES: Final = 16 << 20
_WHY_SIMULATED: Final[dict[FaultWord, str]] = {
    FaultWord.DRIFT: "all processes of one machine share its clock",
    FaultWord.HOLD_PATH: "a real connection that stalls also ends, and what it held is gone",
    FaultWord.CRASH_RESOURCE: "a real resource that fails is a script or an application of the lab's own",
    FaultWord.SLOW_OFF: "the VM of a real process is off when the process says so",
}
assert set(_WHY_SIMULATED) == set(SIMULATED_ONLY)


def lab_of(definition: ClusterDefinition, write_cache: bool = False) -> Lab:
    """The lab of a scenario, ten times faster than Windows."""
    witness = () if definition.witness_lun is None else (definition.witness_lun,)
    luns = sorted({*witness, *(g.lun for g in definition.groups), *(volume.lun for volume in definition.volumes)})
    return Lab(
        name=definition.name,
        nodes=tuple(
            LabNode(n.id, n.name, n.weight, n.site, n.memory_mb, n.processors, n.rack, n.chassis, n.outside)
            for n in definition.nodes
        ),
        luns=tuple(LabLun(LunId(lun), _lun_bytes(definition, LunId(lun))) for lun in luns),
        vms=tuple(
            LabVm(
                g.name,
                g.lun,
                g.preferred,
                g.possible,
                g.owner,
                g.boot_delay_ms,
                0,
                g.policy,
                g.memory_mb,
                g.resiliency_period_ms,
                g.active_mb,
                g.dirty_mb_per_s,
                g.extent,
                g.processor_load,
                g.network,
            )
            for g in definition.groups
            if not g.resources
        ),
        roles=tuple(g for g in definition.groups if g.resources),
        rules=definition.rules,
        sets=definition.sets,
        preferred_site=definition.preferred_site,
        witness_lun=definition.witness_lun,
        properties=replace(definition.properties, time_scale=LAB_TIME_SCALE),
        tag_witness=definition.tag_witness,
        san_ports=(0,) * len(definition.paths),
        write_cache=write_cache,
        volumes=definition.volumes,
    )


def _lun_bytes(definition: ClusterDefinition, lun: LunId) -> int:
    ends = [group.extent.end for group in definition.groups if group.extent is not None and group.lun == lun]
    return max([LUN_BYTES, *(end * BLOCK_BYTES for end in ends)])


def words(scenario: Scenario) -> frozenset[FaultWord]:
    """The faults of a story."""
    return frozenset(step.fault.word for step in scenario.steps if step.fault is not None)


def cuts_power(scenario: Scenario) -> bool:
    """Whether the array of this story must be able to lose what was not flushed."""
    return FaultWord.SAN_POWER_LOSS in words(scenario)


def require_real(*scenarios: Scenario) -> None:
    """Raises Failure USAGE with everything in these stories that only the simulator can do."""
    found = [line for scenario in scenarios for line in _simulated(scenario)]
    if found:
        text = "\n".join(["only the simulator can do this; nothing was started", *found])
        raise Failure(Exit.USAGE, text, "run it with `hvc sim run FILE`")


def _simulated(scenario: Scenario) -> Iterator[str]:
    if not scenario.definition.paths:
        yield f"{scenario.name}: [lab]: `paths` is 0; a real array always has a port"
    for number, step in enumerate(scenario.steps, 1):
        if step.fault is not None and step.fault.word in SIMULATED_ONLY:
            word = step.fault.word
            yield f"{scenario.name}: step {number}: `{word.name.lower()}`: {_WHY_SIMULATED[word]}"
