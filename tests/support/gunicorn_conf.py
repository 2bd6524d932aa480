"""gunicorn's settings under test; a name that an older gunicorn does not know is ignored."""

control_socket_disable = True
