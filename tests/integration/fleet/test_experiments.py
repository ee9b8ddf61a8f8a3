"""Experiments with a running service: devices over the real broker, the command line, and pages in a real browser."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fakes.fake_device import Behaviour, Figures, wait_until
from tests.integration.fleet.conftest import AT_ONCE, FAST
from tests.integration.fleet.test_browser import browser  # noqa: F401 - a fixture

BANDIT = """
name: quick-bandit
kind: bandit
duration_s: 3600
looks: 100
max_failed: 0.5
analysis: {unit: window, min_windows: 4, mode: report}
bandit:
  reward: {metric: latency_p95_ms, worst: 60, best: 0}
  round_s: 2
  min_windows: 2
  max_step: 0.1
  min_share: 0.2
  rest_s: 5
"""
SHOTS = os.environ.get("MIEN_TEST_SHOTS")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A bandit whose rounds take seconds."""
    path = tmp_path / "quick-bandit.yaml"
    path.write_text(BANDIT)
    return path


def begin(service, policy) -> int:
    sides = ("--control", "faces@1.0.0", "--candidate", "faces@1.1.0", "--policy", str(policy))
    done = service.cli("experiment", "create", *sides, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return int(json.loads(done.stdout)["id"])


def both_releases(service, start_devices, count=4, slow=None):
    """Devices on the first release, a second one that is twice as quick, and a third that is as slow as is said."""
    figures = {"1.1.0": Figures(latency_ms=11.0), **({"1.2.0": slow} if slow else {})}
    start_devices(count, Behaviour(figures=figures))
    service.publish("1.0.0")
    service.publish("1.1.0")
    service.ended(service.rollout("1.0.0", AT_ONCE))


def test_a_bandit_learns_over_the_real_broker_and_is_stopped(service, start_devices, policy):
    """Devices take their sides, rounds are kept over a kill of the service, and a person brings all to one side."""
    both_releases(service, start_devices)
    number = begin(service, policy)
    read = lambda: service.get(f"/experiments/{number}")  # noqa: E731
    wait_until(lambda: {m["state"] for m in read()["members"]} == {"SUCCEEDED"}, what="sides taken", timeout_s=30)
    wait_until(lambda: (read()["chance"] or 0) > 0.5, what="the quicker one is believed in", timeout_s=60)
    service.kill()
    service.start()
    rounds = len(read()["rounds"])
    wait_until(lambda: len(read()["rounds"]) > rounds, what="rounds go on", timeout_s=60)
    shown = service.cli("experiment", "show", str(number))
    assert "Posterior" in shown.stdout
    assert "better one with a chance" in service.cli("experiment", "explain", str(number)).stdout
    refused = service.cli("experiment", "create", "--control", "faces@1.0.0", "--candidate", "faces@1.1.0")
    assert refused.returncode != 0
    assert f"experiment stop {number}" in refused.stdout + refused.stderr
    assert service.cli("experiment", "stop", str(number), "--to", "nowhere").returncode == 3
    assert service.cli("experiment", "stop", str(number), "--to", "candidate").returncode == 0
    wait_until(lambda: read()["state"] == "stopped", what="it is stopped", timeout_s=30)
    assert {device["release"] for device in service.get("/devices")} == {"faces@1.1.0"}
    done = {entry["action"] for entry in service.get("/audit?limit=500")}
    assert {"experiment.create", "experiment.round", "experiment.stop", "experiment.stopped"} <= done


def test_pages_of_experiments_and_verdicts_are_whole_at_both_widths(service, start_devices, policy, browser):  # noqa: F811
    """Plots are drawn, nothing is wider than the screen, nobody complains; an operator's button stops it."""
    both_releases(service, start_devices, slow=Figures(fps=9.0))
    service.publish("1.2.0")
    halted = service.ended(service.rollout("1.2.0", FAST))
    assert halted["state"] == "stopped"
    number = begin(service, policy)
    wait_until(lambda: service.get(f"/experiments/{number}")["chance"], what="a round", timeout_s=60)
    wait_until(lambda: service.get(f"/experiments/{number}")["verdict"], what="a look", timeout_s=60)
    service.post("/users", {"name": "olga", "role": "operator"})
    complaints: list[str] = []
    for width in (1280, 375):
        page = browser.new_page(viewport={"width": width, "height": 800})
        code = service.post("/users/olga/login-link", {})["code"]
        page.goto(f"{service.url}/login/once?code={code}")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{service.url}/")
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for name in ("experiments", f"experiments/{number}", "rollouts/2"):
            page.goto(f"{service.url}/{name}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            assert page.locator("h1").count() == 1
            if SHOTS:
                page.screenshot(path=f"{SHOTS}/{name.replace('/', '-')}-{width}.png", full_page=True)
        assert page.locator("svg.band rect.new.bad").count() == 1
        assert "fps: fail" in page.locator(".sentences").inner_text()
        page.goto(f"{service.url}/experiments/{number}")
        assert page.locator("svg.curve polyline").count() == 4
        assert page.locator("svg.band").count() >= 2
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Stop: keep").click()
    wait_until(lambda: service.get(f"/experiments/{number}")["state"] == "stopped", what="stopped by a button")
    assert complaints == []
