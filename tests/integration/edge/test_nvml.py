"""NVIDIA's own binding over a library of ours: no graphics card was at hand, so what a real one says is not seen here.

The binding (``nvidia-ml-py``), its structures and its errors are genuine; the library answers each question from the
environment, and with NVML_ERROR_NOT_SUPPORTED where nothing stands there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.edge.conftest import ROOT

pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")

LIBRARY = """
#include <stdio.h>
#include <stdlib.h>
enum { OK = 0, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };
typedef struct { unsigned int gpu, memory; } rates;
static int ask(const char *what, long card, unsigned int *answer) {
    char name[64];
    snprintf(name, sizeof name, "FAKE_%s_%ld", what, card);
    const char *text = getenv(name);
    if (getenv("FAKE_LOST")) return GPU_IS_LOST;
    if (!text) return NOT_SUPPORTED;
    *answer = strtoul(text, 0, 0);
    return OK;
}
int nvmlInitWithFlags(unsigned int flags) { return getenv("FAKE_NO_DRIVER") ? DRIVER_NOT_LOADED : OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int error) { return error == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "Not Supported"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = atoi(getenv("FAKE_CARDS")); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **card) { *card = (void *)(long)(index + 1); return OK; }
int nvmlDeviceGetPowerUsage(void *card, unsigned int *mw) { return ask("POWER", (long)card - 1, mw); }
int nvmlDeviceGetTemperature(void *card, int sensor, unsigned int *c) { return ask("HEAT", (long)card - 1, c); }
int nvmlDeviceGetFanSpeed(void *card, unsigned int *percent) { return ask("FAN", (long)card - 1, percent); }
int nvmlDeviceGetClockInfo(void *card, int kind, unsigned int *mhz) {
    return ask(kind == 1 ? "SM" : "MEM", (long)card - 1, mhz);
}
int nvmlDeviceGetUtilizationRates(void *card, rates *load) { return ask("LOAD", (long)card - 1, &load->gpu); }
int REASONS(void *card, unsigned long long *bits) {
    unsigned int found;
    int error = ask("REASONS", (long)card - 1, &found);
    if (!error) *bits = found;
    return error;
}
"""
PROGRAM = """
import json, os, sys
from dataclasses import asdict
from edge.power.interface import PowerError
from edge.power.nvml import Nvml
try:
    source = Nvml(sys=__import__('pathlib').Path(sys.argv[1]))
    print(json.dumps(asdict(source.read())))
    os.environ['FAKE_LOST'] = '1'
    source.read()
except PowerError as error:
    print(json.dumps(error.as_dict()))
"""
CARD = {"POWER": 68_250, "HEAT": 41, "FAN": 30, "SM": 1980, "MEM": 2619, "LOAD": 37, "REASONS": 0}


@pytest.fixture(params=["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of the library; drivers before 535 know the reasons under the older name only."""
    if not shutil.which("gcc"):
        pytest.skip("the library is made with gcc")
    (tmp_path / "nvml.c").write_text(LIBRARY.replace("REASONS(void", f"{request.param}(void"))
    target = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, tmp_path / "nvml.c"], check=True, capture_output=True)
    return tmp_path


def _answers(library: Path, *cards: dict[str, int], **more: str) -> list[dict[str, Any]]:
    said = {f"FAKE_{what}_{card}": str(value) for card, values in enumerate(cards) for what, value in values.items()}
    env = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_CARDS": str(len(cards)), **said, **more}
    command = [sys.executable, "-c", PROGRAM, str(library / "sys")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_cards_are_read_through_the_genuine_binding(library: Path) -> None:
    """Powers add up; the warmest, fastest and busiest card stands for the rest; a lost card is an error."""
    other = CARD | {"POWER": 300_000, "HEAT": 83, "LOAD": 99, "REASONS": 0x4 | 0x40}
    sample, lost = _answers(library, CARD, other)
    assert (sample["total_w"], sample["rails_w"]) == (368.25, {"gpu0": 68.25, "gpu1": 300.0})
    assert sample["temperature_c"] == {"gpu0": 41.0, "gpu1": 83.0}
    assert sample["clocks_hz"] == {"gpu": 1980e6, "emc": 2619e6}
    assert (sample["gpu_percent"], sample["fan_percent"]) == (99.0, 30.0)
    assert (sample["throttled"], sample["over_current"], sample["alarms"]) == (True, False, ["gpu1 slowed down"])
    assert lost["what"] == "NVML tells no power"


@pytest.mark.parametrize(
    ("reasons", "throttled", "over_current"),
    [(0x1, False, False), (0x4, False, False), (0x8, True, False), (0x20, True, False), (0x88, False, True)],
)
def test_a_reason_for_low_clocks_is_told(library: Path, reasons: int, throttled: bool, over_current: bool) -> None:
    """Idle and a kept power limit are no alarm; heat and the power brake are, each by its name."""
    sample = _answers(library, CARD | {"REASONS": reasons})[0]
    assert (sample["throttled"], sample["over_current"]) == (throttled, over_current)


def test_what_a_card_does_not_support_is_absent(library: Path) -> None:
    """A card without a fan has no fan at zero."""
    sample = _answers(library, {"POWER": 15_000})[0]
    assert (sample["total_w"], sample["fan_percent"], sample["gpu_percent"]) == (15.0, None, None)
    assert (sample["temperature_c"], sample["clocks_hz"], sample["throttled"]) == ({}, {}, False)


def test_a_fan_beyond_its_full_rate_is_at_it(library: Path) -> None:
    """NVML tells of more than 100 % where a card drives its fan beyond what it was rated for."""
    assert _answers(library, CARD | {"FAN": 105})[0]["fan_percent"] == 100.0


def test_a_card_without_power_is_no_power_source(library: Path) -> None:
    """As on an Orin, whose NVML answers but knows no power."""
    assert _answers(library, {"HEAT": 50})[0]["what"] == "no graphics card tells its power through NVML"


def test_a_missing_driver_is_said(library: Path) -> None:
    """With the library's own words and what to do."""
    refusal = _answers(library, CARD, FAKE_NO_DRIVER="1")[0]
    assert (refusal["what"], refusal["found"]) == ("NVML does not start", "Driver Not Loaded")
