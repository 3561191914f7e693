"""The category of the library's warnings."""


class IdempotencyWarning(UserWarning):
    """A probable mistake: a missing or incomplete key, an unknown time limit, records that are not fenced."""
