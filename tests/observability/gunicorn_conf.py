"""gunicorn's settings for the instrumented application."""

from flask_portkey_files.prometheus import child_exit

__all__ = ["child_exit", "control_socket_disable"]

control_socket_disable = True
