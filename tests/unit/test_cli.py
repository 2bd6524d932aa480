"""``flask portkey-files providers``: what every provider can do, as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest
from click.testing import Result
from flask import Flask

from flask_portkey_files import Operation, create_blueprint
from flask_portkey_files.providers import Capabilities, Expiry, Provider, registry
from flask_portkey_files.providers.capabilities import OPENAI_EXPIRY
from flask_portkey_files.providers.table import as_json, markdown, rows, text

Invoke = Callable[..., Result]

OPERATIONS = [operation.value for operation in Operation]


class Fake(Provider):
    """A provider with nothing but capabilities."""

    def __init__(self, **known: object) -> None:
        self.capabilities = Capabilities(**known)  # type: ignore[arg-type]


FAKES: Mapping[str, Provider] = {
    "all": Fake(expiry=OPENAI_EXPIRY),
    "some": Fake(
        operations=frozenset({Operation.UPLOAD, Operation.LIST}),
        purposes=("batch", "fine-tune"),
        expiry=Expiry(field="ttl", least=90, most=7200, unit=90),
        max_bytes=512 * 1024**2,
        note="One | two.",
    ),
}


def invoke_in(app: Flask) -> Invoke:
    def invoke(*arguments: str) -> Result:
        args = ["portkey-files", "providers", *arguments]
        return app.test_cli_runner().invoke(args=args)

    return invoke


@pytest.fixture
def invoke() -> Invoke:
    app = Flask(__name__)
    own: dict[str, Provider | str] = {"own": "https://files.example/v1", "some": FAKES["some"]}
    app.register_blueprint(create_blueprint(providers=own), url_prefix="/v1")
    return invoke_in(app)


class TestCommand:
    def test_prints_all_providers_as_text(self, invoke: Invoke) -> None:
        result = invoke()
        assert result.exit_code == 0
        lines = result.output.splitlines()
        assert lines[0].split() == ["provider", *OPERATIONS]
        listed = [line.split()[0] for line in lines[1:] if not line.startswith(" ")]
        assert listed == [*registry(), "own", "some"]

    @pytest.mark.parametrize(
        ("arguments", "form"),
        [
            ([], text),
            (["--format", "text"], text),
            (["--format", "markdown"], markdown),
            (["--format", "json"], as_json),
            (["--json"], as_json),
        ],
    )
    def test_prints_what_is_named_in_that_order(
        self, invoke: Invoke, arguments: list[str], form: Callable[..., str]
    ) -> None:
        result = invoke(*arguments, "some", "anthropic")
        assert result.exit_code == 0
        known = registry()
        assert result.output == form({"some": FAKES["some"], "anthropic": known["anthropic"]})
        assert result.output.endswith("\n")
        assert not result.output.endswith("\n\n")

    def test_the_last_format_counts(self, invoke: Invoke) -> None:
        assert json.loads(invoke("--format", "text", "--json", "own").output).keys() == {"own"}
        assert invoke("--json", "--format", "text", "own").output.startswith("provider")

    def test_a_name_that_is_none(self, invoke: Invoke) -> None:
        result = invoke("openai", "opneai")
        assert result.exit_code == 2
        assert "There is no provider 'opneai'" in result.output
        assert ", own, some." in result.output

    def test_a_format_that_is_none(self, invoke: Invoke) -> None:
        result = invoke("--format", "yaml")
        assert result.exit_code == 2

    def test_help(self, invoke: Invoke) -> None:
        result = invoke("--help")
        assert result.exit_code == 0
        assert "Print what each provider's files API can do" in result.output

    def test_stands_in_the_applications_own_commands(self) -> None:
        app = Flask(__name__)
        app.register_blueprint(create_blueprint(), url_prefix="/v1")
        result = app.test_cli_runner().invoke(args=["portkey-files", "--help"])
        assert result.exit_code == 0
        assert "providers  Print what" in result.output


class TestText:
    def test_has_the_details_below_each_provider(self) -> None:
        assert text(FAKES) == (
            "provider  upload  list  retrieve  content  delete\n"
            "all       yes     yes   yes       yes      yes\n"
            "    purposes: any\n"
            "    expires_after: passed on\n"
            "some      yes     yes   no        no       no\n"
            "    purposes: batch, fine-tune\n"
            "    expires_after: `ttl`, 90 s to 2 h\n"
            "    largest file: 512 MiB\n"
            "    note: One | two.\n"
        )

    def test_of_no_providers(self) -> None:
        assert text({}).split() == ["provider", *OPERATIONS]


class TestMarkdown:
    def test_is_a_table(self) -> None:
        heading, rule, every, some = markdown(FAKES).splitlines()
        columns = ["provider", *OPERATIONS, "purposes", "expires_after", "largest file", "note"]
        assert heading == f"| {' | '.join(columns)} |"
        assert rule == f"| {' | '.join(['---'] * len(columns))} |"
        assert every == "| `all` | yes | yes | yes | yes | yes | any | passed on |  |  |"
        assert some == (
            "| `some` | yes | yes | no | no | no | batch, fine-tune | `ttl`, 90 s to 2 h "
            "| 512 MiB | One \\| two. |"
        )

    def test_each_row_of_the_registry_is_one_line(self) -> None:
        known = registry()
        lines = markdown(known).splitlines()
        assert len(lines) == len(known) + 2
        assert {line.replace("\\|", "").count("|") for line in lines} == {11}
        assert [len(row) for row in rows(known)] == [10] * len(known)


class TestJSON:
    def test_has_the_capabilities(self) -> None:
        table = json.loads(as_json(FAKES))
        assert table["all"] == {
            "operations": OPERATIONS,
            "purposes": None,
            "expires_after": {
                "field": "expires_after",
                "least": None,
                "most": None,
                "unit": 1,
            },
            "max_bytes": None,
            "note": "",
        }
        some = table["some"]
        assert some["operations"] == ["upload", "list"]
        assert some["purposes"] == ["batch", "fine-tune"]
        expected = {"field": "ttl", "least": 90, "most": 7200}
        assert some["expires_after"].items() >= expected.items()
        assert some["max_bytes"] == 512 * 1024**2

    def test_says_of_each_provider_what_its_capabilities_do(self) -> None:
        known = registry()
        table = json.loads(as_json(known))
        assert list(table) == list(known)
        for name, provider in known.items():
            told = {Operation(value) for value in table[name]["operations"]}
            assert told == provider.capabilities.operations
            assert (table[name]["expires_after"] is None) == (
                provider.capabilities.expiry is None
            )


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (2 * 1024**3, "2 GiB"),
        (1024**3 * 3 // 2, "1.5 GiB"),
        (5 * 10**9, "5000 MB"),
        (5 * 1024**4, "5 TiB"),
        (80_000 * 1024**2, "78.125 GiB"),
        (100 * 1024**2, "100 MiB"),
        (150_000_000, "150 MB"),
        (1000, "1000 bytes"),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    [row] = rows({"one": Fake(max_bytes=count)})
    assert row[-2] == shown


@pytest.mark.parametrize(
    ("expiry", "shown"),
    [
        (None, "refused"),
        (OPENAI_EXPIRY, "passed on"),
        (Expiry(least=3600, most=90 * 86400), "`expires_after`, 1 h to 90 d"),
        (Expiry(field="ttl", least=61, most=86400), "`ttl`, 61 s to 1 d"),
    ],
)
def test_expiries(expiry: Expiry | None, shown: str) -> None:
    [row] = rows({"one": Fake(expiry=expiry)})
    assert row[-3] == shown
