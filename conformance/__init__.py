"""Proving a persistence layer: simulator and checks."""
