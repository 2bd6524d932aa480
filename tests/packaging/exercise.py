"""What a new user does, run by the clean environment's Python outside of the checkout.

Imports nothing of these tests. It serves an application with the blueprint, uploads a file
through it to a provider on loopback, and prints what that got.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.request import Request, urlopen

from flask import Flask
from werkzeug.serving import make_server

import flask_portkey_files
from flask_portkey_files import Target, create_blueprint

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    b"{}\n\r\n--b--\r\n"
)
got: list[bytes] = []


class Provider(BaseHTTPRequestHandler):
    """Takes an upload, which comes chunked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Keep the body, without its chunks' sizes."""
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        got.append(body)
        answer = b'{"id":"file-1","object":"file"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


provider = HTTPServer(("127.0.0.1", 0), Provider)
address = f"http://127.0.0.1:{provider.server_port}/v1"
app = Flask(__name__)
app.register_blueprint(
    create_blueprint(lambda call: Target("openai", api_key="sk", base_url=address)),
    url_prefix="/v1",
)
server = make_server("127.0.0.1", 0, app, threaded=True)
for serving in (provider, server):
    threading.Thread(target=serving.serve_forever, daemon=True).start()
request = Request(
    f"http://127.0.0.1:{server.server_port}/v1/files",
    data=FORM,
    headers={"Content-Type": "multipart/form-data; boundary=b"},
)
with urlopen(request, timeout=20) as response:
    answered = json.load(response)
json.dump(
    {
        "answered": answered,
        "purpose_and_file": b"batch" in got[0] and b"{}\n" in got[0],
        "package": flask_portkey_files.__file__,
        "version": flask_portkey_files.__version__,
    },
    sys.stdout,
)
