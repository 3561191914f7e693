"""Resolve annotations, including those that are strings."""

import contextlib
import sys
import types
import typing
from typing import Any


def resolve_annotation(annotation: Any, owner: Any, module: str) -> Any:
    """Return the type that an annotation names. Strings in it are evaluated in the scope of the definition.

    Parameters
    ----------
    annotation
        A type, or a string that names one.
    owner
        The function or class that has the annotation.
    module
        The name of the module that defines the owner.

    Raises
    ------
    Exception
        It cannot be evaluated: `NameError` for an unknown name, but an expression may raise any error.
    """
    names = vars(sys.modules[module]) if module in sys.modules else {}
    visible = {**enclosing_names(owner.__qualname__, names), **_closure_names(owner)}
    if isinstance(owner, type):
        # Names of a class have the lowest precedence, except that the class's own name means the class.
        visible = {**vars(owner), **names, **visible, owner.__name__: owner}
    carrier = type("carrier", (), {"__annotations__": {"it": annotation}})
    return typing.get_type_hints(carrier, names, visible)["it"]


def enclosing_names(qualname: str, module_names: dict[str, Any]) -> dict[str, Any]:
    """Return the local names of the functions and class bodies that enclose a definition and are running."""
    scopes = set()
    while "." in qualname:
        qualname = qualname.rpartition(".")[0].removesuffix(".<locals>")
        scopes.add(qualname)
    visible: dict[str, Any] = {}
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and scopes:
        if frame.f_code.co_qualname in scopes and frame.f_globals is module_names:
            visible = {**frame.f_locals, **visible}
        frame = frame.f_back
    return visible


def _closure_names(function: Any) -> dict[str, Any]:
    visible: dict[str, Any] = {}
    cells = getattr(function, "__closure__", None) or ()
    for name, cell in zip(function.__code__.co_freevars if cells else (), cells, strict=True):
        # A cell is empty until its variable is set.
        with contextlib.suppress(ValueError):
            visible[name] = cell.cell_contents
    return visible
