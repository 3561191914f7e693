"""The protocol as an executable specification: pure, no clock, no I/O."""
