"""What each WSGI server can stream: ``python -m tests.servers`` asks them all."""
