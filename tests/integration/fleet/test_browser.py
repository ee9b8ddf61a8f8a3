"""The dashboard in a real browser, at desktop and phone width."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


def test_a_person_logs_in_and_out(service, browser):
    """A wrong password says so; the cookie is out of a script's reach; each role finds what it may see; out is out."""
    service.post("/users", {"name": "vera", "role": "viewer", "password": "seven wet umbrellas"})
    page = browser.new_page()
    page.goto(f"{service.url}/devices")
    for password in ("seven dry umbrellas", "seven wet umbrellas"):
        page.get_by_label("Name").fill("vera")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        if "dry" in password:
            assert "wrong" in page.get_by_role("alert").inner_text()
    page.wait_for_url(f"{service.url}/devices")
    assert "vera" in page.locator(".who").inner_text()
    assert page.get_by_role("link", name="Audit").count() == 0
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{service.url}/login")
    page.goto(f"{service.url}/devices")
    assert page.get_by_label("Password").count() == 1


def test_a_strange_page_changes_nothing(service, browser, strange_page):
    """Though the browser sends the cookie along, since a page of another port is of the same site."""
    page = browser.new_page()
    log_in(page, service)
    before = len(service.get("/audit"))
    page.goto(strange_page(f"{service.url}/logout"))
    with page.expect_response(f"{service.url}/logout") as answered:
        page.get_by_role("button").click()
    sent = answered.value.request.all_headers()
    assert "cookie" in sent
    assert answered.value.status == 403
    page.goto(service.url)
    assert "vera" in page.locator(".who").inner_text()
    assert len(service.get("/audit")) == before


@pytest.fixture
def strange_page(tmp_path):
    """Serves a page of somebody else, whose form goes to the address that it is given."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def page(target):
            form = f'<form method="post" action="{target}"><button>Win</button></form>'
            (tmp_path / "index.html").write_text(form)
            return f"http://127.0.0.1:{server.server_port}/index.html"

        yield page
        server.shutdown()
        thread.join()
