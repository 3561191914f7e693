"""Results as a serializer rebuilds them from the text that a store keeps."""

from typing import Any

from idemproof.reference.encoding import decode, encode
from idemproof.serialization import DataclassSerializer


def replayed(serializer: Any, result: Any) -> Any:
    return serializer.from_dict(decode(encode(serializer.to_dict(result))))


def assert_replays(model: Any, *results: Any) -> None:
    serializer = DataclassSerializer(model)
    for result in results:
        back = replayed(serializer, result)
        assert back == result
        assert repr(back) == repr(result)  # repr distinguishes 1 from True, and a list from a tuple
