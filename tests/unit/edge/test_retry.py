"""What follows from a failed answer."""

import pytest

from edge.transport.retry import LONGEST_PAUSE_S, Failure, failure_of, pause_s, shed_s


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (429, Failure.SHED),
        (503, Failure.SHED),
        (500, Failure.PASSES),
        (504, Failure.PASSES),
        (408, Failure.PASSES),
        (425, Failure.PASSES),
        (302, Failure.REFUSED),
        (404, Failure.REFUSED),
        (416, Failure.REFUSED),
    ],
)
def test_statuses_have_their_class(status: int, failure: Failure) -> None:
    """Shedding, passing and refusing are told apart."""
    assert failure_of(status) is failure


def test_pauses_grow_up_to_a_limit_and_differ() -> None:
    """Doubled each time, never longer than the longest, and spread over half of it."""
    assert [pause_s(attempt, 1.0) for attempt in (0, 1, 2)] == [0.3, 0.6, 1.2]
    assert pause_s(10_000, 1.0) == LONGEST_PAUSE_S
    assert pause_s(0, 0.0) == 0.15


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0),
        (" 3 ", 3.0),
        ("0", 0.1),
        ("-5", 5.0),
        ("soon", 5.0),
        (None, 5.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.1),
        ("9" * 400, 3600.0),
    ],
)
def test_retry_after_is_read_within_bounds(header: str | None, expected: float) -> None:
    """Seconds or a date; what is neither counts as not said."""
    assert shed_s(header, now=1000.0) == expected
