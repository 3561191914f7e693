"""Bounds of judgements that do not depend on how fast the machine is."""

import math

from idemproof.conformance.suite.profiles import PROFILES

UNHURRIED = PROFILES["quick"]._replace(race_seconds=60, total_seconds=math.inf)

SMALL = UNHURRIED._replace(records=300, examples=12, schedules=20, stress=1)
"""It finds what most tests look for. On correct layers, which have no findings, nightly tests try more."""
