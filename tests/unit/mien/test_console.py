"""How commands show that they are at work."""

import contextlib
import io

from mien.console import progress_bar


def test_work_of_unknown_length_ends_when_the_next_begins():
    """It pulses while it lasts and is one done thing afterwards, also at the very end."""
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), progress_bar() as progress:
        progress.start("think")
        progress.start("count", 3)
        progress.advance(2)
        progress.start("think again")
    lines = [line.split() for line in shown.getvalue().splitlines()]
    assert [line[-3] for line in lines] == ["1/1", "2/3", "1/1"]


def test_a_silenced_library_does_not_silence_the_bar():
    """Bars go to the stream that was stderr at the start, whatever stderr is redirected to meanwhile."""
    shown, swallowed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(shown), progress_bar() as progress, contextlib.redirect_stderr(swallowed):
        progress.start("convert", 1)
        progress.advance()
    assert swallowed.getvalue() == ""
    assert "convert" in shown.getvalue()
