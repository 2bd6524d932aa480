"""What must not leak, and the checks that look for it."""
