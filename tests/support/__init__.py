"""What the tests stand on: real servers on real sockets."""
