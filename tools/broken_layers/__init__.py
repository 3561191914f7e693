"""Broken layers, each with one fault, and correct layers, each with a different design.

Each is a few lines over a correct base class (``foundations.py``), and overrides one method.
:mod:`~broken_layers.matrix` shows which checks find them.
"""

from . import answers as answers
from . import capacity as capacity
from . import clocks as clocks
from . import comparisons as comparisons
from . import correct as correct
from . import correct_stores as correct_stores
from . import deadlines as deadlines
from . import forks as forks
from . import four_methods as four_methods
from . import keys_and_values as keys_and_values
from . import leftovers as leftovers
from . import over_redis as over_redis
from . import over_sqlite as over_sqlite
from . import races as races
from . import raises as raises
from . import several_keys as several_keys
from . import signals as signals
from . import stale as stale
