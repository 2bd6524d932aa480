"""Uploads under an Idempotency-Key: the stores, what is replayed, and what kills leave."""
