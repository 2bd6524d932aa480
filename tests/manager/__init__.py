"""The file manager page, in a real browser before a real gunicorn."""
