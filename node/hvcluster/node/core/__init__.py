"""The cluster service's decisions. Law: no I/O, no clock, no asyncio; (now, event) in, ordered effects out."""
