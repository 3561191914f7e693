"""What all tests share."""

import os

from hypothesis import settings

# CI judges a change, so it draws the same examples every time; elsewhere each run draws new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "explore")
