"""Check and convert the values of a configuration."""

import hashlib
from collections.abc import Callable
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import ParsedResult

from ..drivers.interrupts import is_interrupt
from ..spec.errors import IdempotencyConfigError, IdempotencyError
from ..spec.events import REFUSE, RUN
from .functions import is_async
from .jmespath_functions import DEFAULT_OPTIONS, called_functions

# Beyond this, an expiry is not a valid date, and some stores refuse the number.
_LONGEST_WINDOW_SECONDS = 10**11

# A caller that waits longer than a day is a mistake, such as milliseconds that are taken for seconds.
_LONGEST_WAIT_SECONDS = 86_400
# Three requests fit into such a lease. Shorter ones end while a busy process waits for its turn.
_SHORTEST_RENEWED_SECONDS = 0.5

# Strings whose truth value in Python matches their meaning, unlike "false".
_UNAMBIGUOUS = frozenset(("", "1", "y", "yes", "t", "true", "on"))


def refusal(name: str, value: Any, allowed: str) -> IdempotencyConfigError:
    """Return the error for a value that is not allowed."""
    return IdempotencyConfigError(f"{name} must be {allowed}, not {shown(value)}")


def shown(value: Any) -> str:
    """Return a value and its type in one line."""
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({kind_of(value)})"  # noqa: PLR2004 - one line


def kind_of(value: Any) -> str:
    """Return the name of a value's type."""
    return type(value).__qualname__


def truth(name: str, value: Any) -> bool:
    """Return the truth value of a flag; refuse strings such as "false", whose truth value misleads."""
    if isinstance(value, str) and value.lower() not in _UNAMBIGUOUS:
        raise refusal(name, value, 'True or False, a number such as 1 or 0, or a text such as "true"')
    return bool(value)


def require_callable(name: str, value: Any) -> None:
    """Raise if a value is not callable."""
    if not callable(value):
        raise refusal(name, value, "callable")


def require_clock(clock: Any) -> None:
    """Raise if a clock does not return an integer."""
    require_callable("clock", clock)
    now = clock()
    if isinstance(now, bool) or not isinstance(now, int):
        raise IdempotencyConfigError(
            f"clock must return an integer, the milliseconds since the epoch; it returns {shown(now)}."
        )


def require_count(name: str, value: Any) -> None:
    """Raise if a value is not an integer above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise refusal(name, value, "an integer above 0")


def require_interrupts(kinds: Any) -> None:
    """Raise if a value is not a tuple of exception classes that can be treated as interrupts."""
    allowed = "a tuple of classes derived from Exception, and not from IdempotencyError"
    if not isinstance(kinds, tuple):
        raise refusal("interrupts", kinds, allowed)
    for kind in kinds:
        # Exception itself would make every failure of the store an interrupt.
        is_one = isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception
        if not is_one or issubclass(kind, IdempotencyError):
            raise refusal("interrupts", kinds, allowed)


def require_released_errors(kinds: Any, interrupts: tuple[type[Exception], ...]) -> None:
    """Raise if a value is not a tuple of classes of exceptions that can mean that nothing has happened."""
    allowed = "a tuple of classes derived from Exception"
    if not isinstance(kinds, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds
    ):
        raise refusal("released_errors", kinds, allowed)
    for kind in kinds:
        if is_interrupt(kind, interrupts):
            raise IdempotencyConfigError(
                f"released_errors must not have {kind.__module__}.{kind.__qualname__}: it is an interrupt. "
                "An interrupt may strike at any place, so it does not mean that nothing has happened."
            )


def require_policy(value: Any) -> None:
    """Raise if a value is not what a configuration can say about takeovers."""
    if callable(value):
        raise refusal(
            "on_takeover", value, "'run' or 'refuse': give a function to the decorator, as on_takeover"
        )
    if value not in (RUN, REFUSE):
        raise refusal("on_takeover", value, "'run' or 'refuse'")


def require_observers(observers: Any) -> None:
    """Raise unless a value is a list or tuple of plain functions that take an occurrence."""
    allowed = "a list or tuple of plain functions that take one occurrence: they are called, not awaited"
    if not isinstance(observers, list | tuple):
        raise refusal("observers", observers, allowed)
    for observer in observers:
        if not callable(observer) or isinstance(observer, type) or is_async(observer):
            raise refusal("observers", observers, allowed)


def require_renewable(lease: float | None, longest: float, *, renew: bool, cancel: bool) -> None:
    """Raise if a lease cannot be renewed as the settings say."""
    if cancel and not renew:
        raise IdempotencyConfigError(
            "cancel_when_lost=True needs renew_lease=True: only a renewal learns that a claim is lost."
        )
    if not renew:
        return
    if lease is None:
        raise IdempotencyConfigError(
            "renew_lease=True needs in_progress_expires_after_seconds, the lease that is renewed. The lease "
            "of a Lambda context alone lasts as long as the invocation, and needs no renewal."
        )
    if lease < _SHORTEST_RENEWED_SECONDS:
        allowed = f"at least {_SHORTEST_RENEWED_SECONDS} with renew_lease=True"
        raise refusal("in_progress_expires_after_seconds", lease, allowed)
    if longest < lease:
        raise refusal(
            "max_run_seconds", longest, f"at least in_progress_expires_after_seconds, which is {lease}"
        )


def require_window(name: str, value: Any) -> None:
    """Raise if a value is not a valid lifetime of a record in seconds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # The comparison also refuses NaN, which compares false to every number.
    if not (is_number and 0 < value <= _LONGEST_WINDOW_SECONDS):
        raise refusal(name, value, f"a number of seconds above 0 and at most {_LONGEST_WINDOW_SECONDS:,}")


def require_wait(name: str, value: Any) -> None:
    """Raise if a value is not a time for which a call can wait, in seconds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= _LONGEST_WAIT_SECONDS):
        raise refusal(name, value, f"a number of seconds from 0 to {_LONGEST_WAIT_SECONDS:,}")


def digest_of(name: Any, secret: Any) -> Callable[[bytes], str]:
    """Return the function that hashes bytes: a plain hash, or an HMAC if there is a secret."""
    allowed = sorted(known for known in hashlib.algorithms_guaranteed if not known.startswith("shake_"))
    if name not in allowed:
        raise refusal("hash_function", name, f"one of {', '.join(allowed)}")
    try:
        digest = _plain_digest(name) if secret is None else _keyed_digest(name, secret)
        digest(b"")
    except ValueError as error:
        raise IdempotencyConfigError(
            f"hash_function {name!r} is not available in this Python: {error}"
        ) from error
    return digest


def _plain_digest(name: str) -> Callable[[bytes], str]:
    # FIPS builds of OpenSSL only allow md5 with usedforsecurity=False. Copying a hash object is faster than
    # creating one, which looks up the algorithm again.
    copy = getattr(hashlib, name)(usedforsecurity=False).copy

    def digest(data: bytes) -> str:
        state = copy()
        state.update(data)
        hexdigest: str = state.hexdigest()
        return hexdigest

    return digest


def _keyed_digest(name: str, secret: Any) -> Callable[[bytes], str]:
    import hmac  # noqa: PLC0415 - loaded when used

    # No message may show the secret.
    if not isinstance(secret, str | bytes) or not secret:
        found = kind_of(secret) if secret else f"an empty {kind_of(secret)}"
        raise IdempotencyConfigError(f"hash_secret must be non-empty text or bytes, not {found}")
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda data: hmac.digest(key, data, name).hex()


def search_options_of(given: Any) -> jmespath.Options:
    """Return the options for JMESPath searches."""
    if given is None or given == {}:
        return DEFAULT_OPTIONS
    allowed = 'None or a dict of arguments for jmespath.Options, such as {"custom_functions": MyFunctions()}'
    if not isinstance(given, dict):
        raise refusal("jmespath_options", given, allowed)
    try:
        options = jmespath.Options(**given)
    except TypeError as error:
        raise refusal("jmespath_options", given, allowed) from error
    if options.dict_cls is not None:
        require_callable('jmespath_options["dict_cls"]', options.dict_cls)
    functions = options.custom_functions
    if functions is None:
        options.custom_functions = DEFAULT_OPTIONS.custom_functions
    elif isinstance(functions, type) or not callable(getattr(functions, "call_function", None)):
        wanted = "an instance of a class derived from jmespath.functions.Functions"
        raise refusal('jmespath_options["custom_functions"]', functions, wanted)
    return options


def compiled_expression(name: str, expression: Any, options: jmespath.Options) -> ParsedResult | None:
    """Return a compiled JMESPath expression; None if there is none."""
    if expression is None or expression == "":
        return None
    if not isinstance(expression, str):
        raise refusal(name, expression, "a JMESPath expression (a string; empty or None for none)")
    try:
        compiled = jmespath.compile(expression)
    except (
        JMESPathError,
        RecursionError,
        Warning,
    ) as error:  # a deprecated syntax, where warnings are errors
        # The parser's message spans several lines to mark the position; this one fits on one line.
        position = getattr(error, "lex_position", None)
        place = "" if position is None else f" at position {position}"
        detail = getattr(error, "msg", None) or getattr(error, "message", None) or type(error).__name__
        raise IdempotencyConfigError(
            f"{name}={expression!r} is not valid JMESPath{place}: {detail}"
        ) from error
    if isinstance(options.custom_functions, Functions):
        for function in called_functions(compiled.parsed):
            if function not in options.custom_functions.FUNCTION_TABLE:
                known = ", ".join(sorted(options.custom_functions.FUNCTION_TABLE))
                raise IdempotencyConfigError(
                    f"{name}={expression!r} calls {function}(), which is unknown. Known functions: {known}"
                )
    return compiled
