"""Uploads as no SDK sends them."""

from __future__ import annotations

import socket

from .gateway import Gateway

#: What ends a form of the parts below.
END = b"--b--\r\n"


def part(name: str, value: str) -> bytes:
    """Return a field of a form."""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(content: bytes, *headers: str) -> bytes:
    """Return the form's file, with further headers of its part."""
    disposition = 'Content-Disposition: form-data; name="file"; filename="a.txt"'
    head = "\r\n".join(["--b", disposition, *headers, "", ""])
    return head.encode() + content + b"\r\n"


def post(
    gateway: Gateway, provider: str, key: str, body: bytes, announced: int | None = None
) -> tuple[int, bytes]:
    """Send a form, or what there is of it; return the status and all of the answer.

    :param announced: the length that is announced, if not that of *body*.
    """
    head = (
        "POST /v1/files HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
        f"Authorization: Bearer {key}\r\nx-portkey-provider: {provider}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {announced or len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock:
        sock.sendall(head.encode() + body)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as answer:
            whole = answer.read()
    return int(whole.split(b" ", 2)[1]), whole
