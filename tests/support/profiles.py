"""Bounds of judgements that do not depend on how fast the machine is."""

import math

from idemproof.conformance.suite.profiles import PROFILES

UNHURRIED = PROFILES["quick"]._replace(race_seconds=60, total_seconds=math.inf)

FEW_RECORDS = UNHURRIED._replace(records=300)
"""For layers whose mistakes need no more."""

SMALL = FEW_RECORDS._replace(examples=12, schedules=20, stress=1)
"""For correct layers, which have no findings however much is tried. The nightly run tries more."""
