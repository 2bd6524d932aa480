"""The fault matrix: what each stage of a call can go wrong in, with every operation."""
