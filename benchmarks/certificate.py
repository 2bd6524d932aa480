"""A certificate authority of the benchmark's own, made on the fly, and a certificate by it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate for the loopback address."""

    authority: Path
    chain: Path
    key: Path


def issue(folder: Path) -> Certificate:
    """Make an authority and a certificate by it in *folder*."""
    authority, authority_key = folder / "ca.pem", folder / "ca.key"
    chain, key, request = folder / "server.pem", folder / "server.key", folder / "server.csr"
    extensions = folder / "server.ext"
    extensions.write_text(
        "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n"
        "extendedKeyUsage=serverAuth\n"
    )
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(
        ["req", "-x509", *new_key, "-days", "2", "-subj", "/CN=benchmark CA"],
        ["-addext", "keyUsage=critical,keyCertSign,cRLSign"],
        ["-keyout", authority_key, "-out", authority],
    )
    _openssl(
        ["req", *new_key, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request],
    )
    _openssl(
        ["x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key],
        ["-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", chain],
    )
    return Certificate(authority, chain, key)


def _openssl(*parts: Sequence[object]) -> None:
    command = ["openssl", *(str(word) for part in parts for word in part)]
    subprocess.run(command, check=True, capture_output=True)
