"""Near-duplicates by difference hash."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.leakage import dhash, near_duplicates

HASHES = st.integers(min_value=0, max_value=2**64 - 1)


def thumbnail(seed):
    return np.random.default_rng(seed).integers(20, 200, (8, 9)).astype(np.uint8)


@given(seed=st.integers(0, 1000), shift=st.integers(0, 50))
def test_a_hash_does_not_see_exposure(seed, shift):
    """The same picture a little brighter has the same hash."""
    assert dhash(thumbnail(seed)) == dhash(thumbnail(seed) + np.uint8(shift))


def test_different_pictures_have_different_hashes():
    """Random thumbnails never collide in practice."""
    assert len({dhash(thumbnail(seed)) for seed in range(200)}) == 200


@given(train=st.lists(HASHES, min_size=1, max_size=30), other=HASHES, most=st.integers(0, 8))
def test_pairs_are_those_that_counting_bits_finds(train, other, most):
    """The vectorised search agrees with counting bits one by one."""
    found = near_duplicates([(str(i), h) for i, h in enumerate(train)], [("x", other)], most_bits=most)
    distances = [(h ^ other).bit_count() for h in train]
    if min(distances) > most:
        assert found == []
    else:
        ((name, seen),) = found
        assert seen == "x"
        assert distances[int(name)] == min(distances)


def test_long_lists_are_searched_to_their_end():
    """A duplicate beyond the first block is found too."""
    train = [("t", 0)]
    others = [(str(i), 2**64 - 1) for i in range(1500)] + [("last", 1)]
    assert near_duplicates(train, others) == [("t", "last")]


def test_an_empty_side_has_no_pairs():
    """Nothing is alike to nothing."""
    assert near_duplicates([], [("x", 1)]) == []
    assert near_duplicates([("x", 1)], []) == []
