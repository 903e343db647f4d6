"""The simulator: the same cores under a clock, a network and disks of our own making.

Law: deterministic. A seed and a lab give one history, on any machine, whatever PYTHONHASHSEED says.
"""
