from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flask_portkey_files import Settings


def test_defaults() -> None:
    assert Settings.from_mapping({"DEBUG": True}) == Settings()


def test_values_may_be_strings_as_in_the_environment(tmp_path: Path) -> None:
    settings = Settings.from_mapping(
        {
            "PORTKEY_FILES_MAX_BYTES": "1000",
            "PORTKEY_FILES_READ_TIMEOUT": "0.5",
            "PORTKEY_FILES_CONNECT_TIMEOUT": 3,
            "PORTKEY_FILES_SPOOL_DIR": str(tmp_path),
            "PORTKEY_FILES_PROXY": "",
        }
    )
    assert settings == Settings(
        max_bytes=1000, read_timeout=0.5, connect_timeout=3.0, spool_dir=str(tmp_path)
    )
    assert isinstance(settings.connect_timeout, float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORTKEY_FILES_MAX_BYTES", "many"),
        ("PORTKEY_FILES_MAX_BYTES", "-1"),
        ("PORTKEY_FILES_MAX_BYTES", 1.5),
        ("PORTKEY_FILES_MAX_BYTES", True),
        ("PORTKEY_FILES_MAX_BYTES", None),
        ("PORTKEY_FILES_MAX_BYTES", -(10**400)),
        ("PORTKEY_FILES_MAX_PARTS", "1"),
        ("PORTKEY_FILES_BLOCK_SIZE", 0),
        ("PORTKEY_FILES_READ_TIMEOUT", "nan"),
        ("PORTKEY_FILES_READ_TIMEOUT", "inf"),
        ("PORTKEY_FILES_CONNECT_TIMEOUT", 0),
    ],
)
def test_a_bad_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a .*{value!r}$"):
        Settings.from_mapping({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORTKEY_FILES_SPOOL_DIR", "/nowhere/at/all"),
        ("PORTKEY_FILES_CA_BUNDLE", "/nowhere/at/all.pem"),
        ("PORTKEY_FILES_PROXY", "proxy:8080"),
    ],
)
def test_what_is_not_there_is_said_at_once(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Settings.from_mapping({name: value})


def test_an_unknown_name_is_a_typing_error_and_said_to_be_one() -> None:
    with pytest.raises(ValueError, match=r"^PORTKEY_FILES_MAX_BYTE is not a setting"):
        Settings.from_mapping({"PORTKEY_FILES_MAX_BYTE": 1})


def test_names() -> None:
    assert "PORTKEY_FILES_MAX_BYTES" in Settings.names()
    assert all(name.startswith("PORTKEY_FILES_") for name in Settings.names())


@pytest.mark.parametrize(
    ("value", "on"),
    [(True, True), ("true", True), ("1", True), ("On", True), (False, False), ("no", False)],
)
def test_a_switch(value: object, on: bool) -> None:
    assert Settings.from_mapping({"PORTKEY_FILES_DIGEST": value}).digest is on


@pytest.mark.parametrize("value", ["maybe", "", 2, None])
def test_no_switch(value: object) -> None:
    with pytest.raises(ValueError, match="PORTKEY_FILES_DIGEST must be true or false"):
        Settings.from_mapping({"PORTKEY_FILES_DIGEST": value})
