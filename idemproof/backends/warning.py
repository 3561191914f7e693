"""The category of the library's warnings."""


class IdempotencyWarning(UserWarning):
    """Something is probably not meant: no key, half a key, no known time limit, no fence."""
