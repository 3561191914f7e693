"""JMESPath functions that open what an event carries packed: JSON text, base64, gzip."""

import base64
import gzip
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
        return base64.b64decode(text).decode()

    @signature({"types": ["string"]})
    def _func_powertools_base64_gzip(self, text: str) -> str:
        return gzip.decompress(base64.b64decode(text)).decode()


DEFAULT_OPTIONS = jmespath.Options(custom_functions=PowertoolsFunctions())
