"""Persistence layers and their contracts."""
