"""Who may call the local API."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.api.access import SESSION_S, Doorkeeper, WrongTries, bearer_of, comes_from_elsewhere, names_this_machine
from edge.api.access import read_token as read
from edge.config import read_edge_settings
from mien.errors import ConfigError

TOKEN = "0123456789abcdef0123456789abcdef"


class Clock:
    """Time set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def _file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_file_of_the_owner_is_read(tmp_path: Path) -> None:
    """One line, its end cut off."""
    assert read(_file(tmp_path, TOKEN + "\n")) == TOKEN
    assert read(_file(tmp_path, TOKEN, 0o400)) == TOKEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_token_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """The message names the mode and the command, and never the token."""
    with pytest.raises(ConfigError) as caught:
        read(_file(tmp_path, TOKEN, mode))
    assert "chmod 600" in caught.value.remedy
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "short", "0123456789abcdef 0123456789abcdef", "é" * 40, "0" * 16 + "\n" + "0" * 16]
)
def test_what_is_no_token_is_refused(tmp_path: Path, text: str) -> None:
    """Too short, with blanks or lines, or beyond ASCII."""
    with pytest.raises(ConfigError) as caught:
        read(_file(tmp_path, text))
    assert "openssl rand" in caught.value.remedy


def test_a_token_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(ConfigError, match="could not read") as caught:
        read(tmp_path / "none")
    assert "install -m 600" in caught.value.remedy


def test_only_the_token_opens(clock: Clock) -> None:
    """A wrong one, a longer one and none do not; without a token nothing is known as one."""
    door = Doorkeeper(TOKEN, clock)
    assert door.knows_token(TOKEN)
    assert not any(door.knows_token(text) for text in ("", TOKEN[:-1], TOKEN + "0", "\udce9"))
    assert not Doorkeeper(None, clock).knows_token("")


def test_a_session_ends(clock: Clock) -> None:
    """After its time, when it is ended, and when too many younger ones came."""
    door = Doorkeeper(TOKEN, clock)
    first = door.new_session()
    assert door.knows_session(first)
    clock.now_s += SESSION_S
    assert not door.knows_session(first)
    second = door.new_session()
    door.end_session(second)
    assert not door.knows_session(second)
    third, *others = (door.new_session() for _ in range(40))
    assert not door.knows_session(third)
    assert door.knows_session(others[-1])


def test_five_wrong_tries_in_a_minute_make_an_address_wait(clock: Clock) -> None:
    """That address alone, and only until the first try is a minute old."""
    tries = WrongTries(clock)
    for _ in range(5):
        assert tries.must_wait_s("10.0.0.1") == 0
        tries.note("10.0.0.1")
    assert tries.must_wait_s("10.0.0.1") == 60
    assert tries.must_wait_s("10.0.0.2") == 0
    clock.now_s += 60
    assert tries.must_wait_s("10.0.0.1") == 0


def test_addresses_are_forgotten_before_they_fill_the_memory(clock: Clock) -> None:
    """The oldest of many thousands is gone."""
    tries = WrongTries(clock)
    for _ in range(5):
        tries.note("first")
    for number in range(2000):
        tries.note(str(number))
    assert tries.must_wait_s("first") == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8330", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8330"])
def test_names_of_this_machine(host: str) -> None:
    """With any port: a tunnel may have another one."""
    assert names_this_machine(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8330", "127.0.0.1.evil.example", "192.168.1.4", "[::2]:1", "localhost.evil"],
)
def test_names_of_others(host: str) -> None:
    """A name that was pointed at this machine is none of its own."""
    assert not names_this_machine(host)


@pytest.mark.parametrize(
    ("origin", "fetch_site", "navigates", "elsewhere"),
    [
        (None, None, False, False),
        ("http://localhost:8330", "same-origin", False, False),
        ("http://localhost:9999", "same-site", False, True),
        ("null", None, False, True),
        ("https://evil.example", "cross-site", True, True),
        (None, "cross-site", False, True),
        (None, "cross-site", True, False),
        (None, "none", True, False),
    ],
)
def test_pages_of_other_sites(origin: str | None, fetch_site: str | None, navigates: bool, elsewhere: bool) -> None:
    """They may link here, and nothing else; programs send no such headers."""
    assert (
        comes_from_elsewhere(host="localhost:8330", origin=origin, fetch_site=fetch_site, navigates=navigates)
        is elsewhere
    )


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer", None), ("", None)],
)
def test_the_bearer_header(header: str, token: str | None) -> None:
    """Only the bearer scheme carries a token."""
    assert bearer_of(header) == token


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "fe80::1"])
def test_an_address_open_to_others_wants_token_and_tls(tmp_path: Path, host: str) -> None:
    """The settings are refused, and the message names what is missing and the way back."""
    path = tmp_path / "edge.yaml"
    path.write_text(f"api: {{enabled: true, host: '{host}', token_file: /run/token}}\n")
    with pytest.raises(ConfigError) as caught:
        read_edge_settings(path)
    told = str(caught.value)
    assert "certificate, key" in told
    assert "127.0.0.1" in told


def test_a_name_is_no_address_to_listen_on(tmp_path: Path) -> None:
    """What it stands for could change."""
    path = tmp_path / "edge.yaml"
    path.write_text("api: {host: camera.local}\n")
    with pytest.raises(ConfigError, match=r"camera\.local"):
        read_edge_settings(path)
