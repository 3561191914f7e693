"""The configuration of an idempotent function: checked when it is made, fixed from then on."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import jmespath
from jmespath.parser import ParsedResult

from ..backends.clock import wall_clock_ms
from ..drivers.interrupts import Interrupts
from ..spec.errors import IdempotencyConfigError
from .config_values import (
    compiled_expression,
    digest_of,
    kind_of,
    refusal,
    require_callable,
    require_clock,
    require_count,
    require_interrupts,
    require_observers,
    require_window,
    search_options_of,
    shown,
    truth,
)
from .functions import is_async
from .jmespath_functions import MAX_UNPACKED_BYTES
from .observers import Observer
from .prefixes import ALLOWED_SERVICE, is_service_name, named_prefix, service_name

if TYPE_CHECKING:
    from ..backends.records import DataRecord

LONGEST_EXECUTION_SECONDS = 366 * 24 * 3600
"""The longest time limit that Lambda allows a durable execution."""


class IdempotentHookFunction(Protocol):
    """What ``response_hook`` has to be: it sees every replayed response, and may change it."""

    def __call__(self, response: Any, idempotent_data: "DataRecord", /) -> Any:
        """Return what the caller gets.

        Parameters
        ----------
        response
            The stored response, decoded and, if there is a serializer, rebuilt.
        idempotent_data
            The record that the response comes from.
        """


class IdempotencyConfig:
    """How keys are derived, and how long records live.

    Everything is checked here, so that no call finds a mistake later. Only ``lambda_context`` can be set
    afterwards; for another value of anything else, make another config.

    Parameters
    ----------
    event_key_jmespath
        JMESPath expression that selects what identifies the operation. Empty or None: the whole payload.
    payload_validation_jmespath
        JMESPath expression that selects what must not change between calls of one key. Empty or None: no
        check.
    jmespath_options
        Keyword arguments for `jmespath.Options`, for instance ``{"custom_functions": MyFunctions()}``.
    raise_on_no_idempotency_key
        Refuse a call without a key, instead of running it unprotected with a warning.
    expires_after_seconds
        How long a result is replayed, in seconds. An integer or a float above 0.
    use_local_cache
        Keep completed records in memory too.
    local_cache_max_items
        How many records the local cache holds.
    hash_function
        Name of a hash function in `hashlib` with a digest of fixed length.
    lambda_context
        The AWS Lambda context; its remaining time bounds how long a run holds its key.
    response_hook
        Called as ``hook(response, record)`` on every replay; the caller gets what it returns.
    in_progress_expires_after_seconds
        How long a run holds its key when no Lambda context says, in seconds. An integer or a float above 0.
    clock
        Returns the time now, in milliseconds since the epoch (UTC).
    result_check
        What becomes of a result that a repeat would get changed, or not at all: ``"raise"`` an error that
        carries it, or ``"warn"`` and store it as before. ``"warn"`` is for migration; the next release
        removes it.
    hash_secret
        Makes keys and payload hashes HMACs under this secret, a text or bytes, for payloads that can be
        guessed. With it, secret fields of models can be parts of keys.
    service
        The name of this service, which its keys begin with, so that services can share a store. Default: what
        the environment variable ``IDEMPROOF_SERVICE`` says.
    max_unpacked_bytes
        How much zipped text one expression may unpack, in all.
    completion_timeout_seconds
        For how long storing a result is tried again if the store fails, in seconds, while the run holds its
        key. An integer or a float, 0 or more; it is tried three times in any case.
    interrupts
        Classes of ``Exception`` that a signal's handler raises, such as a job queue's time limit. They are
        treated as ``KeyboardInterrupt`` is: never taken for a failure of the store, a key or a result. Those
        of Celery, RQ and Airflow are known, and need not be named.
    execution_timeout_seconds
        How long a Lambda durable execution may last: its ``ExecutionTimeout``. Calls in such an execution
        hold their keys for so long. An integer or a float above 0; by default the longest that Lambda allows.
    observers
        Functions that are called with each :class:`~idemproof.spec.occurrences.Occurrence` of a call: what
        they raise is logged, and changes nothing. A list or tuple.

    Raises
    ------
    IdempotencyConfigError
        A value is not allowed. The message names the parameter, the value and what is allowed.
    """

    event_key_jmespath: str
    payload_validation_jmespath: str
    jmespath_options: dict[str, Any] | None
    raise_on_no_idempotency_key: bool
    expires_after_seconds: float
    use_local_cache: bool
    local_cache_max_items: int
    hash_function: str
    lambda_context: Any
    response_hook: IdempotentHookFunction | None
    in_progress_expires_after_seconds: float | None
    clock: Callable[[], int]
    result_check: str
    service: str | None
    max_unpacked_bytes: int
    completion_timeout_seconds: float
    interrupts: tuple[type[Exception], ...]
    execution_timeout_seconds: float
    observers: tuple[Observer, ...]

    # For the library's own use.
    search_options: jmespath.Options
    key_expression: ParsedResult | None
    validation_expression: ParsedResult | None
    digest: Callable[[bytes], str]
    keyed: bool
    interruptions: Interrupts

    _settable: ClassVar = frozenset({"lambda_context"})

    def __init__(
        self,
        event_key_jmespath: str | None = "",
        payload_validation_jmespath: str | None = "",
        jmespath_options: dict[str, Any] | None = None,
        raise_on_no_idempotency_key: bool = False,
        expires_after_seconds: float = 3600,
        use_local_cache: bool = False,
        local_cache_max_items: int = 256,
        hash_function: str = "md5",
        lambda_context: Any = None,
        response_hook: IdempotentHookFunction | None = None,
        *,
        in_progress_expires_after_seconds: float | None = None,
        clock: Callable[[], int] = wall_clock_ms,
        result_check: Literal["raise", "warn"] = "raise",
        hash_secret: str | bytes | None = None,
        service: str | None = None,
        max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
        completion_timeout_seconds: float = 10,
        interrupts: tuple[type[Exception], ...] = (),
        execution_timeout_seconds: float = LONGEST_EXECUTION_SECONDS,
        observers: Sequence[Observer] = (),
    ) -> None:
        require_window("expires_after_seconds", expires_after_seconds)
        use_local_cache = truth("use_local_cache", use_local_cache)
        if use_local_cache or local_cache_max_items:
            require_count("local_cache_max_items", local_cache_max_items)
        response_hook = response_hook or None
        if response_hook is not None:
            require_callable("response_hook", response_hook)
            if is_async(response_hook):
                raise refusal("response_hook", response_hook, "a plain function: it is called, not awaited")
        if in_progress_expires_after_seconds is not None:
            require_window("in_progress_expires_after_seconds", in_progress_expires_after_seconds)
        require_clock(clock)
        if result_check not in ("raise", "warn"):
            raise refusal("result_check", result_check, "'raise' or 'warn'")
        if service is not None and not is_service_name(service):
            raise refusal("service", service, ALLOWED_SERVICE)
        require_count("max_unpacked_bytes", max_unpacked_bytes)
        if completion_timeout_seconds != 0 or isinstance(completion_timeout_seconds, bool):
            require_window("completion_timeout_seconds", completion_timeout_seconds)
        require_interrupts(interrupts)
        require_window("execution_timeout_seconds", execution_timeout_seconds)
        require_observers(observers)
        options = search_options_of(jmespath_options)
        # Written past __setattr__, which refuses.
        self.__dict__.update(
            event_key_jmespath=event_key_jmespath or "",
            payload_validation_jmespath=payload_validation_jmespath or "",
            jmespath_options=jmespath_options,
            raise_on_no_idempotency_key=truth("raise_on_no_idempotency_key", raise_on_no_idempotency_key),
            expires_after_seconds=expires_after_seconds,
            use_local_cache=use_local_cache,
            local_cache_max_items=local_cache_max_items,
            hash_function=hash_function,
            lambda_context=lambda_context,
            response_hook=response_hook,
            in_progress_expires_after_seconds=in_progress_expires_after_seconds,
            clock=clock,
            result_check=result_check,
            service=service,
            max_unpacked_bytes=max_unpacked_bytes,
            completion_timeout_seconds=completion_timeout_seconds,
            interrupts=interrupts,
            execution_timeout_seconds=execution_timeout_seconds,
            observers=tuple(observers),
            interruptions=Interrupts(interrupts),
            search_options=options,
            key_expression=compiled_expression("event_key_jmespath", event_key_jmespath, options),
            validation_expression=compiled_expression(
                "payload_validation_jmespath", payload_validation_jmespath, options
            ),
            digest=digest_of(hash_function, hash_secret),
            keyed=hash_secret is not None,
        )

    def register_lambda_context(self, lambda_context: Any) -> None:
        """Remember the AWS Lambda context of this invocation.

        Parameters
        ----------
        lambda_context
            What the Lambda handler got as its second argument.
        """
        self.lambda_context = lambda_context

    def for_layers(self, function_name: str, key_prefix: str | None = None) -> Any:
        """Return the settings as a layer sees them that is asked about one function, outside of its calls.

        Parameters
        ----------
        function_name
            The function's module and qualified name, joined with a dot.
        key_prefix
            What the decorator got as ``key_prefix``.
        """
        from .layer_settings import LayerSettings  # noqa: PLC0415 - few programs need it

        return LayerSettings(
            self, lambda: named_prefix(function_name, key_prefix, service_name(self.service))
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._settable:
            raise AttributeError(
                f"{name} of an IdempotencyConfig cannot be changed: make another config with that value"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} of an IdempotencyConfig cannot be deleted: make another config")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(event_key_jmespath={self.event_key_jmespath!r}, "
            f"payload_validation_jmespath={self.payload_validation_jmespath!r}, "
            f"expires_after_seconds={self.expires_after_seconds!r}, hash_function={self.hash_function!r})"
        )


def remaining_ms(context: Any) -> int | None:
    """Return how long an AWS Lambda invocation may still run, in milliseconds.

    Parameters
    ----------
    context
        The Lambda context, or anything else.

    Returns
    -------
    int or None
        None if there is no context, or it does not know.

    Raises
    ------
    IdempotencyConfigError
        The context answered with something that is no number.
    """
    ask = getattr(context, "get_remaining_time_in_millis", None)
    if not callable(ask):
        return None
    answer = ask()
    if type(answer) is int:
        return answer
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
        raise IdempotencyConfigError(
            f"get_remaining_time_in_millis() of the lambda_context, a {kind_of(context)}, must return a "
            f"finite number of milliseconds, not {shown(answer)}"
        )
    return int(answer)
