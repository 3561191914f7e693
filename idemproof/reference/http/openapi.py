"""The header, the refusals and the marker of replays in the OpenAPI description of an API."""

import copy
from collections.abc import Iterator
from typing import Any

from .header import KeyForm
from .problems import PROBLEMS
from .profiles import Profile
from .protection import Protection

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
"""The fields of a path item that are operations."""

_COMPONENT = "IdempotencyProblem"

_FORMS: dict[KeyForm, str] = {
    "quoted": "A quoted string (RFC 8941).",
    "bare": "Visible ASCII characters, without quotes and commas.",
    "either": "A quoted string (RFC 8941), or visible ASCII characters without quotes and commas.",
}

_NEVER_ANSWERED = frozenset({"length-required"})
"""Refusals that only servers of WSGI need."""


def described(schema: dict[str, Any], protection: Protection) -> dict[str, Any]:
    """Return an OpenAPI description with all that the middleware adds to it.

    Parameters
    ----------
    schema
        The description of the application. It is not changed.
    protection
        The rules of the middleware.
    """
    found = copy.deepcopy(schema)
    settings = protection.settings
    profile = settings.profile
    changed = False
    for path, method, operation in _operations(found):
        route = protection.route_of(method.upper(), path.encode())
        rule = protection.rule_of(method.upper(), route)
        if rule == "ignored":
            continue
        changed = True
        _add_parameter(operation, profile, settings.key_form, required=rule == "required")
        _add_marker(operation, profile)
        _add_refusals(operation, protection, required=rule == "required")
    if changed:
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault(_COMPONENT, _component(profile))
    return found


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in schema.get("paths", {}).items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def _add_parameter(operation: dict[str, Any], profile: Profile, form: KeyForm, *, required: bool) -> None:
    parameters = operation.setdefault("parameters", [])
    own = [
        parameter
        for parameter in parameters
        if parameter.get("in") == "header" and parameter["name"].lower() == profile.header.lower()
    ]
    quotes = "" if form == "bare" else '"'
    example = "018f3c1e-7a4b-7c2d-9e5f-3a6b8c9d0e1f"
    text: dict[str, Any] = {
        "description": (
            "Identifies the operation. Send a new key for a new operation, and the same key in each retry. "
            + _FORMS[form]
        ),
        "schema": {"type": "string", "minLength": 1, "maxLength": profile.longest_key + 2 * len(quotes)},
        "example": f"{quotes}{example}{quotes}",
    }
    if profile.key_pattern is not None and form == "bare":
        text["schema"]["pattern"] = f"^(?:{profile.key_pattern.pattern})$"
    if own:
        own[0].pop("examples", None)  # which excludes "example"
        own[0].update(text, required=required)
    else:
        parameters.append({"name": profile.header, "in": "header", "required": required, **text})


def _add_marker(operation: dict[str, Any], profile: Profile) -> None:
    if profile.marker is None:
        return
    name, value = profile.marker
    marker = {
        "description": "Present if this is the stored answer of an earlier request.",
        "schema": {"type": "string", "enum": [value]},
    }
    for response in operation.get("responses", {}).values():
        if isinstance(response, dict) and "$ref" not in response:
            response.setdefault("headers", {}).setdefault(name, marker)


def _add_refusals(operation: dict[str, Any], protection: Protection, *, required: bool) -> None:
    settings = protection.settings
    errors = settings.profile.errors
    left_out = set(_NEVER_ANSWERED)
    if not required:
        left_out.add("key-missing")
    if settings.scope_kind == "everyone":
        left_out.add("no-scope")
    if settings.authorize is None:
        left_out.add("not-authorized")
    titles: dict[int, list[str]] = {}
    for name, problem in PROBLEMS.items():
        if name not in left_out:
            titles.setdefault(errors.statuses.get(name, problem.status), []).append(problem.title)
    responses = operation.setdefault("responses", {})
    for status, of_status in titles.items():
        response = responses.setdefault(str(status), {"description": ". ".join(of_status) + "."})
        if "$ref" in response:
            continue
        content = response.setdefault("content", {})
        reference = {"schema": {"$ref": f"#/components/schemas/{_COMPONENT}"}}
        known = content.setdefault(errors.media_type, reference)
        if known != reference:
            content[errors.media_type] = {"schema": {"anyOf": [known.get("schema", {}), reference["schema"]]}}
        if status == 409:  # noqa: PLR2004 - the only refusal that says when to retry
            retry = {"description": "When to retry, in seconds.", "schema": {"type": "integer"}}
            response.setdefault("headers", {}).setdefault("Retry-After", retry)


def _component(profile: Profile) -> dict[str, Any]:
    return {"title": _COMPONENT, "description": "A refusal of a request.", **_shape(profile.errors.template)}


def _shape(template: Any) -> dict[str, Any]:
    if isinstance(template, str):
        if template == "$status":
            return {"type": "integer"}
        return {"type": "string"} if template.startswith("$") else {"type": "string", "enum": [template]}
    properties = {name: _shape(value) for name, value in template.items()}
    return {"type": "object", "properties": properties, "required": list(properties)}
