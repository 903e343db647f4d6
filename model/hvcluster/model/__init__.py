"""What all processes must agree on: names, numbers and pure functions. Standard library only, no I/O, no clock."""
