"""Serialize results, rebuild them, and check that nothing changes on the way."""
