"""How the C library treats memory that a transfer gives back."""

from __future__ import annotations

from .settings import MIB

#: Far above what a transfer allocates at once: WSGI servers read up to 1 MiB.
LARGEST = 8 * MIB


def keep_blocks() -> None:
    """Have freed blocks of a transfer's size kept for the next one.

    glibc maps each block above 128 KiB anew and unmaps it when it is freed, and the kernel
    fills its pages with zeros every time: half of an upload's processor time. It stops doing
    that, for the whole process, for sizes up to that of a mapped block that was once freed
    (mallopt(3), ``M_MMAP_THRESHOLD``, the dynamic threshold). So one is made here and freed;
    its pages are never touched, and so take no memory. Other C libraries take no notice.
    """
    bytes(LARGEST)
