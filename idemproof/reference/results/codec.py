"""Results on their way into the store and out of it: every caller gets the same, and what was returned."""

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
    """Makes text of the results of one function, and results of text.

    Parameters
    ----------
    serializer
        The function's serializer; None if results are stored as JSON.
    function
        The function; None if it is not known.
    on_change
        What becomes of a result that would change: ``"raise"``, or ``"warn"`` and store it nevertheless.
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
        """Refuse a model whose values can never come back; before a call, also one that is not defined.

        Raises
        ------
        IdempotencyModelTypeError, IdempotencyNoSerializationModelError
            The message names what can never come back, or what is not defined.
        """
        if self._serializer is None and not for_a_call and self._function is not None:
            self._look_at_annotation(self._function)
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
        """Return a result as JSON text, and as all its callers get it.

        Raises
        ------
        ResultChangedError
            It would come back as something else, or not at all.
        TypeError, ValueError, RecursionError
            It cannot be JSON.
        """
        serializer = self._serializer
        if serializer is None:
            if type(result) is tuple and self._function is not None:
                self._look_at_view_response(result, self._function)
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
        """Return the result that decoded text stands for."""
        serializer = self._serializer
        return response if serializer is None or response is None else serializer.from_dict(response)

    def _look_at_annotation(self, function: Callable[..., Any]) -> None:
        annotation = annotated_result(function)
        if annotation is None or (isinstance(annotation, str) and "Response" not in annotation):
            return
        try:
            response = response_in(return_type(function))
        except IdempotencyNoSerializationModelError:
            return  # what cannot be resolved is no obstacle: no model is needed
        if response is None:
            return
        refusal = (
            f"{getattr(function, '__qualname__', function)} returns a {response.__qualname__}, which is not "
            f"data that can be stored. {WAY_OUT}"
        )
        if not self._warns:
            raise IdempotencyModelTypeError(refusal)
        _warn(refusal)

    def _look_at_view_response(self, result: tuple[Any, ...], function: Callable[..., Any]) -> None:
        refusal = view_response_refusal(result, function)
        if refusal is None:
            return
        if not self._warns:
            raise ResultChangedError(refusal)
        _warn(refusal)


def _warn(message: str) -> None:
    warnings.warn(
        f"{message} It is stored nevertheless, as result_check='warn' says. A later release will refuse it.",
        IdempotencyWarning,
        stacklevel=2,
    )
