"""``idemproof records``, against stores of every kind, with its exit codes."""

import json
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import postgres
import servers
from command_lines import runner
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    Idempotency,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    PostgresPersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.backends.clock import wall_clock_ms
from idemproof.backends.listing import stored_keys
from idemproof.cli.app import app
from idemproof.spec.record import INPROGRESS
from places import recent_sdk

DONE, NONE, UNASKED, REFUSED = 0, 1, 2, 3


def run(*arguments: str, **options: Any) -> Result:
    return runner().invoke(app, ["records", *arguments], **options)


class Store:
    """A layer, and how the command line names its store."""

    def __init__(self, layer: Any, *options: str) -> None:
        self.layer = layer
        self.options = options

    def run(self, command: str, *arguments: str, **options: Any) -> Result:
        return run(command, *arguments, *self.options, **options)

    def claim(self, key: str, lease_ms: int | None = 60_000) -> None:
        now = wall_clock_ms()
        lease = None if lease_ms is None else now + lease_ms
        self.layer._swap(key, None, Record(key, INPROGRESS, now // 1000 + 600, lease, owner="w1"), 600_000)


IN_MEMORY = InMemoryPersistenceLayer()


@pytest.fixture(params=["sqlite", "postgres", "redis", "layer"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "sqlite":
        path = tmp_path / "records.db"
        layer = SQLitePersistenceLayer(path)
        layer._load("opened")
        yield Store(layer, "--store", f"sqlite:///{path}")
        layer.close()
    elif request.param == "postgres":
        database: postgres.PostgreSQL = request.getfixturevalue("postgres_server")
        dsn = database.create_database(f"of_commands_{uuid.uuid4().hex}")
        in_table = PostgresPersistenceLayer(dsn)
        in_table.create_table()
        yield Store(in_table, "--store", dsn)
        in_table.close()
    elif request.param == "redis":
        server: servers.Server = request.getfixturevalue("valkey_server")
        url = f"redis://{servers.HOST}:{server.port}/0"
        client = RedisCachePersistenceLayer(url=url)
        client.client.flushdb()
        yield Store(client, "--store", url)
        client.close()
    else:
        IN_MEMORY._records.clear()
        monkeypatch.syspath_prepend(Path(__file__).parent)
        yield Store(IN_MEMORY, "--layer", f"{__name__}:IN_MEMORY")


class TestCommands:
    def test_a_result_is_shown_and_forgotten(self, store: Store) -> None:
        @idempotent_function(data_keyword_argument="order", persistence_store=store.layer)
        def pay(order: int) -> dict[str, int]:
            return {"charged": order}

        pay(7)
        key = pay.idempotency.key(7)
        shown = store.run("show", key)
        assert shown.exit_code == DONE
        assert "COMPLETED, until 20" in shown.output
        assert "result        14 characters; --with-result prints it" in shown.output
        assert "charged" not in shown.output
        assert 'result        {"charged": 7}' in store.run("show", key, "--with-result").output
        assert "response_data" not in json.loads(store.run("show", key, "--json").output)
        fields = json.loads(store.run("show", key, "--json", "--with-result").output)
        assert (fields["idempotency_key"], fields["response_data"]) == (key, '{"charged": 7}')
        forgotten = store.run("forget", key)
        assert (forgotten.exit_code, forgotten.output.splitlines()[0]) == (DONE, f"Forgotten: {key}")
        assert "charged" not in forgotten.output
        assert "runs the operation, even if its effect has happened" in forgotten.output
        assert pay.idempotency.inspect(7) is None

    def test_where_nothing_stands(self, store: Store) -> None:
        for arguments in (("show",), ("forget",), ("resolve", "--result", "1")):
            done = store.run(arguments[0], "nothing", *arguments[1:])
            assert done.exit_code == NONE
            assert done.stderr == "No record has the key 'nothing'.\n"

    def test_a_live_claim_is_refused_unless_told_otherwise(self, store: Store) -> None:
        store.claim("k")
        assert "INPROGRESS, until" in store.run("show", "k").output
        refused = store.run("forget", "k")
        assert refused.exit_code == REFUSED
        assert "in progress" in refused.stderr
        assert store.run("forget", "k", "--even-in-progress").exit_code == DONE

    def test_what_is_stuck_gets_its_result_once(self, store: Store) -> None:
        store.claim("k", -1)
        assert "which is over" in store.run("show", "k").output
        resolved = store.run(
            "resolve", "k", "--result", '{"b": 1, "a": [2]}', "--expires-after-seconds", "60"
        )
        assert resolved.exit_code == DONE
        record = store.layer._load("k")
        assert record.response_data == '{"a": [2], "b": 1}'  # as a returned result is stored
        assert 0 < record.expiry_timestamp * 1000 - wall_clock_ms() <= 62_000
        assert store.run("resolve", "k", "--result", '{"a": [2], "b": 1}').exit_code == DONE
        other = store.run("resolve", "k", "--result", "5")
        assert other.exit_code == REFUSED
        assert "not replaced" in other.stderr

    def test_a_result_may_come_from_the_standard_input(self, store: Store) -> None:
        store.claim("k")
        assert store.run("resolve", "k", "--result", "-", input='"done"\n').exit_code == DONE
        assert store.layer._load("k").response_data == '"done"'

    def test_the_service_s_name_is_no_part_of_a_stored_key(self, store: Store, monkeypatch: Any) -> None:
        monkeypatch.setenv("IDEMPROOF_SERVICE", "shop")
        store.claim("k")
        assert store.run("show", "k").exit_code == DONE

    def test_a_final_error_is_shown_without_its_arguments(self, store: Store) -> None:
        config = IdempotencyConfig(final_errors=(ConnectionRefusedError,))
        core = Idempotency(store.layer, config)

        def decline() -> None:
            raise ConnectionRefusedError("secret")

        with pytest.raises(ConnectionRefusedError):
            core.run("k", decline)
        shown = store.run("show", "k")
        assert "the final error builtins.ConnectionRefusedError; --with-result" in shown.output
        assert "secret" not in shown.output
        assert "secret" in store.run("show", "k", "--with-result").output

    def test_keys_are_listed_with_a_limit_and_a_prefix(self, store: Store) -> None:
        assert store.run("list").exit_code == NONE
        for key in ("a*1", "a*2", "ab", "ключ\n"):
            store.claim(key, -1 if key == "ab" else 60_000)
        everything = store.run("list")
        assert everything.exit_code == DONE
        lines = sorted(everything.stdout.splitlines())
        assert [line.split("  ")[0] for line in lines] == ["'ключ\\n'", "a*1", "a*2", "ab"]
        assert "INPROGRESS, until 2" in lines[1]
        assert lines[3].endswith(", which is over")
        starred = store.run("list", "--prefix", "a*", "--json")
        fields = [json.loads(line) for line in starred.stdout.splitlines()]
        assert [each["idempotency_key"] for each in fields] == ["a*1", "a*2"]
        assert "response_data" not in fields[0]
        few = store.run("list", "--limit", "2")
        assert len(few.stdout.splitlines()) == 2
        assert "There are more than 2 keys." in few.stderr
        none = store.run("list", "--prefix", "nothing")
        assert (none.exit_code, none.stdout) == (NONE, "")


def test_keys_of_other_software_are_counted(valkey_server: servers.Server) -> None:
    url = f"redis://{servers.HOST}:{valkey_server.port}/0"
    layer = RedisCachePersistenceLayer(url=url)
    layer.client.flushdb()
    layer.client.set("foreign", "no record")
    layer.client.rpush("queue", "1")
    Store(layer).claim("k")
    listed = run("list", "--store", url)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["k"]
    assert "2 of the keys have no valid record" in listed.stderr
    layer.close()


def test_the_options_of_earlier_releases_still_name_a_store(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    layer = SQLitePersistenceLayer(path)
    Store(layer).claim("k")
    assert run("show", "k", "--sqlite", str(path)).exit_code == DONE
    layer.close()


def test_a_path_may_be_relative_and_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layer = SQLitePersistenceLayer(tmp_path / "our records.db")
    Store(layer).claim("k")
    assert run("show", "k", "--store", "sqlite:///our%20records.db").exit_code == DONE
    layer.close()


@pytest.mark.parametrize(
    "url",
    [
        *("", "records.db", "sqlite://records.db", "sqlite:///", "mysql://host/db", "dynamodb://"),
        *("dynamodb://table/other", "sqlite:///a.db?mode=ro", "sqlite:records.db", "redis:localhost"),
    ],
)
def test_an_unknown_url_is_refused(url: str) -> None:
    done = run("show", "k", "--store", url)
    assert done.exit_code == UNASKED
    assert "--store must be sqlite:///FILE, postgresql://HOST/DATABASE, redis://HOST" in done.stderr


def test_a_password_in_a_wrong_url_is_not_shown() -> None:
    done = run("show", "k", "--store", "mysql://user:secret@host/db")
    assert done.exit_code == UNASKED
    assert "secret" not in done.stderr


def test_a_layer_that_cannot_list_is_refused(monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    done = run("list", "--layer", f"{__name__}:ASYNC")
    assert done.exit_code == UNASKED
    assert "cannot be listed" in done.stderr


ASYNC = AsyncInMemoryPersistenceLayer()


class TestRefusals:
    def test_one_store_has_to_be_named(self, tmp_path: Path) -> None:
        for options in ((), ("--sqlite", "a", "--redis", "b")):
            done = run("show", "k", *options)
            assert (done.exit_code, done.stderr.split(":")[0]) == (UNASKED, "Name one store")

    def test_no_file_is_made(self, tmp_path: Path) -> None:
        path = tmp_path / "no.db"
        done = run("show", "k", "--sqlite", str(path))
        assert (done.exit_code, path.exists()) == (UNASKED, False)
        assert "There is no file" in done.stderr

    def test_a_file_that_is_none_of_sqlite(self, tmp_path: Path) -> None:
        path = tmp_path / "text.db"
        path.write_text("no database " * 100, encoding="utf-8")
        assert run("show", "k", "--sqlite", str(path)).exit_code == UNASKED

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            ("nowhere:layer", "no module"),
            ("json:dumps", "dumps"),
            ("json", "module:"),
            ("math:pi", "neither a persistence"),
        ],
    )
    def test_what_is_no_layer(self, target: str, said: str) -> None:
        done = run("show", "k", "--layer", target)
        assert done.exit_code == UNASKED
        assert said in done.stderr

    def test_a_server_that_is_not_there(self, port_of_nobody: int) -> None:
        done = run("show", "k", "--redis", f"redis://:secret@127.0.0.1:{port_of_nobody}/0")
        assert done.exit_code == UNASKED
        assert "secret" not in done.stderr

    @pytest.mark.parametrize("result", ["{oops", "[" * 100_000], ids=["no JSON", "too deep"])
    def test_a_result_that_is_no_json(self, result: str) -> None:
        done = run("resolve", "k", "--result", result, "--layer", "x:y")
        assert done.exit_code == UNASKED
        assert "--result must be JSON" in done.stderr

    def test_an_empty_key(self, monkeypatch: Any) -> None:
        monkeypatch.syspath_prepend(Path(__file__).parent)
        done = run("show", "", "--layer", f"{__name__}:IN_MEMORY")
        assert (done.exit_code, "must not be empty" in done.stderr) == (UNASKED, True)


def test_async_layers_and_functions_that_return_layers(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "async_shop_layers.py").write_text(
        textwrap.dedent(
            """
            import asyncio
            from idemproof import AsyncInMemoryPersistenceLayer, Record
            layer = AsyncInMemoryPersistenceLayer()
            asyncio.run(layer._swap("k", None, Record("k", "INPROGRESS", 4102444800, owner="w1"), 1000))
            def make():
                return layer
            """
        ),
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    for target in ("async_shop_layers:layer", "async_shop_layers:make"):
        assert run("show", "k", "--layer", target).exit_code == DONE
    assert run("forget", "k", "--layer", target).exit_code == REFUSED
    assert run("resolve", "k", "--result", "1", "--layer", target).exit_code == DONE
    assert run("forget", "k", "--layer", target).exit_code == DONE


@recent_sdk
def test_a_table_is_asked_as_the_layer_would(dynamodb_server: servers.Server, monkeypatch: Any) -> None:
    from idemproof import DynamoDBPersistenceLayer  # noqa: PLC0415 - needs its extra

    for name, value in servers_environment(dynamodb_server).items():
        monkeypatch.setenv(name, value)
    layer = DynamoDBPersistenceLayer("records-of-the-command-line")
    layer.create_table()
    store = Store(layer, "--store", "dynamodb://records-of-the-command-line")
    store.claim("k", -1)
    assert store.run("show", "k").exit_code == DONE
    assert store.run("resolve", "k", "--result", "1").exit_code == DONE
    assert store.run("forget", "k").exit_code == DONE
    assert store.run("show", "k").exit_code == NONE
    for name in ("k1", "k2", "other"):
        store.claim(name)
    listed = store.run("list", "--prefix", "k")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["k1", "k2"]
    composite = DynamoDBPersistenceLayer(
        "composite-records-of-the-command-line", key_attr="pk", sort_key_attr="sk", static_pk_shards=3
    )
    composite.create_table()
    for number in range(12):
        Store(composite).claim(f"k{number}")
    assert stored_keys(composite, "k1", 10) == ["k1", "k10", "k11"]
    assert len(stored_keys(composite, "", 5)) == 5
    missing = run("list", "--store", "dynamodb://no-such-table")
    assert missing.exit_code == UNASKED
    assert "could not be listed" in missing.stderr


def servers_environment(server: servers.Server) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://{servers.HOST}:{server.port}",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
