"""Encode results for the store and decode them, so that every caller gets what the function returned."""

import warnings
from collections.abc import Callable
from typing import Any

from ...backends.warning import IdempotencyWarning
from ...spec.errors import IdempotencyModelTypeError, IdempotencyNoSerializationModelError
from ..encoding import decode, encode
from ..serialization import annotated_result, return_type
from .custom import ResultChangedError, stored_by
from .responses import WAY_OUT, response_in, view_response_refusal
from .serializers import BaseIdempotencySerializer, CheckedSerializer

RAISE, WARN = "raise", "warn"


class Codec:
    """Encodes the results of one function as text, and decodes them.

    Parameters
    ----------
    serializer
        The function's serializer. None if results are stored as plain JSON.
    function
        The function. None if it is unknown.
    on_change
        What to do with a result that would change: ``"raise"``, or ``"warn"`` and store it anyway.
    """

    __slots__ = ("_checked", "_function", "_serializer", "_warns")

    def __init__(
        self,
        serializer: BaseIdempotencySerializer | None,
        function: Callable[..., Any] | None = None,
        on_change: str = RAISE,
    ) -> None:
        self._serializer = serializer
        self._function = function
        self._warns = on_change == WARN
        self._checked = not isinstance(serializer, CheckedSerializer)

    def prepare(self, *, for_a_call: bool = True) -> None:
        """Reject a model whose values can never be rebuilt; before a call, also an undefined one.

        Raises
        ------
        IdempotencyModelTypeError, IdempotencyNoSerializationModelError
            The message names what can never be rebuilt, or what is undefined.
        """
        if self._serializer is None and not for_a_call and self._function is not None:
            self._check_annotation(self._function)
        if self._checked:
            return
        assert isinstance(self._serializer, CheckedSerializer)
        if not self._serializer._resolve(now=for_a_call):
            return
        try:
            self._serializer._refuse_what_never_comes_back()
        except IdempotencyModelTypeError as error:
            if not self._warns:
                raise
            _warn(str(error))
        self._checked = True

    def store(self, result: Any) -> tuple[str, Any]:
        """Return a result as JSON text, and as all callers get it.

        Raises
        ------
        ResultChangedError
            The result would change, or could not be rebuilt.
        TypeError, ValueError, RecursionError
            The result cannot be encoded as JSON.
        """
        serializer = self._serializer
        if serializer is None:
            if type(result) is tuple and self._function is not None:
                self._check_view_response(result, self._function)
            text = encode(result)
            return text, decode(text)
        if result is None:
            return "null", None
        try:
            if isinstance(serializer, CheckedSerializer):
                return serializer._store(result)
            return stored_by(serializer, result)
        except ResultChangedError as error:
            if not self._warns:
                raise
            _warn(f"In a result of type {type(result).__qualname__}, {error}.")
            return encode(serializer.to_dict(result)), result

    def load(self, response: Any) -> Any:
        """Return the result that is rebuilt from decoded JSON."""
        serializer = self._serializer
        return response if serializer is None or response is None else serializer.from_dict(response)

    def _check_annotation(self, function: Callable[..., Any]) -> None:
        annotation = annotated_result(function)
        if annotation is None or (isinstance(annotation, str) and "Response" not in annotation):
            return
        try:
            response = response_in(return_type(function))
        except IdempotencyNoSerializationModelError:
            return  # without a serializer, no model is needed
        if response is None:
            return
        refusal = (
            f"{getattr(function, '__qualname__', function)} returns a {response.__qualname__}, which is not "
            f"data that can be stored. {WAY_OUT}"
        )
        if not self._warns:
            raise IdempotencyModelTypeError(refusal)
        _warn(refusal)

    def _check_view_response(self, result: tuple[Any, ...], function: Callable[..., Any]) -> None:
        refusal = view_response_refusal(result, function)
        if refusal is None:
            return
        if not self._warns:
            raise ResultChangedError(refusal)
        _warn(refusal)


def _warn(message: str) -> None:
    warnings.warn(
        f"{message} It is stored anyway, because of result_check='warn'. A later release will refuse it.",
        IdempotencyWarning,
        stacklevel=2,
    )
