"""The configuration is checked when it is created, and cannot be changed afterwards."""

import copy
import hashlib
import inspect
import time
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any, Never

import jmespath
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from idemproof.backends.clock import wall_clock_ms
from idemproof.errors import IdempotencyConfigError
from idemproof.reference.config import IdempotencyConfig, remaining_ms
from idemproof.reference.jmespath_functions import PowertoolsFunctions


def test_the_defaults_are_the_documented_ones() -> None:
    config = IdempotencyConfig()
    assert config.event_key_jmespath == ""
    assert config.payload_validation_jmespath == ""
    assert config.jmespath_options is None
    assert config.raise_on_no_idempotency_key is False
    assert config.expires_after_seconds == 3600
    assert config.use_local_cache is False
    assert config.local_cache_max_items == 256
    assert config.hash_function == "md5"
    assert config.lambda_context is None
    assert config.response_hook is None
    assert config.in_progress_expires_after_seconds is None
    assert config.clock is wall_clock_ms


def test_positional_arguments_keep_the_documented_order() -> None:
    options = {"dict_cls": OrderedDict}
    context = object()
    config = IdempotencyConfig("a", "b", options, True, 60, True, 10, "sha256", context, print)
    assert (config.event_key_jmespath, config.payload_validation_jmespath) == ("a", "b")
    assert config.jmespath_options is options
    assert config.raise_on_no_idempotency_key is True
    assert config.expires_after_seconds == 60
    assert (config.use_local_cache, config.local_cache_max_items) == (True, 10)
    assert config.hash_function == "sha256"
    assert config.lambda_context is context
    assert config.response_hook is print


@pytest.mark.parametrize("name", ["in_progress_expires_after_seconds", "clock"])
def test_what_is_new_is_keyword_only(name: Any) -> None:
    assert inspect.signature(IdempotencyConfig).parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


NAN = float("nan")
REFUSED = [
    ("event_key_jmespath", 7),
    ("event_key_jmespath", "body["),
    ("event_key_jmespath", "a..b"),
    ("event_key_jmespath", "'open"),
    ("event_key_jmespath", " "),
    ("event_key_jmespath", "powertools_jsno(body)"),
    ("payload_validation_jmespath", "amount]"),
    ("payload_validation_jmespath", "items[?price > to_nmuber('1')]"),
    ("jmespath_options", []),
    ("jmespath_options", {"functions": PowertoolsFunctions()}),
    ("jmespath_options", {1: 2}),
    ("jmespath_options", {"custom_functions": PowertoolsFunctions}),
    ("jmespath_options", {"custom_functions": 1}),
    ("jmespath_options", {"dict_cls": 1}),
    ("raise_on_no_idempotency_key", "false"),
    ("raise_on_no_idempotency_key", "0"),
    ("raise_on_no_idempotency_key", "maybe"),
    ("expires_after_seconds", 0),
    ("expires_after_seconds", -1),
    ("expires_after_seconds", 0.0),
    ("expires_after_seconds", NAN),
    ("expires_after_seconds", float("inf")),
    ("expires_after_seconds", True),
    ("expires_after_seconds", "60"),
    ("expires_after_seconds", None),
    ("expires_after_seconds", 10**11 + 1),
    ("use_local_cache", "no"),
    ("use_local_cache", " "),
    ("local_cache_max_items", -5),
    ("local_cache_max_items", 2.0),
    ("local_cache_max_items", True),
    ("hash_function", "md6"),
    ("hash_function", "new"),
    ("hash_function", "algorithms_available"),
    ("hash_function", "shake_128"),
    ("hash_function", "shake_256"),
    ("hash_function", None),
    ("hash_function", hashlib.md5),
    ("hash_function", []),
    ("response_hook", "hook"),
    ("in_progress_expires_after_seconds", 0),
    ("in_progress_expires_after_seconds", -0.5),
    ("in_progress_expires_after_seconds", NAN),
    ("in_progress_expires_after_seconds", False),
    ("in_progress_expires_after_seconds", "1"),
    ("clock", None),
    ("clock", 1_700_000_000_000),
    ("clock", time.time),
    ("clock", bool),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=lambda value: str(value)[:30])
def test_a_value_that_cannot_work_is_refused_by_name(name: Any, value: Any) -> None:
    with pytest.raises(IdempotencyConfigError) as refusal:
        IdempotencyConfig(**{name: value})
    assert name in str(refusal.value)


@pytest.mark.parametrize("name", ["event_key_jmespath", "payload_validation_jmespath"])
def test_none_is_no_expression(name: Any) -> None:
    assert getattr(IdempotencyConfig(**{name: None}), name) == ""


@pytest.mark.parametrize("name", ["raise_on_no_idempotency_key", "use_local_cache"])
@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (1, True),
        (0, False),
        (None, False),
        (0.0, False),
        ("1", True),
        ("True", True),
        ("", False),
        ([], False),
    ],
)
def test_truth_counts_in_a_flag(name: Any, value: Any, meant: bool) -> None:
    assert getattr(IdempotencyConfig(**{name: value}), name) is meant


@pytest.mark.parametrize("size", [0, None])
def test_a_cache_that_is_off_needs_no_size(size: Any) -> None:
    assert IdempotencyConfig(local_cache_max_items=size).use_local_cache is False
    with pytest.raises(IdempotencyConfigError, match="local_cache_max_items"):
        IdempotencyConfig(local_cache_max_items=size, use_local_cache=True)


@pytest.mark.parametrize("hook", [None, False, 0, ""])
def test_a_hook_that_is_false_is_none(hook: Any) -> None:
    assert IdempotencyConfig(response_hook=hook).response_hook is None


def test_a_refusal_is_a_value_error_that_says_value_and_what_is_allowed() -> None:
    with pytest.raises(ValueError) as refusal:
        IdempotencyConfig(expires_after_seconds=-3)
    message = str(refusal.value)
    assert "-3 (int)" in message
    assert "above 0" in message


def test_an_unknown_hash_is_refused_with_the_known_ones() -> None:
    with pytest.raises(IdempotencyConfigError, match=r"md5.*sha256.*'crc32'"):
        IdempotencyConfig(hash_function="crc32")


def test_a_bad_expression_is_shown_with_its_position() -> None:
    with pytest.raises(IdempotencyConfigError, match=r"'body\.\[a, b' .*at position 10"):
        IdempotencyConfig(event_key_jmespath="body.[a, b")


def test_an_unknown_function_in_an_expression_is_named() -> None:
    with pytest.raises(IdempotencyConfigError, match=r"calls powertools_jsno\(\).*powertools_json"):
        IdempotencyConfig(event_key_jmespath="items[1:2].[powertools_jsno(body)]")


@settings(deadline=None)
@example("``")
@given(st.text(max_size=12) | st.text(alphabet="ab[]{}().,:*?&|!<=>`'\"@ 0-\\", max_size=12))
def test_any_text_is_either_an_expression_or_refused(text: str) -> None:
    try:
        config = IdempotencyConfig(event_key_jmespath=text)
    except IdempotencyConfigError as refusal:
        assert "event_key_jmespath" in str(refusal)  # noqa: PT017 - both outcomes are fine
    else:
        assert (config.key_expression is None) == (text == "")


@pytest.mark.parametrize("window", [1, 0.001, 3600, 86400.5, 10**11])
def test_windows_above_zero_are_accepted(window: Any) -> None:
    config = IdempotencyConfig(expires_after_seconds=window, in_progress_expires_after_seconds=window)
    assert config.expires_after_seconds == window
    assert config.in_progress_expires_after_seconds == window


FIXED_HASHES = sorted(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake_"))


@pytest.mark.parametrize("name", FIXED_HASHES)
def test_every_hash_of_fixed_length_is_ready_for_use(name: Any) -> None:
    assert IdempotencyConfig(hash_function=name).digest(b"data") == hashlib.new(name, b"data").hexdigest()


def test_the_digest_says_that_no_security_hangs_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIPS build refuses md5 otherwise."""
    real = hashlib.md5

    def strict(data: bytes = b"", *, usedforsecurity: bool = True) -> Any:
        if usedforsecurity:
            raise ValueError("disabled for FIPS")
        return real(data, usedforsecurity=False)

    monkeypatch.setattr(hashlib, "md5", strict)
    assert IdempotencyConfig().digest(b"x") == real(b"x").hexdigest()


def test_a_hash_that_this_python_refuses_is_reported_when_the_configuration_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusing(data: Any = b"", *, usedforsecurity: Any = True) -> Never:
        raise ValueError("unsupported hash type")

    monkeypatch.setattr(hashlib, "md5", refusing)
    with pytest.raises(IdempotencyConfigError, match="'md5' is not available"):
        IdempotencyConfig()


@pytest.mark.parametrize(
    "name",
    [
        "event_key_jmespath",
        "expires_after_seconds",
        "hash_function",
        "use_local_cache",
        "clock",
        "digest",
        "new",
    ],
)
def test_a_configuration_cannot_be_changed(name: Any) -> None:
    with pytest.raises(AttributeError, match="make another config"):
        setattr(IdempotencyConfig(), name, "x")


def test_a_setting_cannot_be_deleted() -> None:
    with pytest.raises(AttributeError, match="make another config"):
        del IdempotencyConfig().hash_function


def test_the_lambda_context_can_be_set_and_registered() -> None:
    config = IdempotencyConfig()
    config.lambda_context = first = object()
    assert config.lambda_context is first
    config.register_lambda_context(second := object())
    assert config.lambda_context is second


def test_a_copy_is_a_configuration_too() -> None:
    config = IdempotencyConfig(event_key_jmespath="a")
    assert copy.copy(config).event_key_jmespath == "a"
    assert "event_key_jmespath='a'" in repr(copy.deepcopy(config))


def test_the_powertools_functions_stay_when_other_options_are_given() -> None:
    config = IdempotencyConfig("powertools_json(body)", jmespath_options={"dict_cls": OrderedDict})
    assert config.key_expression.search({"body": "[1]"}, config.search_options) == [1]


def test_custom_functions_replace_the_built_in_ones() -> None:
    class Shouting(jmespath.functions.Functions):
        @jmespath.functions.signature({"types": ["string"]})
        def _func_shout(self, text: str) -> str:
            return text.upper()

    options = {"custom_functions": Shouting()}
    config = IdempotencyConfig("shout(name)", jmespath_options=options)
    assert config.key_expression.search({"name": "x"}, config.search_options) == "X"
    with pytest.raises(IdempotencyConfigError, match="powertools_json"):
        IdempotencyConfig("powertools_json(name)", jmespath_options=options)


def test_functions_of_another_make_are_taken_on_trust() -> None:
    functions = SimpleNamespace(call_function=lambda name, arguments: name)
    config = IdempotencyConfig("anything(a)", jmespath_options={"custom_functions": functions})
    assert config.key_expression.search({"a": 1}, config.search_options) == "anything"


@pytest.mark.parametrize(
    "expression",
    ["powertools_json(packed)", "powertools_base64(packed)", "powertools_base64_gzip(packed)"],
)
def test_the_unpacking_functions_want_a_string(expression: str) -> None:
    config = IdempotencyConfig(expression)
    with pytest.raises(jmespath.exceptions.JMESPathTypeError):
        config.key_expression.search({"packed": 1}, config.search_options)


@pytest.mark.parametrize(
    ("expression", "packed", "opened"),
    [
        ("powertools_json(@).a", '{"a": [1, null]}', [1, None]),
        ("powertools_base64(@)", "w6TDtg==", "äö"),
        ("powertools_base64_gzip(@)", "H4sIAAAAAAAC/8tIzcnJBwCGphA2BQAAAA==", "hello"),
    ],
)
def test_the_unpacking_functions_open_what_they_are_named_for(
    expression: str, packed: str, opened: Any
) -> None:
    config = IdempotencyConfig(expression)
    assert config.key_expression.search(packed, config.search_options) == opened


@pytest.mark.parametrize(("answer", "milliseconds"), [(0, 0), (900, 900), (12.9, 12), (-3, -3)])
def test_the_remaining_time_is_a_whole_number_of_milliseconds(answer: Any, milliseconds: Any) -> None:
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: answer)
    assert remaining_ms(context) == milliseconds


@pytest.mark.parametrize("context", [None, object(), SimpleNamespace(get_remaining_time_in_millis=5)])
def test_a_context_that_does_not_know_has_no_remaining_time(context: Any) -> None:
    assert remaining_ms(context) is None


@pytest.mark.parametrize("answer", [None, "900", True, NAN, float("inf"), object()])
def test_a_remaining_time_that_is_no_number_is_refused(answer: Any) -> None:
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: answer)
    with pytest.raises(IdempotencyConfigError, match="get_remaining_time_in_millis"):
        remaining_ms(context)
