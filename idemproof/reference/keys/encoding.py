"""Encode data as the JSON text that is hashed for keys and payload hashes."""

import datetime as dt
from enum import Enum
from typing import Any

from ..encoding import ResultEncoder


class KeyEncoder(ResultEncoder):
    """Encodes all that results can hold, and also enumerations, dates, times, UUIDs and paths."""

    def __init__(self) -> None:
        # Nothing has run yet, so a payload that contains itself may be refused for its depth. This saves
        # the check in all other payloads. For a result, the body has already run.
        super().__init__(check_circular=False)

    def default(self, o: Any) -> Any:
        """Return JSON data for a value that JSON cannot represent.

        Raises
        ------
        TypeError
            There is no such data.
        """
        try:
            # First, so that an enumeration of decimals is hashed as a decimal.
            return super().default(o)
        except TypeError:
            if isinstance(o, Enum):
                return o.value
            if isinstance(o, dt.date | dt.time):
                return o.isoformat()
            from pathlib import PurePath  # noqa: PLC0415 - its import takes milliseconds, and few payloads need it
            from uuid import UUID  # noqa: PLC0415 - same

            if isinstance(o, UUID | PurePath):
                return str(o)
            raise


encoder = KeyEncoder()
