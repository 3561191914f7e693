"""The configuration of an idempotent function: checked by the constructor, and immutable afterwards."""

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
    require_policy,
    require_released_errors,
    require_renewable,
    require_wait,
    require_window,
    search_options_of,
    shown,
    truth,
)
from .final_errors import FinalErrors, require_final_errors
from .functions import is_async
from .jmespath_functions import MAX_UNPACKED_BYTES
from .observers import Observer
from .prefixes import ALLOWED_SERVICE, is_service_name, named_prefix, service_name

if TYPE_CHECKING:
    from ..backends.records import DataRecord

LONGEST_EXECUTION_SECONDS = 366 * 24 * 3600
"""The longest time limit that Lambda allows a durable execution."""


LONGEST_RUN_SECONDS = 3600
"""How long leases are renewed by default: longer than a Lambda invocation or a usual job, and as long as the
default window. A function that hangs blocks its key no longer than its result would be replayed."""


class IdempotentHookFunction(Protocol):
    """The type of ``response_hook``: it gets every replayed response, and may change it."""

    def __call__(self, response: Any, idempotent_data: "DataRecord", /) -> Any:
        """Return the response for the caller.

        Parameters
        ----------
        response
            The stored response, decoded, and rebuilt if there is a serializer.
        idempotent_data
            The record with the response.
        """


class IdempotencyConfig:
    """The settings of idempotent functions: the key, the window, the lease, and more.

    The constructor checks all values, so that no call fails later because of a mistake. Afterwards, only
    ``lambda_context`` can be set. To change another value, create a new configuration.

    Parameters
    ----------
    event_key_jmespath
        A JMESPath expression for the part of the payload that identifies the operation. By default, it is the
        whole payload.
    payload_validation_jmespath
        A JMESPath expression for the part of the payload that must be equal in all calls with one key. By
        default, it is not checked.
    jmespath_options
        Keyword arguments for `jmespath.Options`, for example ``{"custom_functions": MyFunctions()}``.
    raise_on_no_idempotency_key
        Whether a call without a key is refused. If not, it runs without protection, with a warning.
    expires_after_seconds
        How long a result is replayed (seconds): an integer or a float above 0.
    use_local_cache
        Whether completed records are also kept in the memory of the process.
    local_cache_max_items
        The maximum number of records in the local cache.
    hash_function
        The name of a hash function in `hashlib` with a digest of fixed length.
    lambda_context
        The AWS Lambda context. The lease ends no later than its remaining time.
    response_hook
        A function that is called as ``hook(response, record)`` on every replay. The caller gets its result.
    in_progress_expires_after_seconds
        The lease without a Lambda context (seconds): an integer or a float above 0. After a crash, another
        call may take over once the lease has ended.
    clock
        Returns the current time (epoch milliseconds, UTC).
    result_check
        For a result that a replay would change or could not return: ``"raise"`` raises an error that carries
        the result, and ``"warn"`` stores it with a warning. ``"warn"`` is for migration, and will be removed
        in the next release.
    hash_secret
        A secret, a string or bytes, for payloads that can be guessed. Keys and payload hashes are then HMACs
        with this secret, and can depend on secret fields of models.
    service
        The name of this service. Its keys begin with it, so that services can share a store. By default, the
        value of the environment variable ``IDEMPROOF_SERVICE``.
    max_unpacked_bytes
        How much compressed data one expression may unpack in total (bytes).
    completion_timeout_seconds
        How long storing a result is retried if the store fails (seconds), at most until the lease ends: an
        integer or a float, 0 or more. There are always at least three tries.
    interrupts
        Classes of ``Exception`` that a signal handler raises, such as the time limit of a job queue. They are
        handled like ``KeyboardInterrupt``, and never as a failure of the store, a key or a result. The time
        limits of Celery, RQ and Airflow are known already.
    final_errors
        Classes of ``Exception`` that are answers, such as a declined card. An error of exactly such a type
        that the function or ``on_takeover`` raises is stored, and raised again in every repeat.
    execution_timeout_seconds
        The ``ExecutionTimeout`` of a Lambda durable execution (seconds): an integer or a float above 0. It is
        the lease of calls in the execution. By default, the maximum that Lambda allows.
    observers
        A list or tuple of functions that are called with each
        :class:`~idemproof.spec.occurrences.Occurrence` of a call. Their exceptions are logged, and do not
        change the call.
    wait_for_in_progress_seconds
        How long a call waits for another attempt that is in progress with its key (seconds), before it is
        refused: a number from 0, for no wait, to 86,400. At most until the Lambda context has a second left.
    renew_lease
        Whether the lease is renewed while the function runs, every third of it. It needs
        ``in_progress_expires_after_seconds``, and a layer that stores owner tokens.
    max_run_seconds
        How long after a function begins its lease may last at most (seconds), however often it is renewed: an
        integer or a float, not less than the lease. A function that hangs holds its key no longer than that.
    cancel_when_lost
        Whether an ``async def`` function is cancelled once its attempt has lost the claim, or could not renew
        the lease before its end. The caller gets
        :class:`~idemproof.spec.errors.IdempotencyLeaseLostError`. It needs ``renew_lease``.
    on_takeover
        What a call does if an earlier attempt held the key, and its lease has ended without a result: its
        worker may have died before its effect or after it. ``"run"`` runs the function again. ``"refuse"``
        raises :class:`IdempotencyUnknownOutcomeError` until the key is resolved or forgotten, or its record
        expires. To find out for each call, give the decorator a function ``on_takeover``.
    released_errors
        Classes of ``Exception``, with their subclasses, that the function raises only if nothing has
        happened. They release the key. If a claim does not take over by running again, any other exception
        leaves it to the next call to refuse or to ask, except for ``final_errors``, which are stored, also if
        their base class is named here.

    Raises
    ------
    IdempotencyConfigError
        A value is not allowed. The message names the parameter, the value and the allowed values.
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
    final_errors: tuple[type[Exception], ...]
    execution_timeout_seconds: float
    observers: tuple[Observer, ...]
    wait_for_in_progress_seconds: float
    renew_lease: bool
    max_run_seconds: float
    cancel_when_lost: bool
    on_takeover: str
    released_errors: tuple[type[Exception], ...]

    # For the library's own use.
    search_options: jmespath.Options
    key_expression: ParsedResult | None
    validation_expression: ParsedResult | None
    digest: Callable[[bytes], str]
    keyed: bool
    interruptions: Interrupts
    finals: FinalErrors

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
        final_errors: tuple[type[Exception], ...] = (),
        execution_timeout_seconds: float = LONGEST_EXECUTION_SECONDS,
        observers: Sequence[Observer] = (),
        wait_for_in_progress_seconds: float = 0,
        renew_lease: bool = False,
        max_run_seconds: float = LONGEST_RUN_SECONDS,
        cancel_when_lost: bool = False,
        on_takeover: Literal["run", "refuse"] = "run",
        released_errors: tuple[type[Exception], ...] = (),
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
        require_released_errors(released_errors, interrupts)
        require_final_errors(final_errors, interrupts, released_errors)
        require_window("execution_timeout_seconds", execution_timeout_seconds)
        require_observers(observers)
        require_wait("wait_for_in_progress_seconds", wait_for_in_progress_seconds)
        if wait_for_in_progress_seconds and lambda_context is not None:
            _require_time_to_wait(wait_for_in_progress_seconds, lambda_context)
        renew_lease = truth("renew_lease", renew_lease)
        cancel_when_lost = truth("cancel_when_lost", cancel_when_lost)
        require_window("max_run_seconds", max_run_seconds)
        require_renewable(
            in_progress_expires_after_seconds, max_run_seconds, renew=renew_lease, cancel=cancel_when_lost
        )
        require_policy(on_takeover)
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
            final_errors=final_errors,
            execution_timeout_seconds=execution_timeout_seconds,
            observers=tuple(observers),
            wait_for_in_progress_seconds=wait_for_in_progress_seconds,
            renew_lease=renew_lease,
            max_run_seconds=max_run_seconds,
            cancel_when_lost=cancel_when_lost,
            on_takeover=on_takeover,
            released_errors=released_errors,
            interruptions=Interrupts(interrupts),
            finals=FinalErrors(final_errors),
            search_options=options,
            key_expression=compiled_expression("event_key_jmespath", event_key_jmespath, options),
            validation_expression=compiled_expression(
                "payload_validation_jmespath", payload_validation_jmespath, options
            ),
            digest=digest_of(hash_function, hash_secret),
            keyed=hash_secret is not None,
        )

    def register_lambda_context(self, lambda_context: Any) -> None:
        """Set the AWS Lambda context of this invocation.

        Parameters
        ----------
        lambda_context
            The second argument of the Lambda handler.
        """
        self.lambda_context = lambda_context

    def for_layers(self, function_name: str, key_prefix: str | None = None) -> Any:
        """Return the settings of one function for a layer that is used outside of its calls.

        Parameters
        ----------
        function_name
            The function's module and qualified name, joined with a dot.
        key_prefix
            The decorator's ``key_prefix``.
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


def _require_time_to_wait(seconds: float, context: Any) -> None:
    left = remaining_ms(context)
    if left is not None and seconds * 1000 > left:
        raise IdempotencyConfigError(
            f"wait_for_in_progress_seconds={seconds!r} is longer than the lambda_context has left, {left} "
            "ms: the invocation would end while a call waits. Wait less long, or give the function more time."
        )


def remaining_ms(context: Any) -> int | None:
    """Return the remaining time of an AWS Lambda invocation (milliseconds).

    Parameters
    ----------
    context
        The Lambda context, or anything else.

    Returns
    -------
    int or None
        None without a context, or if the context does not know the time.

    Raises
    ------
    IdempotencyConfigError
        The context returned something that is not a finite number.
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
