"""When a certificate is renewed."""

from __future__ import annotations

import pytest

from mien.renewal import Renewal, Validity, decide

LIFE = Validity(begins_at=1000.0, ends_at=1300.0)


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (0.0, Renewal.KEEP),
        (1000.0, Renewal.KEEP),
        (1199.9, Renewal.KEEP),
        (1200.0, Renewal.DUE),
        (1300.0, Renewal.DUE),
        (1300.1, Renewal.GRACE),
        (1350.0, Renewal.GRACE),
        (1350.1, Renewal.OVER),
    ],
)
def test_two_thirds_of_a_life_and_a_grace_time(now, what):
    """Due at two thirds, good to its last second, renewable for the grace time, then never."""
    assert decide(LIFE, now=now, grace_s=50.0) is what


def test_without_a_grace_time_the_end_is_the_end():
    """A fleet may allow none."""
    assert decide(LIFE, now=1300.1, grace_s=0.0) is Renewal.OVER
