"""Perform the commands of the protocol: blocking, on an event loop, and with the client of a store."""
