"""Machines that make things happen to a layer: whole calls, random histories, interleavings, crowds."""
