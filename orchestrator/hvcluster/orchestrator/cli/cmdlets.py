"""Cmdlets of the product's FailoverClusters module: which of them are commands of `hvc`, and why the others are not.

Law: data. How a line is read is in `spoken`; nothing here is called but by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Cmdlet:
    """A cmdlet as a command line of ours.

    `words` begin it. `positional` are the parameters that need no name, in their order. `parameters` gives each one
    what it becomes: an option of ours, `ARGUMENT`, `IGNORED`, or a word with `{}` for the value; those in `switches`
    take no value. An option that our command does not have is answered as not emulated.
    """

    words: tuple[str, ...]
    positional: tuple[str, ...] = ("Name",)
    parameters: dict[str, str] = field(default_factory=dict)
    switches: frozenset[str] = frozenset()
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    """What a parameter's values are called here, where they are called something else."""


ARGUMENT: Final = "(argument)"
"""The value itself is what our command takes."""
IGNORED: Final = "(ignored)"
"""It asks for what is so anyway."""
_NAME: Final = {"Name": ARGUMENT}

_RULES: Final = {
    "RuleType": {
        "samenode": "same-node",
        "differentnode": "different-node",
        "samefaultdomain": "same-fault-domain",
        "differentfaultdomain": "different-fault-domain",
    }
}

CMDLETS: Final[dict[str, Cmdlet]] = {
    "Get-Cluster": Cmdlet(("get", "cluster"), parameters=_NAME),
    "Get-ClusterNode": Cmdlet(("get", "node"), parameters=_NAME),
    "Get-ClusterGroup": Cmdlet(("get", "group"), parameters=_NAME),
    "Get-ClusterResource": Cmdlet(("get", "resource"), parameters=_NAME),
    "Get-ClusterNetwork": Cmdlet(("get", "network"), parameters=_NAME),
    "Get-ClusterNetworkInterface": Cmdlet(("get", "networkinterface"), parameters=_NAME),
    "Get-ClusterFaultDomain": Cmdlet(("get", "faultdomain"), parameters=_NAME),
    "Get-ClusterAffinityRule": Cmdlet(("get", "affinityrule"), parameters=_NAME),
    "Get-ClusterGroupSet": Cmdlet(("get", "groupset"), parameters=_NAME),
    "Get-ClusterResourceDependency": Cmdlet(
        ("get", "resourcedependency"), ("Resource",), {"Resource": ARGUMENT}
    ),
    "Start-ClusterResource": Cmdlet(("online",), parameters={"Name": ARGUMENT, "Wait": "--wait"}),
    "Stop-ClusterResource": Cmdlet(("offline",), parameters={"Name": ARGUMENT, "Wait": "--wait"}),
    "Test-ClusterResourceFailure": Cmdlet(("fail",), parameters=_NAME),
    "Move-ClusterSharedVolume": Cmdlet(
        ("move-csv",), ("Name", "Node"), {"Name": ARGUMENT, "Node": "--to", "Wait": "--wait"}
    ),
    "Get-ClusterSharedVolumeState": Cmdlet(("get", "csv"), parameters={"Name": ARGUMENT}),
    "Get-ClusterQuorum": Cmdlet(("get", "quorum"), ()),
    "Get-ClusterLog": Cmdlet(
        ("get", "log"),
        ("Node",),
        {
            "Node": "--node",
            "Destination": "--destination",
            "TimeSpan": "--time-span",
            "UseLocalTime": "--use-local-time",
        },
        frozenset({"UseLocalTime"}),
    ),
    "Move-ClusterGroup": Cmdlet(
        ("move",), ("Name", "Node"), {"Name": ARGUMENT, "Node": "--to", "Wait": "--wait", "Cancel": "--cancel"},
        frozenset({"Cancel"}),
    ),
    "Move-ClusterVirtualMachineRole": Cmdlet(
        ("move",),
        ("Name", "Node"),
        {"Name": ARGUMENT, "Node": "--to", "MigrationType": "--type", "Cancel": "--cancel"},
        frozenset({"Cancel"}),
        {"MigrationType": {"live": "live", "quick": "quick", "shutdown": "shutdown"}},
    ),
    "Start-ClusterGroup": Cmdlet(("online",), parameters={"Name": ARGUMENT, "Wait": "--wait"}),
    "Stop-ClusterGroup": Cmdlet(("offline",), parameters={"Name": ARGUMENT, "Wait": "--wait"}),
    "Start-ClusterNode": Cmdlet(
        ("start",),
        parameters={
            "Name": ARGUMENT,
            "ForceQuorum": "--force-quorum",
            "FixQuorum": "--force-quorum",
            "FQ": "--force-quorum",
            "PreventQuorum": "--prevent-quorum",
            "PQ": "--prevent-quorum",
            "IgnorePersistentState": "--ignore-persistent-state",
            "IPS": "--ignore-persistent-state",
            "ClearQuarantine": "--clear-quarantine",
            "CQ": "--clear-quarantine",
            "Wait": "--wait",
        },
        switches=frozenset(
            {
                "ForceQuorum", "FixQuorum", "FQ", "PreventQuorum", "PQ", "IgnorePersistentState", "IPS",
                "ClearQuarantine", "CQ",
            }
        ),
    ),
    "Stop-ClusterNode": Cmdlet(("stop",), parameters={"Name": ARGUMENT, "Wait": "--wait"}),
    "Suspend-ClusterNode": Cmdlet(
        ("pause",),
        ("Name", "TargetNode"),
        {
            "Name": ARGUMENT,
            "TargetNode": "--target",
            "Drain": "--drain",
            "ForceDrain": "--force",
            "Wait": "--wait",
        },
        frozenset({"Drain", "ForceDrain", "Wait"}),
    ),
    "Resume-ClusterNode": Cmdlet(
        ("resume",),
        ("Name", "Failback"),
        {"Name": ARGUMENT, "Failback": "--failback"},
        values={"Failback": {"nofailback": "none", "immediate": "immediate", "policy": "policy"}},
    ),
    "Set-ClusterOwnerNode": Cmdlet(
        ("set", "group"), ("Owners",), {"Group": ARGUMENT, "Owners": "preferred={}", "Resource": "--resource"}
    ),
    "New-ClusterAffinityRule": Cmdlet(
        ("set", "affinityrule"), ("Name", "RuleType"), {"Name": ARGUMENT, "RuleType": "--kind"}, values=_RULES
    ),
    "Set-ClusterAffinityRule": Cmdlet(
        ("set", "affinityrule"), ("Name", "RuleType"), {"Name": ARGUMENT, "RuleType": "--kind"}, values=_RULES
    ),
    "Add-ClusterGroupToAffinityRule": Cmdlet(
        ("set", "affinityrule"), ("Groups", "Name"), {"Groups": "--add", "Name": ARGUMENT}
    ),
    "Remove-ClusterGroupFromAffinityRule": Cmdlet(
        ("set", "affinityrule"), ("Groups", "Name"), {"Groups": "--drop", "Name": ARGUMENT}
    ),
    "Remove-ClusterAffinityRule": Cmdlet(("remove", "affinityrule"), parameters=_NAME),
    "Set-ClusterQuorum": Cmdlet(
        ("set", "quorum"),
        ("DiskWitness",),
        {
            "NodeMajority": "--node-majority",
            "NoWitness": "--node-majority",
            "DiskWitness": "--disk-witness",
            "NodeAndDiskMajority": "--disk-witness",
            "CloudWitness": "--cloud-witness",
        },
        frozenset({"NodeMajority", "NoWitness", "CloudWitness"}),
    ),
    "Add-ClusterNode": Cmdlet(
        ("add", "node"), parameters={"Name": ARGUMENT, "NoStorage": IGNORED}, switches=frozenset({"NoStorage"})
    ),
    "Remove-ClusterNode": Cmdlet(
        ("remove", "node"), parameters={"Name": ARGUMENT, "Force": "--force", "Wait": IGNORED},
        switches=frozenset({"Force"}),
    ),
    "Clear-ClusterNode": Cmdlet(
        ("clear", "node"), parameters={"Name": ARGUMENT, "Force": "--force", "Wait": IGNORED},
        switches=frozenset({"Force"}),
    ),
    "Get-WinEvent": Cmdlet(
        ("get", "events"),
        ("LogName",),
        {"LogName": "--channel", "ComputerName": "--node", "MaxEvents": "--last"},
        values={
            "LogName": {
                "system": "System",
                "microsoft-windows-failoverclustering/operational": "Operational",
            }
        },
    ),
    "Test-Cluster": Cmdlet(
        ("test", "cluster"),
        (),
        {"Include": "--include", "Ignore": "--ignore", "ReportName": "--report", "List": "--list"},
        frozenset({"List"}),
    ),
}  # fmt: skip
"""Cmdlets that are commands of ours."""

INSTEAD: Final[dict[str, str]] = {
    "New-Cluster": "a lab file makes a cluster: `hvc new lab`, then `hvc up`",
    "Start-Cluster": "a lab is started as a whole with `hvc up`",
    "Stop-Cluster": "a lab is ended as a whole with `hvc down`",
    "Remove-Cluster": "a lab is removed with `hvc down --purge`",
    "Get-ClusterOwnerNode": "`hvc get group -o wide` shows preferred and possible owners",
    "Get-ClusterParameter": "`hvc get cluster -o yaml` shows all properties",
    "Get-ClusterAvailableDisk": "`hvc status` shows every LUN and what it is for",
    "Clear-ClusterDiskReservation": "reservations are preempted by the next owner; `hvc journal` shows them",
}
"""What to do instead of some that are not emulated."""

REASONS: Final[tuple[tuple[str, str], ...]] = (
    ("SharedVolume", "volumes are made with the lab ([[volume]])"),
    ("StorageSpacesDirect", "all storage is the one array"),
    ("FaultDomain", "a node's site is that of the lab file, and there is no other level"),
    ("AffinityRule", "a rule is about VMs; there are no Cluster Shared Volumes"),
    ("GroupSet", "sets of groups are those of the lab file"),
    ("GroupToSet", "sets of groups are those of the lab file"),
    ("GroupFromSet", "sets of groups are those of the lab file"),
    (
        "VMMonitoredItem",
        "what is watched in a VM: `hvc set group D1 monitored_services=journal,spooler`",
    ),
    ("VMMonitoredState", "a restart of the VM resets it"),
    ("VirtualMachineConfiguration", "a VM's configuration is its lab file"),
    ("VirtualMachineRole", "the VMs of a cluster are those of its lab file"),
    ("Role", "VMs are the only roles"),
    ("Access", "there are no accounts"),
    ("Credential", "there are no accounts"),
    ("NameAccount", "there is no directory"),
    ("NameResource", "there is no network name"),
    ("IPResource", "VMs keep an address of the virtual switch"),
    ("Checkpoint", "a resource has no registry keys"),
    ("Workgroup", "nodes have no domain to be without"),
    ("FunctionalLevel", "a cluster has one profile from its creation on"),
    ("ExcludedAdapter", "a host's networks are its two buses"),
    ("Resource", "a group is always one disk and one VM"),
    ("Group", "the groups of a cluster are those of its lab file"),
    ("Disk", "the LUNs of a cluster are those of its lab file"),
    ("Parameter", "properties are those of the lab file; `hvc set group` changes a VM's policy"),
    ("Log", "the log is what nodes recorded, whatever its level"),
    ("DiagnosticInfo", "`hvc get log`, `hvc get events` and `hvc journal` show what there is"),
)
"""Why a cmdlet is not emulated: the first part of its name that is found here says it."""

_OTHERS: Final = """
Add-ClusterCheckpoint Add-ClusterDisk Add-ClusterFileServerRole Add-ClusterGenericApplicationRole
Add-ClusterGenericScriptRole Add-ClusterGenericServiceRole Add-ClusterGroup Add-ClusterGroupSetDependency
Add-ClusterGroupToSet Add-ClusteriSCSITargetServerRole
Add-ClusterPrintServerRole Add-ClusterResource Add-ClusterResourceDependency Add-ClusterResourceType
Add-ClusterScaleOutFileServerRole Add-ClusterServerRole Add-ClusterSharedVolume
Add-ClusterSharedVolumeToAffinityRule Add-ClusterVirtualMachineRole Add-ClusterVMMonitoredItem
Add-WorkgroupClusterNode Block-ClusterAccess Disable-ClusterStorageSpacesDirect
Enable-ClusterStorageSpacesDirect Get-ClusterAccess Get-ClusterAffinityRule Get-ClusterCheckpoint
Get-ClusterCredential Get-ClusterDiagnosticInfo Get-ClusterExcludedAdapter Get-ClusterFaultDomain
Get-ClusterFaultDomainXML Get-ClusterGroupSet Get-ClusterGroupSetDependency Get-ClusterResourceDependency
Get-ClusterResourceDependencyReport Get-ClusterResourceType Get-ClusterSharedVolume
Get-ClusterStorageSpacesDirect Get-ClusterVMMonitoredItem Grant-ClusterAccess Move-ClusterResource
New-ClusterFaultDomain New-ClusterGroupSet New-ClusterNameAccount
New-WorkgroupCluster Remove-ClusterAccess Remove-ClusterCheckpoint
Remove-ClusterExcludedAdapter Remove-ClusterFaultDomain Remove-ClusterGroup
Remove-ClusterGroupFromSet Remove-ClusterGroupSet Remove-ClusterGroupSetDependency
Remove-ClusterResource Remove-ClusterResourceDependency Remove-ClusterResourceType Remove-ClusterSharedVolume
Remove-ClusterSharedVolumeFromAffinityRule Remove-ClusterVMMonitoredItem Remove-WorkgroupCluster
Remove-WorkgroupClusterNode Repair-ClusterNameAccount Repair-ClusterSharedVolume
Repair-ClusterStorageSpacesDirect Reset-ClusterVMMonitoredState Resume-ClusterResource
Set-ClusterExcludedAdapter Set-ClusterFaultDomain Set-ClusterFaultDomainXML Set-ClusterGroupSet Set-ClusterLog
Set-ClusterOwnerNode Set-ClusterParameter Set-ClusterResourceDependency
Set-ClusterStorageSpacesDirect Set-ClusterStorageSpacesDirectDisk Suspend-ClusterResource Test-WorkgroupCluster
Update-ClusterFunctionalLevel Update-ClusterIPResource Update-ClusterNetworkNameResource
Update-ClusterVirtualMachineConfiguration Add-ClusterExcludedAdapter
"""
NOT_EMULATED: Final = frozenset({*_OTHERS.split(), *INSTEAD} - set(CMDLETS))
"""Cmdlets of all versions that are no command of ours."""


def reason(name: str) -> str:
    """Why a cmdlet of NOT_EMULATED is none of ours, or what to do instead."""
    return INSTEAD.get(name) or next((why for part, why in REASONS if part in name), "nothing here is like it")
