"""A provider to try the blueprint on and to test against: OpenAI's Files API on loopback.

Needs the extra ``testing``. The blueprint itself uses nothing of it.
"""
