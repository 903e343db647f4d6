"""The lab file that `hvc new lab` writes: the scene everything here is about, and a comment for every choice.

Law: one text; a test reads it back, so that it can never fall behind the reader.
"""

from typing import Final

TEMPLATE: Final = """\
# A lab of hvcluster: start it with `hvc up {file}`, end it with `hvc down`.
#
# The scene: VM D1 lives in D1.vhd on LUN 2 of a SAN array and runs on HyperV-1. HyperV-2 and HyperV-3 are
# configured identically and see the same storage. When HyperV-1 dies, another node takes the LUN and D1 goes on,
# at the same address.

[cluster]
name = "{name}"           # 15 characters at most; labs of different names run side by side
profile = "ws2012r2"       # ws2008r2 ws2012 ws2012r2 ws2016 ws2019 ws2022 ws2025: semantics and defaults
timing = "lab"             # "windows": faithful; "lab": ten times faster, and a refused connection counts
# time_scale = 0.1         # multiplies every Windows timing, 0.01 to 10; 1.0 is faithful

# Any cluster property, by its Windows name in snake case with its unit.
[properties]
# same_subnet_delay_ms = 1000        # one heartbeat per bus
# same_subnet_threshold = 10         # this many missed: the route is down
# connection_loss_detection = true   # last will and refused probe together: down at once
# dynamic_quorum = true
# lower_quorum_priority_node_id = 0  # the node that loses its vote first in a tie

[[node]]
name = "HyperV-1"          # id = 1 and weight = 1 go without saying

[[node]]
name = "HyperV-2"

[[node]]
name = "HyperV-3"

[[lun]]
id = 1                     # the disk witness
size = "64 MiB"

[[lun]]
id = 2                     # holds D1.vhd
size = "64 MiB"

[witness]
lun = 1                    # leave [witness] out for Node Majority

[[vm]]
name = "D1"
lun = 2                    # one VM, one LUN: the reservation is per LUN
owner = "HyperV-1"         # where it starts the first time
# preferred = ["HyperV-1", "HyperV-2"]   # in this order
# possible = ["HyperV-1", "HyperV-2"]    # nowhere else; leave out for every node
boot_delay_ms = 2000       # how long its guest takes to boot; scaled by time_scale like every duration
# port = 8081              # its client port on the virtual switch; leave out for a free one

[buses]
kind = "auto"              # "mosquitto", "embedded", or whichever is installed
# ports = [1883, 1884]

[san]
# paths = 2                # ports of the array: every node has one path to each
# ports = [3260]

[network]
# bind = "127.0.0.1"       # everything stays on loopback unless told otherwise
"""


def render(name: str, file: str) -> str:
    """The commented lab file for a cluster of this name."""
    return TEMPLATE.format(name=name, file=file)
