"""The schema of the lines between ``check --command`` and a command."""

import functools
import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import idemproof.spec

FOLDER = files(idemproof.spec) / "vectors"
SCHEMA, VECTORS_SCHEMA = (
    json.loads((FOLDER / name).read_text(encoding="utf-8")) for name in ("lines.schema.json", "schema.json")
)
REGISTRY: Any = Registry().with_resource("schema.json", Resource.from_contents(VECTORS_SCHEMA))


@functools.cache
def schema_of(sender: str) -> Draft202012Validator:
    """Return a validator of ``request`` or ``answer`` lines."""
    Draft202012Validator.check_schema(SCHEMA)
    return Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{sender}"}, registry=REGISTRY)
