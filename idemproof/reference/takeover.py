"""What an attempt does about a claim of another whose lease has ended: the question, and how it ends.

The clauses are TAKE-1 to TAKE-7.
"""

import inspect
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from ..spec.commands import Steps
from ..spec.errors import IdempotencyConfigError, IdempotencyInconsistentStateError
from ..spec.events import ASK, RUN, Abandon, Claimed
from ..spec.record import holds, live
from .attempt import Attempt
from .changes import Releasing
from .config import IdempotencyConfig
from .durable import Execution, names_durable_context
from .finishing import Finishing
from .functions import is_async, name_of, same_parameters, signature_of

QUESTIONS = 3
"""How many answers of one call may come after its lease."""

_NOT_A_RESULT = (CoroutineType, GeneratorType, AsyncGeneratorType)


class Abandoning(Releasing):
    """An abandonment: the lease ends, and the claim remains (TAKE-4)."""

    def event(self, subject: Attempt, now: int) -> Abandon:  # noqa: ARG002 - as a release
        """Return the abandonment."""
        return Abandon(subject.owner)


class Asking(Finishing):
    """The part of an engine that asks before it repeats, and that decides between release and abandonment."""

    _config: IdempotencyConfig
    _on_takeover: Callable[..., Any] | None
    _renews: bool
    _waits: bool
    _claim: Callable[[Attempt], Steps]
    _claim_or_wait: Callable[[Attempt], Steps]
    _begin_renewal: Callable[[Attempt], Steps]
    _end_renewal: Callable[[Attempt], Steps]

    def _set_policy(self, on_takeover: Callable[..., Any] | None, *, keeps_owners: bool) -> str:
        """Set what a claim does about the lapsed claim of another, and return its policy."""
        self._on_takeover = on_takeover
        self._policy = self._config.on_takeover if on_takeover is None else ASK
        if self._policy != RUN and not keeps_owners:
            raise IdempotencyConfigError(
                "on_takeover needs owner tokens, which this persistence layer does not keep: it takes over "
                "by itself. Use a layer with _load and _swap, such as any layer of idemproof, or leave "
                'on_takeover at "run".'
            )
        self._abandoning = Abandoning(self._interrupts)
        self._letting_go = Releasing(self._interrupts, tries=2, requests=2)
        self._letting_lapse = Abandoning(self._interrupts, tries=2, requests=2)
        return self._policy

    @property
    def policy(self) -> str:
        """What a claim does about the lapsed claim of another: "run", "refuse" or "ask"."""
        return self._policy

    def _ask(self, attempt: Attempt, outcome: Any) -> Steps:
        """Ask whether the operation has happened; return the outcome of the claim that is held then.

        If the answer is a result or an exception, the attempt has it, and still ``asks``. If nothing was
        done, it asks no more. If the claim is no longer granted, the outcome is the reason.
        """
        for _ in range(QUESTIONS):
            _raise_interrupt_of(attempt)
            if self._renews:
                yield from self._begin_renewal(attempt)
            yield from self._put_the_question(attempt)
            if attempt.failure is not None or attempt.has_result:
                return outcome
            attempt.returned, attempt.result = False, None
            stands = True
            if attempt.renewal is not None:
                yield from self._end_renewal(attempt)
                # Refused because the claim is gone, or because an operator has resolved it.
                stands = holds(attempt.renewal.held, attempt.owner)
                attempt.renewal = None
            _raise_interrupt_of(attempt)
            claim = attempt.held
            assert claim is not None  # it was granted
            if stands and live(claim, self._clock()):  # ENG-3
                attempt.asks = False
                return outcome
            outcome = yield from self._claim_or_wait(attempt) if self._waits else self._claim(attempt)
            _raise_interrupt_of(attempt)
            if not isinstance(outcome, Claimed):
                return outcome
        raise IdempotencyInconsistentStateError(
            f"on_takeover answered for {attempt.key!r} {QUESTIONS} times after the lease had ended. "
            "The function did not run. Use a longer lease than the answer takes."
        )

    def _put_the_question(self, attempt: Attempt) -> Steps:
        attempt.asked = self._on_takeover
        try:
            yield attempt
        except GeneratorExit:
            raise
        except BaseException as interrupt:
            # It struck after the answer. Only a result still matters: it must not be lost.
            if not attempt.has_result:
                raise
            attempt.note_interrupt(interrupt)
        finally:
            attempt.asked = None
        if attempt.returned and isinstance(attempt.result, _NOT_A_RESULT):
            close = getattr(attempt.result, "close", None)
            if close is not None:
                close()
            attempt.returned, attempt.never_ran = False, True
            attempt.failure = TypeError(
                f"on_takeover answered for {attempt.key!r} with a {type(attempt.result).__name__}, which "
                "nothing runs. The function did not run. Return the result, or NOT_DONE."
            )
        if attempt.failure is not None and not self._is_final(attempt):
            attempt.failure.add_note(
                f"on_takeover raised this for {attempt.key!r}. It is not known whether an earlier attempt "
                "did the operation. The function did not run now. The next call asks again."
            )

    def _ending_before_the_body(self, attempt: Attempt, *, stopped: bool) -> Releasing | None:
        """Return the change that ends the claim of an attempt that does not begin its body."""
        if attempt.asks:  # TAKE-4
            return self._letting_lapse if stopped else self._abandoning
        return self._letting_go if stopped else None

    def _ending_after(self, attempt: Attempt, failure: BaseException) -> Releasing | None:
        """Return the change that ends the claim after its body or its question has raised."""
        return self._abandoning if self._abandons_after(attempt, failure) else None

    def _abandons_after(self, attempt: Attempt, failure: BaseException) -> bool:
        if attempt.asks:  # TAKE-4
            return True
        if self._policy == RUN or attempt.never_ran:
            return False
        # TAKE-6
        declared = isinstance(failure, self._config.released_errors)
        return not declared or self._interrupts.behind(failure) is not None


def _raise_interrupt_of(attempt: Attempt) -> None:
    if attempt.interrupt is not None:
        raise attempt.interrupt


def refuse_to_ask(execution: Execution, key: str) -> IdempotencyConfigError:
    """Return the error for a question in a durable execution, whose invocations are one attempt (TAKE-7)."""
    return IdempotencyConfigError(
        f"on_takeover cannot be asked about {key!r} in the durable execution {execution.name!r}: its "
        'invocations resume its own claim. Nothing ran. Use IdempotencyConfig(on_takeover="refuse"), or no '
        "on_takeover."
    )


def question_for(function: Any, on_takeover: Any) -> Callable[..., Any] | None:
    """Return the function that is asked before ``function`` repeats what another attempt may have done.

    Raises
    ------
    IdempotencyConfigError
        It is not a function like ``function``: another kind, another signature, or not a function at all.
    """
    if on_takeover is None:
        return None
    if isinstance(on_takeover, staticmethod | classmethod):
        on_takeover = on_takeover.__func__
    name = name_of(function)
    _require_function(on_takeover, f"of {name} must be a function with the parameters of {name}")
    if is_async(on_takeover) != is_async(function):
        kinds = (
            ("async def", "a plain function") if is_async(on_takeover) else ("a plain function", "async def")
        )
        raise IdempotencyConfigError(
            f"on_takeover of {name} is {kinds[0]}, and {name} is {kinds[1]}. Make both the same."
        )
    if not same_parameters(function, on_takeover):
        raise IdempotencyConfigError(
            f"on_takeover of {name} is called as {name} is, so it needs the same parameters: it has "
            f"{signature_of(on_takeover)}, and {name} has {signature_of(function)}."
        )
    if names_durable_context(function):
        raise IdempotencyConfigError(
            f"{name} runs in a durable execution, whose invocations resume its own claim: on_takeover is "
            'never asked there. Use IdempotencyConfig(on_takeover="refuse"), or leave it out.'
        )
    return on_takeover  # type: ignore[no-any-return]


def require_question(on_takeover: Any, *arguments: str) -> None:
    """Raise an error unless ``on_takeover`` is a function that can be called with ``arguments``.

    Raises
    ------
    IdempotencyConfigError
        It is not. Nothing ran.
    """
    takes = "the key" if arguments else "no arguments"
    _require_function(on_takeover, f"must be a function that takes {takes}")
    try:
        signature = inspect.signature(on_takeover)
    except ValueError:  # of a function in C
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise IdempotencyConfigError(
            f"on_takeover must be a function that takes {takes}. {name_of(on_takeover)} has the parameters "
            f"{signature_of(on_takeover)}. Nothing ran."
        ) from None


def require_plain_question(on_takeover: Any) -> None:
    """Raise an error if ``on_takeover`` is async, in a blocking call.

    Raises
    ------
    IdempotencyConfigError
        It is. Nothing ran.
    """
    if is_async(on_takeover):
        raise IdempotencyConfigError(
            f"on_takeover is async: run cannot await {name_of(on_takeover)}. Await arun instead. Nothing ran."
        )


def _require_function(on_takeover: Any, must: str) -> None:
    """Raise an error for what is not a function with one answer."""
    if isinstance(on_takeover, str):
        raise IdempotencyConfigError(
            f"on_takeover={on_takeover!r} is set in IdempotencyConfig. Here it is a function that finds out "
            "whether the operation has happened."
        )
    if not callable(on_takeover) or inspect.isclass(on_takeover):
        raise IdempotencyConfigError(f"on_takeover {must}, not {on_takeover!r}.")
    for each in (on_takeover, getattr(on_takeover, "func", None)):
        if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
            raise IdempotencyConfigError(
                f"on_takeover is a generator, which has no single answer: {name_of(on_takeover)}. Return the "
                "result, or NOT_DONE."
            )
