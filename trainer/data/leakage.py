"""Near-duplicates by difference hash: 64 bits, one for each horizontal step of brightness on a 9 by 8 thumbnail.

Source of the method: N. Krawetz, "Kind of Like That", hackerfactor.com, 2013.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

HASH_WIDTH, HASH_HEIGHT = 9, 8
MOST_BITS = 2
_BLOCK = 512


def dhash(thumbnail: npt.NDArray[np.uint8]) -> int:
    """Hash a grey thumbnail ``[8, 9]``."""
    steps = thumbnail[:, 1:] > thumbnail[:, :-1]
    return int.from_bytes(np.packbits(steps).tobytes(), "big")


def near_duplicates(
    train: Sequence[tuple[str, int]], others: Sequence[tuple[str, int]], *, most_bits: int = MOST_BITS
) -> list[tuple[str, str]]:
    """Pairs (train, other) whose hashes differ in ``most_bits`` or fewer; one pair for each of ``others``."""
    if not train or not others:
        return []
    known = np.array([value for _, value in train], dtype=np.uint64)
    found: list[tuple[str, str]] = []
    for start in range(0, len(others), _BLOCK):
        block = others[start : start + _BLOCK]
        wanted = np.array([value for _, value in block], dtype=np.uint64)
        bits = _count_bits(wanted[:, None] ^ known[None, :])
        nearest = bits.argmin(axis=1)
        close = bits[np.arange(len(block)), nearest] <= most_bits
        found += [(train[int(nearest[i])][0], block[int(i)][0]) for i in np.flatnonzero(close)]
    return found


def _count_bits(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint16]:
    table = np.array([value.bit_count() for value in range(1 << 8)], dtype=np.uint16)
    return np.asarray(table[values[..., None].view(np.uint8)].sum(axis=-1, dtype=np.uint16))
