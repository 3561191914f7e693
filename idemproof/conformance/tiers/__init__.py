"""The checks of all tiers. Importing this package registers them."""

from . import capacity as capacity
from . import concurrency as concurrency
from . import contract as contract
from . import deadlines as deadlines
from . import durability as durability
from . import event_loops as event_loops
from . import exclusion as exclusion
from . import faults as faults
from . import fencing as fencing
from . import forks as forks
from . import histories as histories
from . import leftovers as leftovers
from . import round_trips as round_trips
from . import several_keys as several_keys
from . import signals as signals
from . import swaps as swaps
