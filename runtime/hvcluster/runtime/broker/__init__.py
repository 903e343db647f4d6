"""The embedded MQTT 3.1.1 broker: what a lab uses as a heartbeat network where Mosquitto is not installed.

Law: `codec` turns bytes into packets and back, `core` decides who gets what, `server` owns sockets and
timers. The first two do no I/O. Why it exists at all: docs/decisions/0002-embedded-broker.md.
"""
