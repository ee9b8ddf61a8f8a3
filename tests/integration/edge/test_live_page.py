"""The live page in a real browser, at desktop and phone width."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.api.interface import BrokerStatus, CameraStatus, Face, Pulse, UpdateStatus
from edge.api.pages import STATIC
from edge.api.preview import Preview, PreviewLimits
from edge.api.state import DeviceState
from edge.config import ApiSettings
from mien.messages import Event, Power
from tests.fakes.fake_device import wait_until
from tests.fakes.served_api import device, served, window

CHROMIUM = Path("/usr/bin/chromium")
DEBIAN = Path("/usr/lib/chromium/chromium")  # Ubuntu's /usr/bin/chromium, where there is one, is a snap
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIETER = ("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")
TOKEN = "0123456789abcdef0123456789abcdef"
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: Debian's, or else the one that Playwright brought."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        program = CHROMIUM if DEBIAN.exists() else Path(started.chromium.executable_path)
        if not program.exists():
            pytest.skip("chromium is not installed: make test installs it")
        opened = started.chromium.launch(executable_path=str(program), args=[*QUIET, *QUIETER])
        yield opened
        opened.close()


@pytest.fixture
def state() -> DeviceState:
    """A device with two cameras, one of them away, whose names and messages try to be markup."""
    full = device()
    full.cameras = lambda: (
        CameraStatus(name="door", state="live", detail="/dev/video0"),
        CameraStatus(name=MARKUP, state="away", detail="timed out"),
    )
    full.broker = lambda: BrokerStatus(connected=False, detail="refused")
    full.update = lambda: UpdateStatus(release="faces@1.2.0", state="rolled_back", message="probe failed")
    full.add_event(Event(event_id="e", at=1, kind="camera_lost", severity="error", message=MARKUP))
    for sequence in range(6):
        full.add_window(window(sequence))
    return full


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages that may neither complain, but for a device that has ended, nor ask another host for anything."""
    complaints: list[str] = []
    opened: list[Any] = []

    def opening(url: str, *, width: int = 1280, scheme: str = "light") -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        opened.append(page)
        page.on("console", lambda said: "net::ERR_" in said.text or complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: sent.url.startswith((url, "blob:")) or complaints.append(sent.url))
        page.goto(url)
        return page

    yield opening
    for page in opened:
        page.close()
    assert complaints == []


def _until(page: Any, holds: str) -> None:
    """Wait in this process: the page's policy forbids Playwright to evaluate text within it again and again."""
    wait_until(lambda: page.evaluate(holds), what=holds)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_the_page_is_whole_and_lives(
    state: DeviceState, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    """Nothing is wider than the screen; figures, states and events stand there and change by themselves."""
    with served(state) as api:
        page = open_page(api.url, width=width, scheme=scheme)
        page.wait_for_selector(".u-over")
        _until(page, "document.querySelector('#f-fps').textContent === '9.5'")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("h1").count() == 1
        assert page.locator(".u-over").count() == 4
        assert "rolled back" in page.locator("#parts").inner_text()
        assert MARKUP in page.locator("#events").inner_text()
        assert MARKUP in page.locator("#cameras").inner_text()
        assert page.locator("#content img[src='x']").count() == 0
        state.pulse = lambda: Pulse(frames=1, at_s=1.0, power_w=7.25, power_source="ina3221")
        _until(page, "document.querySelector('#f-power').textContent === '7.25'")
        state.add_window(window(9, frames=0))
        _until(page, "document.querySelector('#ready').textContent === 'not ready'")
        assert "no frame went through" in page.locator("#reasons").inner_text()


def test_without_pictures_the_page_says_how_to_have_them(state: DeviceState, open_page: Callable[..., Any]) -> None:
    """The default: figures only, and no picture is ever asked for."""
    asked: list[str] = []
    with served(state) as api:
        page = open_page(api.url)
        page.on("request", lambda sent: asked.append(sent.url))
        _until(page, "document.querySelectorAll('.camera').length === 2")
        page.wait_for_timeout(1500)
        assert "api.preview: true" in page.locator("#off").inner_text()
        assert not [url for url in asked if "preview" in url]


def test_pictures_come_while_the_page_is_seen_and_cover_faces(
    state: DeviceState, open_page: Callable[..., Any]
) -> None:
    """A new picture follows the last, nobody's camera is taken for another's, and the page says what is covered."""
    image = np.full((240, 320, 3), 40, np.uint8)
    image[60:180, 100:220:2] = 255  # stripes of one pixel, which no covered face has
    preview, ended = Preview(PreviewLimits(fps=10)), threading.Event()
    face = Face(box=(100.0, 60.0, 220.0, 180.0), label="happy", score=0.9, track=3)

    def film() -> None:
        while not ended.wait(0.02):
            if preview.wants("door"):
                preview.show("door", image, [face])

    with ExitStack() as ending:
        filming = threading.Thread(target=film)
        filming.start()
        ending.callback(filming.join, 10)
        ending.callback(ended.set)
        api = ending.enter_context(served(state, preview=preview))
        page = open_page(api.url, width=375)
        page.wait_for_selector(".camera img")
        first = page.locator(".camera img").get_attribute("src")
        wait_until(lambda: page.locator(".camera img").get_attribute("src") != first, what="the next picture")
        assert page.locator(".camera img").count() == 1
        assert "covered" in page.locator("#privacy").inner_text()
        steps = page.evaluate(
            """async () => {
              const answer = await fetch('/preview/0.jpg');
              const bitmap = await createImageBitmap(await answer.blob());
              const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
              const brush = canvas.getContext('2d');
              brush.drawImage(bitmap, 0, 0);
              const row = brush.getImageData(112, 118, 20, 1).data;
              return Array.from({ length: 19 }, (_, at) => Math.abs(row[4 * at] - row[4 * at + 4]));
            }"""
        )
        assert max(steps) < 60


def test_a_device_that_stops_is_told_on_the_page(state: DeviceState, open_page: Callable[..., Any]) -> None:
    """The last figures stay, under a sentence that says that they are the last."""
    with served(state) as api:
        page = open_page(api.url)
        _until(page, "document.querySelector('#f-fps').textContent === '9.5'")
        assert page.locator("#lost").is_hidden()
        api.close()
        page.wait_for_selector("#lost:not([hidden])")
        assert page.locator("#ready").inner_text() == "no answer"
        assert page.locator(".camera .badge").all_inner_texts() == ["no answer"] * 2
        assert page.locator("#cameras .good").count() == 0
        assert page.locator("#f-fps").inner_text() == "9.5"


def test_what_this_device_cannot_measure_is_said(state: DeviceState, open_page: Callable[..., Any]) -> None:
    """Instead of an empty plot."""
    bare = device()
    bare.add_window(window(power=Power(source="none"), temperature_c={}))
    with served(bare) as api:
        page = open_page(api.url)
        _until(page, "document.querySelectorAll('.none:not([hidden])').length === 4")
        assert page.locator("#plots").inner_text().count("No window yet") == 4
        bare.add_window(window(1, power=Power(source="none"), temperature_c={}))
        _until(page, "document.querySelectorAll('.none:not([hidden])').length === 2")
        assert "no source of power figures" in page.locator("#plots").inner_text()
        assert page.evaluate("document.querySelector('.slim').clientHeight < 60")
        assert page.locator("#f-power").inner_text() == "—"
        assert "source: none" in page.locator(".tiles").inner_text()


def test_a_person_logs_in_and_out(state: DeviceState, open_page: Callable[..., Any], tmp_path: Path) -> None:
    """By the form, with the token; the page then streams with the cookie, and ends with it."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    with served(state, ApiSettings(enabled=True, port=0, token_file=token_file)) as api:
        page = open_page(api.url, width=375)
        assert page.url.endswith("/login")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.fill("#token", TOKEN)
        page.click("button")
        _until(page, "document.querySelector('#ready')?.textContent === 'ready'")
        assert page.evaluate("document.cookie") == ""
        page.click("#logout button")
        page.wait_for_selector("#token")
        page.goto(api.url)
        assert page.url.endswith("/login")


def test_third_party_files_are_what_they_say() -> None:
    """Each has the hash that stands beside its version."""
    lines = (STATIC / "vendor" / "VERSIONS").read_text().splitlines()[1:]
    assert len(lines) == 2
    for name, _, _, digest in (line.split() for line in lines):
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest
