"""nginx as a proxy that looks at nothing: about the least that passing on can cost."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .base import Gateway, Provider

_CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream provider {{
        server {address};
        keepalive 64;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            proxy_pass {scheme}://provider;
            proxy_http_version 1.1;
            proxy_set_header Host {address};
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
            {tls}
        }}
    }}
}}
"""
_TLS = """\
proxy_ssl_verify on;
            # It does not compare addresses with a certificate.
            proxy_ssl_name localhost;
            proxy_ssl_trusted_certificate {authority};"""


class Nginx(Gateway):
    """One worker process, no buffering, connections to the provider kept open."""

    name = "nginx"

    def install(self) -> None:
        """Install the system's package, if there is none."""
        if self._program() is None:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(["apt-get", "install", "-y", "-qq", "nginx-light"], check=True)

    @staticmethod
    def _program() -> str | None:
        return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

    def versions(self) -> dict[str, str]:
        """Return the version that it names."""
        program = self._program()
        assert program
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
        return {"nginx": said.stderr.strip().rpartition("/")[2]}

    def command(self, provider: Provider, folder: Path) -> list[str]:
        """Write a configuration and serve it."""
        scheme, _, address = provider.url.partition("://")
        tls = _TLS.format(authority=provider.authority) if provider.authority else ""
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=folder,
                # The worker of a master that is root would be another user, without a way in.
                user="user root;" if os.geteuid() == 0 else "",
                address=address,
                scheme=scheme,
                port=self.port,
                tls=tls,
            )
        )
        program = self._program()
        assert program
        return [program, "-p", str(folder), "-c", str(config), "-e", "stderr"]

    def headers(self, provider: Provider) -> dict[str, str]:
        """Need none of its own."""
        return {"Authorization": "Bearer x"}
