"""How much memory the builder may use, and when it is told to use less."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHARE = 0.5
"""Of the free memory: the builder also needs room for weights, for what it times, and for the plan."""
LEAST_BYTES = 64 << 20
"""Below this most convolutions of a detector find no implementation."""
_MOST_BYTES = 8 << 30

_OUT_OF_MEMORY = re.compile(
    r"out ?of ?memory|could not be allocated|user allocator error|bad_?alloc|MEM_ALLOC_FAILED", re.IGNORECASE
)
"""What TensorRT says when an allocation fails. Texts: NVIDIA/TensorRT#4258 and torch2trt#661. "Insufficient workspace"
is none of them: that one wants more."""


def workspace_limit(free_bytes: int) -> int:
    """The builder's first limit: a share of what is free, within reason."""
    return max(LEAST_BYTES, min(int(free_bytes * _SHARE), _MOST_BYTES))


def smaller(limit_bytes: int) -> int | None:
    """The next limit to try when one was too much; ``None`` when there is none."""
    if limit_bytes <= LEAST_BYTES:
        return None
    return max(LEAST_BYTES, limit_bytes // 2)


def is_out_of_memory(messages: Iterable[str]) -> bool:
    """Whether TensorRT's messages say that an allocation failed."""
    return any(_OUT_OF_MEMORY.search(message) for message in messages)


def available_bytes(meminfo: str) -> int | None:
    """What ``/proc/meminfo`` says can be had without swapping; ``None`` when it does not say."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(match[1]) << 10 if match else None
