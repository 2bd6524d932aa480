"""Imports point downward, and only where they are meant to."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flask_portkey_files

PACKAGE = Path(flask_portkey_files.__file__).parent
NAME = "flask_portkey_files"

#: From the ground up; a module may import those above it in this list, and none below.
ORDER = [
    "errors",
    "settings",
    "redaction",
    "allocator",
    "headers",
    "origin",
    "call",
    "routes",
    "conditions",
    "routing",
    "form",
    "digest",
    "signals",
    "access",
    "otel",
    "prometheus",
    "identity",
    "aws",
    "gcp",
    "providers.capabilities",
    "providers.expiry",
    "providers.handed",
    "providers.base",
    "providers.shape",
    "providers.paging",
    "providers.reshaping",
    "providers.objects",
    "providers.openai",
    "providers.service",
    "providers.services",
    "providers.anthropic",
    "providers.azure",
    "providers.azure_ai",
    "providers.bedrock",
    "providers.cohere",
    "providers.fireworks_ai",
    "providers.google",
    "providers.mistral_ai",
    "providers.openrouter",
    "providers.replicate",
    "providers.together_ai",
    "providers.vertex_ai",
    "providers.x_ai",
    "providers",
    "providers.table",
    "config",
    "resolver",
    "backoff",
    "deadline",
    "egress",
    "pace",
    "body",
    "spool",
    "uwsgi",
    "boundary",
    "multipart",
    "progress",
    "response",
    "encoder",
    "connection",
    "transport",
    "journey",
    "idempotency",
    "idempotency.entry",
    "idempotency.store",
    "idempotency.sqlite",
    "idempotency.redis",
    "idempotency.scope",
    "idempotency.watch",
    "idempotency.search",
    "idempotency.once",
    "relay",
    "openapi.codes",
    "openapi.schemas",
    "openapi.parameters",
    "openapi.upload",
    "openapi.examples",
    "openapi.responses",
    "openapi",
    "cli.openapi",
    "manager",
    "cli.providers",
    "cli.period",
    "cli.output",
    "cli.findings",
    "cli.bar",
    "cli.wsgi",
    "cli.connection",
    "cli.listing",
    "cli.upload",
    "cli.download",
    "cli.removal",
    "cli.inside",
    "cli.reach",
    "cli.outside",
    "cli.check",
    "cli",
    "blueprint",
    "",
    "__main__",
    "testing.store",
    "testing.server",
    "testing.embedded",
    "testing.faults",
    "testing.upstream",
    "testing",
    "testing.pytest_plugin",
    "testing.__main__",
]

#: Who else's packages may be imported where; the standard library may everywhere.
OUTSIDE = {
    "azure": {"identity"},
    "blinker": {"signals"},
    "boto3": {"aws"},
    "botocore": {"aws"},
    "click": {
        "cli.check",
        "cli.connection",
        "cli.download",
        "cli.findings",
        "cli.listing",
        "cli.openapi",
        "cli.output",
        "cli.period",
        "cli.providers",
        "cli.removal",
        "cli.upload",
    },
    "google": {"gcp"},
    "filelock": {"idempotency.sqlite"},
    "flask": {
        "__main__",
        "cli",
        "cli.check",
        "cli.connection",
        "cli.download",
        "cli.listing",
        "cli.openapi",
        "cli.reach",
        "cli.removal",
        "cli.upload",
        "access",
        "otel",
        "prometheus",
        "progress",
        "response",
        "idempotency.once",
        "relay",
        "manager",
        "blueprint",
        "testing.server",
    },
    "multipart": {"testing.server"},
    "opentelemetry": {"otel"},
    "prometheus_client": {"prometheus"},
    "pytest": {"testing.pytest_plugin"},
    "redis": {"idempotency.redis"},
    "requests": {"cli.connection", "cli.download", "cli.wsgi", "transport"},
    "requests_toolbelt": {"encoder"},
    "rich": {"cli.bar"},
    "urllib3": {
        "cli.connection",
        "cli.download",
        "cli.wsgi",
        "connection",
        "egress",
        "encoder",
        "transport",
    },
}
#: What takes long to import, or only some need: the package alone brings none of it.
LATER = {
    "asyncio",
    "azure",
    "boto3",
    "botocore",
    "filelock",
    "google.auth",
    "multipart",
    "opentelemetry",
    "prometheus_client",
    "redis",
    "rich",
    f"{NAME}.manager",
    f"{NAME}.openapi",
    f"{NAME}.testing",
}
IO = {"socket", "ssl", "http", "urllib.request", "subprocess", "asyncio"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports."""
    package = [NAME, *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            found.add(".".join([*base, *([node.module] if node.module else [])]))
    return found


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def test_every_module_has_its_place() -> None:
    assert sorted(FILES) == sorted(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_downward(module: str) -> None:
    below = set(ORDER[: ORDER.index(module)])
    own = {
        name.removeprefix(NAME).removeprefix(".")
        for name in imports(FILES[module])
        if name == NAME or name.startswith(f"{NAME}.")
    }
    assert own <= below


@pytest.mark.parametrize("module", ORDER)
def test_outside_packages_stay_where_they_belong(module: str) -> None:
    for name in imports(FILES[module]):
        top = name.partition(".")[0]
        assert module in OUTSIDE.get(top, {module}), f"{module or NAME} imports {name}"


@pytest.mark.parametrize("module", [m for m in ORDER if m.startswith("providers")])
def test_providers_do_no_io(module: str) -> None:
    assert not {name for name in imports(FILES[module]) if name in IO}


def test_what_only_some_need_is_imported_later() -> None:
    code = f"import sys, {NAME}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert NAME in done.stdout.split()
    assert not LATER & set(done.stdout.split())


def test_public_names_are_marked_as_such() -> None:
    tree = ast.parse(FILES[""].read_text())
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            assert all(alias.asname == alias.name for alias in node.names)
    assert (PACKAGE / "py.typed").exists()
