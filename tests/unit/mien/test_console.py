"""How commands show that they are at work."""

import contextlib
import io

from rich.console import Console

from mien.console import _columns, progress_bar, show_notes


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


def shown_notes(note, **terminal):
    shown = io.StringIO()
    show_notes([note], Console(file=shown, **terminal))
    return shown.getvalue().splitlines()


def test_prose_breaks_between_words_and_paths_do_not_break():
    """On a narrow screen no word is cut, and a path can still be copied; the next lines stand below the first."""
    path = "/a/very/long/path/" + "x" * 40 + "/data-set.yaml"
    lines = shown_notes(f"calibrated with {path} which is [a] short well-known word", force_terminal=True, width=40)
    assert any(line.strip() == path for line in lines)
    assert all(line.startswith(" " * 7) for line in lines[1:])
    assert all(len(line.strip()) <= 40 or line.strip() == path for line in lines[1:])
    assert "[a]" in "".join(lines)


def test_what_is_no_terminal_gets_one_line():
    """A program that reads it finds the sentence whole."""
    assert shown_notes("word " * 40) == [f"  note {'word ' * 40}"]


def test_a_narrow_screen_has_no_notes_beside_bars():
    """A bar stays in one line: a layer's name is shown where there is room for it."""
    narrow, wide = _columns(80), _columns(140)
    assert len(wide) == len(narrow) + 1
    assert "note" in wide[-1].text_format
