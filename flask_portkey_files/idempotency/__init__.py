"""Uploads under an ``Idempotency-Key``: what is sent again is stored once.

What the header means is that of the IETF's draft "The Idempotency-Key HTTP Header Field"
(draft-ietf-httpapi-idempotency-key-header) and of Stripe's API
(https://docs.stripe.com/api/idempotent_requests).
"""
