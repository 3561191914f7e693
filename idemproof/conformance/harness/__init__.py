"""Harnesses that drive a layer: end-to-end calls, random histories, interleavings and stress tests."""
