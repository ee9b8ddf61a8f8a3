"""The rule that fuzzers try to break, over their corpus and what hypothesis makes of it; ``make fuzz`` goes further."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzzing import CHANNELS, check

CORPUS = sorted((Path(__file__).parents[2] / "fixtures" / "fuzz").glob("*.bin"))
SEEDS = [path.read_bytes() for path in CORPUS]
TOKENS = [b"NaN", b"-Infinity", b"1e999", b"\\u0000", b"\\ud800", b"9" * 400, b"[" * 300, b"{}", b"null", b"\xff", b'"']


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_rule_holds_for_the_corpus(path):
    """What once was found, and what is worth starting from."""
    check(path.read_bytes())


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), st.sampled_from(TOKENS)), max_size=4),
)
def test_the_rule_holds_for_what_is_cut_and_spliced(seed, changes):
    """Parts of a good message replaced by what parsers stumble over."""
    for share, cut, token in changes:
        place = 1 + int(share * (len(seed) - 1))
        seed = seed[:place] + token + seed[place + cut :]
    check(seed)


@given(st.sampled_from(range(len(CHANNELS))), st.binary(max_size=400))
def test_the_rule_holds_for_any_bytes(channel, payload):
    """On every channel."""
    check(bytes([channel]) + payload)


def test_the_corpus_has_every_channel():
    """Or a kind of message would never be fuzzed from a good one."""
    assert {seed[0] for seed in SEEDS} == set(range(len(CHANNELS)))
