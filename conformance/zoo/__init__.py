"""Layers that are wrong, each in one way, and layers that are right in their own ways."""
