"""JMESPath functions that open what an event carries packed: JSON text, base64, gzip."""

import json
from typing import Any

import jmespath
from jmespath.functions import Functions, signature


class PowertoolsFunctions(Functions):
    """The built-in JMESPath functions, and three that unpack strings.

    ``powertools_json(text)`` parses JSON, ``powertools_base64(text)`` decodes base64 to text, and
    ``powertools_base64_gzip(text)`` decodes base64 and unzips it to text.
    """

    @signature({"types": ["string"]})
    def _func_powertools_json(self, text: str) -> Any:
        return json.loads(text)

    @signature({"types": ["string"]})
    def _func_powertools_base64(self, text: str) -> str:
        return _from_base64(text).decode()

    @signature({"types": ["string"]})
    def _func_powertools_base64_gzip(self, text: str) -> str:
        import gzip  # noqa: PLC0415 - loaded when used

        return gzip.decompress(_from_base64(text)).decode()


def _from_base64(text: str) -> bytes:
    import base64  # noqa: PLC0415 - loaded when used

    return base64.b64decode(text)


DEFAULT_OPTIONS = jmespath.Options(custom_functions=PowertoolsFunctions())
