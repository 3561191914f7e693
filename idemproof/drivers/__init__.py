"""Perform the commands of the protocol: blocking, on an event loop, and with a store's client."""
