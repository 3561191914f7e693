"""Persistence layers and the contracts they keep."""
