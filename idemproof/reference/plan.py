"""Derives the keys of the calls of one function."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ..spec.errors import IdempotencyKeyError
from .config import IdempotencyConfig
from .functions import Argument, Arguments, name_of
from .keys import KeyDerivation, function_prefix, key_data, warn_of_no_service
from .payload import data_for_methods
from .prefixes import service_name

KeyFunction = Callable[..., Any]


class Plan:
    """Derives the keys of the calls of one function."""

    __slots__ = (
        "_config",
        "_derivation",
        "_function",
        "_key",
        "_key_prefix",
        "_names_no_argument",
        "_payload",
        "_prepare",
        "_shared",
    )

    def __init__(
        self,
        function: Any,
        data: Argument | Arguments | None,
        config: IdempotencyConfig,
        key_prefix: str | None,
        key: KeyFunction | None,
        prepare: Callable[[], None] | None,
        *,
        shared: bool,
    ) -> None:
        self._prepare = prepare
        self._function = function
        self._names_no_argument = data is None
        self._payload = (lambda _args, _kwargs: None) if data is None else data.of
        self._config = config
        self._key_prefix = key_prefix
        self._key = key
        self._shared = shared
        self._derivation: KeyDerivation | None = None

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | None, str | None]:
        """Return the key and the payload hash of a call. A call without a key runs unprotected."""
        derivation = self._derivation
        if derivation is None:
            derivation = self._derivation = self._prepared()
        try:
            if self._key is None:
                return derivation.derive(self._payload(args, kwargs))
            identity = key_data(self._key, name_of(self._function), args, kwargs)
            return derivation.derive_from(identity, self._payload(args, kwargs))
        except IdempotencyKeyError as error:
            refusal = error
        raise self._config.interruptions.behind(refusal) or refusal

    def _prepared(self) -> KeyDerivation:
        if self._prepare is not None:
            self._prepare()
        # Not at decoration: the Lambda function's name is part of it, and may be set after the import.
        if self._shared and not self._key_prefix and service_name(self._config.service) is None:
            warn_of_no_service()
        return KeyDerivation(self._config, self.prefix(), name_of(self._function))

    def insisting(self) -> "Plan":
        """Return a plan that refuses calls without a key."""
        config = copy.copy(self._config)
        vars(config)["raise_on_no_idempotency_key"] = True  # past __setattr__, which refuses
        plan = copy.copy(self)
        plan._config = config
        plan._derivation = None
        return plan

    def prefix(self) -> str:
        """Return the prefix of the function's keys."""
        return function_prefix(self._function, self._key_prefix, service_name(self._config.service))

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[], Any]:
        """Return a function that computes the data for the layer's public methods."""
        if self._names_no_argument:
            key = self._key
            assert key is not None  # one of the two names the operation
            return lambda: key_data(key, name_of(self._function), args, dict(kwargs))
        return lambda: data_for_methods(self._payload(args, kwargs))
