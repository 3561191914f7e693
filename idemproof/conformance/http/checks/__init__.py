"""The checks of an HTTP service. Importing this package registers them, in the order of the tiers."""

from . import keys, repeats, payloads, bodies, scope, errors, races, connections, expiry, crashes  # noqa: F401, I001 - in order
