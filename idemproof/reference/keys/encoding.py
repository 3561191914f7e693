"""The JSON text that keys and payload hashes are the hash of."""

import datetime as dt
from enum import Enum
from typing import Any

from ..encoding import ResultEncoder


class KeyEncoder(ResultEncoder):
    """What results can hold, and also enumerations, dates, times, UUIDs and paths."""

    def __init__(self) -> None:
        # Nothing has run yet, so a payload that contains itself may be refused for its depth, and those that
        # do not need not be watched. A result may not.
        super().__init__(check_circular=False)

    def default(self, o: Any) -> Any:
        """Return what stands for a value that JSON does not know.

        Raises
        ------
        TypeError
            Nothing does.
        """
        try:
            # First, so that an enumeration of decimals is hashed as a decimal.
            return super().default(o)
        except TypeError:
            if isinstance(o, Enum):
                return o.value
            if isinstance(o, dt.date | dt.time):
                return o.isoformat()
            from pathlib import PurePath  # noqa: PLC0415 - milliseconds that few payloads need
            from uuid import UUID  # noqa: PLC0415 - same

            if isinstance(o, UUID | PurePath):
                return str(o)
            raise


encoder = KeyEncoder()
