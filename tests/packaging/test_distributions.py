"""Build both, check what is in them, install the one and run the other's tests."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import flask_portkey_files

from ..support.parts import require
from ..support.served import ROOT

PACKAGE = ROOT / "flask_portkey_files"


@dataclass(frozen=True)
class Built:
    """Both distributions."""

    wheel: Path
    sdist: Path


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run *command* without this checkout on its path, and return what it printed."""
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**outside, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    missing = [name for name in ("build", "hatchling", "twine") if not find(name)]
    require(not missing, f"needs {', '.join(missing)}: pip install '.[sdks]'")
    out = tmp_path_factory.mktemp("dist")
    # The sdist, and of that the wheel, as an index' users would make it.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return Built(wheel, sdist)


def find(name: str) -> object:
    return importlib.util.find_spec(name)


def files_of(folder: Path) -> set[str]:
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_twine_finds_nothing_to_complain_of(built: Built, tmp_path: Path) -> None:
    printed = run(
        *(sys.executable, "-m", "twine", "--no-color", "check", "--strict"),
        *(built.wheel, built.sdist),
        cwd=tmp_path,
    )
    assert printed.count("PASSED") == 2


def test_the_wheel_has_all_of_the_package_and_nothing_else(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    info = f"flask_portkey_files-{flask_portkey_files.__version__}.dist-info/"
    package = {name for name in names if not name.startswith(info)}
    assert package == files_of(PACKAGE)
    assert "flask_portkey_files/py.typed" in package
    assert f"{info}licenses/LICENSE" in names


def test_the_sdist_has_the_tests_and_the_docs(built: Built) -> None:
    top = f"flask_portkey_files-{flask_portkey_files.__version__}/"
    with tarfile.open(built.sdist) as archive:
        names = {member.name.removeprefix(top) for member in archive if member.isfile()}
    for folder in ("flask_portkey_files", "tests/unit", "tests/support", "example_app", "docs"):
        missing = {
            name
            for name in (
                path.relative_to(ROOT).as_posix()
                for path in (ROOT / folder).rglob("*")
                if path.is_file() and "__pycache__" not in path.parts
            )
            if name not in names
        }
        assert not missing
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} <= names
    assert not {name for name in names if "node_modules" in name or name.endswith(".pyc")}


def test_the_wheel_works_in_a_clean_environment(built: Built, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", built.wheel, cwd=tmp_path)
    script = tmp_path / "exercise.py"
    script.write_text((Path(__file__).parent / "exercise.py").read_text())
    told = json.loads(run(python, "-W", "error", script, cwd=tmp_path))
    assert told["answered"] == {"id": "file-1", "object": "file"}
    assert told["purpose_and_file"] is True
    assert told["version"] == flask_portkey_files.__version__
    assert Path(told["package"]).is_relative_to(tmp_path)
    # Its command is there too, without an application's code besides.
    app = tmp_path / "app.py"
    app.write_text(
        "from flask import Flask\nfrom flask_portkey_files import create_blueprint\n"
        "app = Flask(__name__)\napp.register_blueprint(create_blueprint(), url_prefix='/v1')\n"
    )
    flask = tmp_path / "venv" / "bin" / "flask"
    assert "azure-openai" in run(flask, "portkey-files", "providers", cwd=tmp_path)


def test_the_sdists_unit_tests_pass_where_it_is_unpacked(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    printed = run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov"),
        # One search of Hypothesis takes as long as all the others.
        *("tests/unit", "-k", "not test_any_config_is_a_route"),
        cwd=unpacked,
        # So that what is tested is what was unpacked.
        env={"PYTHONPATH": str(unpacked)},
    )
    assert " passed" in printed
