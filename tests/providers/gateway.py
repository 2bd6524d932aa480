"""A gateway on a loopback port, in front of a provider's stand-in."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from flask import Flask
from openai import OpenAI
from werkzeug.serving import WSGIRequestHandler, make_server

from flask_portkey_files import create_blueprint
from flask_portkey_files.providers import Provider
from flask_portkey_files.resolver import Resolver

from ..openapi.conformance import Conformance

#: How often the server looks whether it is to stop, in seconds.
POLL = 0.01


class Gateway:
    """An application with the blueprint, served until the block ends.

    :param providers: the providers that clients may name, each at its stand-in's address.
    :param settings: the application's config.
    :param resolver: picks the target; the client's headers do if there is none.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider | str] | None = None,
        settings: Mapping[str, Any] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.app = Flask("gateway")
        self.app.config.update(settings or {})
        blueprint = create_blueprint(resolver, providers=providers)
        self.app.register_blueprint(blueprint, url_prefix="/v1")
        # An answer that is not what the document says becomes a 500.
        Conformance.of(self.app).watch(self.app)

    @property
    def port(self) -> int:
        """The port that the system picked."""
        return self._server.port

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, provider: str, key: str, **headers: str) -> OpenAI:
        """Return OpenAI's own client for a provider, which tries nothing twice.

        :param headers: further headers, with underscores for dashes.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return OpenAI(
            base_url=f"{self.url}/v1",
            api_key=key,
            default_headers={"x-portkey-provider": provider, **named},
            max_retries=0,
            timeout=30,
        )

    def __enter__(self) -> Gateway:
        self._server = make_server(
            "127.0.0.1", 0, self.app, threaded=True, request_handler=_Handler
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": POLL}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *args: object) -> None:
        """Say nothing."""
