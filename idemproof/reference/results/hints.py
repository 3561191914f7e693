"""Resolve annotations where they are used, with type variables and ``Self``."""

import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...spec.errors import IdempotencyModelTypeError
from ..annotations import resolve_annotation

Variables = Mapping[Any, Any]


def closed(  # noqa: PLR0911 - one for each kind of annotation
    hint: Any, variables: Variables, itself: Any = Any
) -> Any:
    """Return an annotation with its type variables and ``Self`` replaced by types.

    Parameters
    ----------
    hint
        A resolved annotation.
    variables
        The types of type variables. Others stand for their bound or constraints, or for any type.
    itself
        The type of ``Self``.
    """
    if is_self(hint):
        return itself
    if isinstance(hint, typing.TypeVar):
        return variables[hint] if hint in variables else _allowed(hint)
    if isinstance(hint, type) and (generic := getattr(hint, "__pydantic_generic_metadata__", None)):
        # A generic model with arguments is a class.
        given = tuple(variables.get(each, each) for each in generic["parameters"])
        return hint if given == generic["parameters"] else hint[given]  # type: ignore[index]
    origin = typing.get_origin(hint)
    if origin is None or origin is typing.Literal:
        return hint
    args = typing.get_args(hint)
    if origin is typing.Annotated:
        return closed(args[0], variables, itself)
    if any(isinstance(each, list) for each in args):  # of a Callable
        return hint
    new = tuple(closed(each, variables, itself) for each in args)
    if new == args:
        return hint
    if origin in (typing.Union, types.UnionType):
        return typing.Union[new]  # noqa: UP007 - of a tuple
    return origin[new if len(new) > 1 else new[0]]


def _allowed(variable: Any) -> Any:
    if variable.__constraints__:
        return typing.Union[variable.__constraints__]  # noqa: UP007 - of a tuple
    bound = variable.__bound__
    return Any if bound is None or isinstance(bound, str | typing.ForwardRef) else bound


def bare(hint: Any) -> Any:
    """Return a type without wrappers that only annotate, rename or restrict it."""
    while True:
        origin = typing.get_origin(hint)
        if origin in (typing.Annotated, typing.Final, typing.Required, typing.NotRequired):
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif is_alias(origin):
            given = dict(zip(origin.__type_params__, typing.get_args(hint), strict=False))
            hint = closed(origin.__value__, given)
        elif is_alias(hint):
            hint = hint.__value__
        elif isinstance(hint, typing.TypeVar):
            hint = _allowed(hint)
        elif hint is typing.LiteralString:
            return str
        elif hint is None:
            return types.NoneType
        else:
            return hint


def is_alias(hint: Any) -> bool:
    """Return whether ``hint`` was defined by a ``type`` statement."""
    return hasattr(hint, "__value__") and type(hint).__name__ == "TypeAliasType"


def is_self(hint: Any) -> bool:
    """Return whether ``hint`` is ``Self`` from the standard library or its backport."""
    return hint is typing.Self or (type(hint).__name__ == "_SpecialForm" and hint._name == "Self")


def members(hint: Any) -> list[Any]:
    """Return the members of a union, including nested unions; for another type, the type alone."""
    found = bare(hint)
    if typing.get_origin(found) not in (typing.Union, types.UnionType):
        return [found]
    flat = [each for arg in typing.get_args(found) for each in members(arg)]
    return [each for index, each in enumerate(flat) if each not in flat[:index]]


def variables_of(cls: Any, args: tuple[Any, ...]) -> dict[Any, dict[Any, Any]]:
    """Return the types of type variables, for a class and each of its bases.

    Parameters
    ----------
    cls, args
        A class, and the arguments for its type variables.
    """
    found: dict[Any, dict[Any, Any]] = {}

    def visit(base: Any, given: tuple[Any, ...]) -> None:
        found[base] = inner = dict(zip(getattr(base, "__parameters__", ()), given, strict=False))
        for generic in vars(base).get("__orig_bases__", base.__bases__):
            origin = typing.get_origin(generic) or generic
            if isinstance(origin, type) and origin is not object and origin not in found:
                visit(origin, tuple(closed(each, inner) for each in typing.get_args(generic)))

    visit(cls, args)
    return found


def field_hints(cls: Any, args: tuple[Any, ...]) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Yield the fields of a dataclass, each with a function that returns its resolved, closed annotation."""
    variables = variables_of(cls, args)
    itself = cls[args] if args else cls
    for field in dataclasses.fields(cls):
        given = variables.get(field_owner(cls, field), {})
        yield field, functools.partial(_closed_field_hint, cls, field, given, itself)


def _closed_field_hint(cls: Any, field: Any, variables: Variables, itself: Any) -> Any:
    return closed(field_hint(cls, field), variables, itself)


def field_owner(cls: Any, field: Any) -> Any:
    """Return the class that declares a dataclass field."""

    # Inherited fields are the same objects, so the farthest base that has this object declares it.
    def has_it(base: type) -> bool:
        return vars(base).get("__dataclass_fields__", {}).get(field.name) is field

    return next(filter(has_it, reversed(cls.__mro__)))


def field_hint(cls: Any, field: Any) -> Any:
    """Return the resolved annotation of a dataclass field.

    Raises
    ------
    IdempotencyModelTypeError
        It cannot be resolved.
    """
    owner = field_owner(cls, field)
    try:
        return resolve_annotation(field.type, owner, owner.__module__)
    except Exception as error:
        raise IdempotencyModelTypeError(
            f"The annotation {field.type!r} of field {field.name!r} of {owner.__qualname__} cannot be "
            f"resolved ({error}). Define or import what it names before the first call, and not for "
            "type checkers alone."
        ) from error


def hints_of(cls: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    """Return the annotations of a named tuple or typed dict, resolved and closed.

    Raises
    ------
    IdempotencyModelTypeError
        One of them cannot be resolved.
    """
    try:
        hints = typing.get_type_hints(cls)
    except Exception as error:
        raise IdempotencyModelTypeError(
            f"The annotations of {cls.__qualname__} cannot be resolved ({error})."
        ) from error
    given = variables_of(cls, args)[cls]
    return {name: closed(hint, given) for name, hint in hints.items()}


def _module_is_running(owner: Any) -> bool:
    module = sys.modules.get(owner.__module__)
    return module is not None and any(
        frame.f_globals is vars(module) and frame.f_code.co_qualname == "<module>" for frame in _frames()
    )


def _frames() -> Iterator[types.FrameType]:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _enclosing_functions(owner: Any) -> Iterator[types.FrameType]:
    """Yield the frames of the enclosing functions of a definition that are still running."""
    scopes = set()
    qualname = owner.__qualname__
    while ".<locals>." in qualname:
        qualname = qualname.rpartition(".<locals>.")[0]
        scopes.add(qualname)
    module = sys.modules.get(owner.__module__)
    for frame in _frames():
        if module is not None and frame.f_globals is vars(module) and frame.f_code.co_qualname in scopes:
            yield frame


def later(owner: Any, error: BaseException) -> bool:
    """Return whether the name that ``error`` misses may still be defined later, so it is no mistake yet."""
    cause = error if isinstance(error, NameError) else error.__cause__
    if not isinstance(cause, NameError):
        return False
    if _module_is_running(owner):
        return True
    return any(
        cause.name in frame.f_code.co_varnames + frame.f_code.co_cellvars
        for frame in _enclosing_functions(owner)
    )
