"""What ``check`` finds in the application itself: no provider is asked here."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..settings import GIB, PREFIX, Settings
from .findings import Finding, failed, info, ok, warning
from .output import size

#: A module of each extra that adds something to the service, and what that is.
EXTRAS = {
    "azure": ("azure.identity", "tokens of Microsoft Entra"),
    "bedrock": ("boto3", "files in Amazon S3"),
    "regex": ("re2", "$regex in the conditions of configs"),
    "vertex": ("google.auth", "service accounts of Google"),
}

#: Less free space than this is worth a word.
LITTLE_SPACE = GIB

#: File systems that are memory.
_IN_MEMORY = {"tmpfs", "ramfs"}


def settings_findings(settings: Settings) -> Iterator[Finding]:
    """Yield which settings differ from their defaults; they are valid, or there were none."""
    changed = [
        f"{PREFIX}{f.name.upper()}={getattr(settings, f.name) if f.repr else '(hidden)'}"
        for f in dataclasses.fields(settings)
        if getattr(settings, f.name) != f.default
    ]
    yield ok("settings", "valid; " + (", ".join(changed) or "all are at their defaults"))
    longest = settings.read_timeout
    if longest < 30:
        yield warning(
            "settings",
            f"{PREFIX}READ_TIMEOUT is {longest:g} s: a provider may take longer than that to "
            "take over a large file.",
        )


def spool_findings(settings: Settings) -> Iterator[Finding]:
    """Yield whether uploads that are held back have a place."""
    folder = settings.spool_dir or tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield failed(
            "spool folder",
            f"{folder}: {error.strerror}. Set {PREFIX}SPOOL_DIR to one that can be written.",
        )
        return
    largest = min(settings.max_bytes, settings.spool_total)
    if free < max(LITTLE_SPACE, min(largest, 2 * GIB)):
        yield warning(
            "spool folder",
            f"{folder} has {size(free)} free; a single upload may take {size(largest)}.",
        )
    else:
        yield ok("spool folder", f"{folder} can be written, {size(free)} free")
    kind = _file_system(folder)
    if kind in _IN_MEMORY:
        yield warning(
            "spool folder",
            f"{folder} is in memory ({kind}), and so is each upload that is held back there: "
            f"set {PREFIX}SPOOL_DIR to a folder on disk.",
        )


def _file_system(folder: str) -> str | None:
    """Return the type of the file system that *folder* is on, where Linux says so."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return None
    place = os.path.realpath(folder)
    found = [
        (len(point), kind)
        for _, point, kind, *_ in (line.split() for line in mounts)
        if point in {"/", place} or place.startswith(f"{point}/")
    ]
    return max(found)[1] if found else None


def extras_findings(named: Mapping[str, tuple[str, str]] = EXTRAS) -> Iterator[Finding]:
    """Yield which of the package's extras are installed."""
    there = {extra: _installed(module) for extra, (module, _) in named.items()}
    if has := [extra for extra, found in there.items() if found]:
        yield info("extras", f"installed: {', '.join(has)}")
    if lacks := [f"{extra} ({named[extra][1]})" for extra, found in there.items() if not found]:
        yield info("extras", f"not installed: {', '.join(lacks)}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # Of the package that it would be in.
        return False


def gunicorn_findings(config: str | None) -> Iterator[Finding]:
    """Yield what gunicorn's configuration means for transfers.

    :param config: its file; ``gunicorn.conf.py`` in this folder if ``None``, as gunicorn does.
    """
    path = Path(config or "gunicorn.conf.py")
    if config is None and not path.exists() and "GUNICORN_CMD_ARGS" not in os.environ:
        yield info(
            "gunicorn",
            "not looked at: no gunicorn.conf.py here, and none named with --gunicorn-config",
        )
        return
    if not _installed("gunicorn"):
        yield info("gunicorn", "not installed here, so its configuration is not looked at")
        return
    from gunicorn.app.wsgiapp import WSGIApplication

    class Loaded(WSGIApplication):
        """gunicorn's own way to its settings, without a server."""

        def load_config(self) -> None:
            if path.exists():
                self.load_config_from_file(str(path))
            arguments = self.cfg.get_cmd_args_from_env()
            given = vars(self.cfg.parser().parse_args(arguments)) if arguments else {}
            for name, value in given.items():
                if value is not None and name in self.cfg.settings:
                    self.cfg.set(name, value)

    # gunicorn reads this process's own arguments, and ends it on a configuration that is none.
    arguments, sys.argv = sys.argv, [sys.argv[0]]
    try:
        cfg = Loaded().cfg
    except (Exception, SystemExit) as error:
        yield failed("gunicorn", f"{path} can't be loaded: {type(error).__name__}.")
        return
    finally:
        sys.argv = arguments
    kind = str(cfg.worker_class_str)
    if kind == "sync":
        yield warning(
            "gunicorn",
            f"the worker class is sync: a transfer that takes longer than {cfg.timeout} s is "
            'killed, and others wait for it. Use `worker_class = "gthread"`, with threads.',
        )
    elif kind == "gthread" and cfg.threads < 4:
        yield warning(
            "gunicorn",
            f"{cfg.threads} threads: each transfer holds one while it lasts. Use 16 or so.",
        )
    else:
        yield ok(
            "gunicorn", f"worker class {kind}, {cfg.workers} worker(s) of {cfg.threads} threads"
        )
    if cfg.graceful_timeout < 30:
        yield warning(
            "gunicorn",
            f"graceful_timeout is {cfg.graceful_timeout} s: transfers that take longer are cut "
            "when it stops.",
        )
