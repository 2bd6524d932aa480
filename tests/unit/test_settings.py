from __future__ import annotations

from typing import Any

import pytest

from flask_portkey_files import Settings


def test_defaults() -> None:
    assert Settings.from_mapping({"DEBUG": True}) == Settings()


def test_values_may_be_strings_as_in_the_environment() -> None:
    settings = Settings.from_mapping(
        {
            "PORTKEY_FILES_MAX_BYTES": "1000",
            "PORTKEY_FILES_READ_TIMEOUT": "0.5",
            "PORTKEY_FILES_CONNECT_TIMEOUT": 3,
            "PORTKEY_FILES_SPOOL_DIR": "/var/spool/files",
            "PORTKEY_FILES_PROXY": "",
        }
    )
    assert settings == Settings(
        max_bytes=1000, read_timeout=0.5, connect_timeout=3.0, spool_dir="/var/spool/files"
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


def test_an_unknown_name_is_a_typing_error_and_said_to_be_one() -> None:
    with pytest.raises(ValueError, match=r"^PORTKEY_FILES_MAX_BYTE is not a setting"):
        Settings.from_mapping({"PORTKEY_FILES_MAX_BYTE": 1})


def test_names() -> None:
    assert "PORTKEY_FILES_MAX_BYTES" in Settings.names()
    assert all(name.startswith("PORTKEY_FILES_") for name in Settings.names())
