"""The dashboard in a real browser, at desktop and phone width."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.fake_device import wait_until
from tests.integration.fleet.conftest import AT_ONCE

CHROMIUM = Path("/usr/bin/chromium")
DEBIAN = Path("/usr/lib/chromium/chromium")  # Ubuntu's /usr/bin/chromium, where there is one, is a snap
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIETER = ("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")
PAGES = ("/", "/devices", "/devices/cam-0", "/releases", "/rollouts", "/rollouts/1")


@pytest.fixture
def browser():
    """Headless Chromium: Debian's, or else the one that Playwright brought."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        program = CHROMIUM if DEBIAN.exists() else Path(started.chromium.executable_path)
        if not program.exists():
            pytest.skip("chromium is not installed: make test installs it")
        opened = started.chromium.launch(executable_path=str(program), args=[*QUIET, *QUIETER])
        yield opened
        opened.close()


def log_in(page, service):
    """As a person whom an admin sent a link."""
    if not any(user["name"] == "vera" for user in service.get("/users")):
        service.post("/users", {"name": "vera", "role": "viewer"})
    code = service.post("/users/vera/login-link", {})["code"]
    page.goto(f"{service.url}/login/once?code={code}")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{service.url}/")


def test_every_page_is_whole_at_both_widths_and_lives(service, start_devices, browser):
    """No error in the console, no request elsewhere, nothing wider than the screen; figures change by themselves."""
    start_devices(2)
    service.publish("1.0.0")
    service.ended(service.rollout("1.0.0", AT_ONCE))
    wait_until(lambda: len(service.get("/devices/cam-0/windows")) > 3, what="windows")
    complaints: list[str] = []
    for width in (1280, 375):
        page = browser.new_page(viewport={"width": width, "height": 800})
        log_in(page, service)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: sent.url.startswith(service.url) or complaints.append(sent.url))
        for address in PAGES:
            page.goto(service.url + address)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (address, width)
            assert page.locator("h1").count() == 1
        page.goto(f"{service.url}/devices/cam-0")
        page.wait_for_selector(".u-over")
        shown = page.locator(".tiles").inner_text()
        page.wait_for_function("old => document.querySelector('.tiles').innerText !== old", arg=shown)
        page.close()
    assert complaints == []
