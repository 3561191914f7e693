"""Exhaustive searches: of the production engine, and of the specification with injected faults."""
