"""NVIDIA graphics cards through NVML (``nvidia-ml-py``, optional): the cards' own power, not the whole machine's.

On Orin NVML knows no power, and this source says so; on a Thor and on a workstation it is asked for each figure, and
what a card does not support is absent.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge.power.board import Board, completed
from edge.power.interface import PowerError, PowerSample
from edge.power.sysfs import SYS

_SLOWED, _TOO_HOT, _BRAKED = 0x8, 0x20 | 0x40, 0x80
"""Reasons for lowered clocks: the hardware's slow-down, which the next two bring about; heat as software and hardware
see it; the external power brake. A software power cap (0x4) is the card keeping to its limit, and no alarm."""
_REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
_HZ_PER_MHZ = 1e6
_FULL_PERCENT = 100.0


class Nvml:
    """The graphics cards.

    Args:
        library: the ``pynvml`` module; imported when not given.
        sys: the root of sysfs, for what NVML does not say.

    Raises:
        PowerError: there is no library, no driver, or no card that tells its power.
    """

    name = "nvml"

    def __init__(self, library: Any = None, sys: Path = SYS) -> None:  # noqa: ANN401 - the library has no types
        self._nvml = library or _library()
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise PowerError("NVML does not start", found=str(error), remedy="install NVIDIA's driver") from error
        try:
            self._cards = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(self._nvml.nvmlDeviceGetCount())]
            self._board = Board(sys)
            self.read()
        except (PowerError, self._nvml.NVMLError) as error:
            self.close()
            raise PowerError(
                "no graphics card tells its power through NVML", found=str(error), remedy="choose power.source: auto"
            ) from error

    def read(self) -> PowerSample:
        """Figures of all cards; of several, the warmest, fastest and busiest stands for loads, clocks and fans.

        Raises:
            PowerError: no card tells its power any more.
        """
        nvml, cards = self._nvml, dict(enumerate(self._cards))
        milliwatts = {index: self._ask(nvml.nvmlDeviceGetPowerUsage, card) for index, card in cards.items()}
        rails_w = {f"gpu{index}": value / 1000 for index, value in milliwatts.items() if value is not None}
        if not rails_w:
            raise PowerError("NVML tells no power", found=f"{len(cards)} graphics cards")
        reasons = {index: self._reasons(card) for index, card in cards.items()}
        hot = tuple(f"gpu{index} slowed down" for index, bits in reasons.items() if _is_hot(bits))
        braked = tuple(f"gpu{index} power brake" for index, bits in reasons.items() if bits & _BRAKED)
        sample = PowerSample(
            at_s=time.monotonic(),
            total_w=sum(rails_w.values()),
            rails_w=rails_w,
            temperature_c=self._temperatures(),
            clocks_hz=self._clocks(),
            fan_percent=self._fan(),
            gpu_percent=self._load(),
            throttled=bool(hot),
            over_current=bool(braked),
            alarms=(*hot, *braked),
        )
        return completed(sample, self._board.look())

    def close(self) -> None:
        """Give the library back."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None

    def _most(self, question: Callable[..., Any], *arguments: Any) -> float | None:  # noqa: ANN401
        values = [value for card in self._cards if (value := self._ask(question, card, *arguments)) is not None]
        return float(max(values)) if values else None

    def _fan(self) -> float | None:
        """How hard the busiest fan is driven; NVML's figure may go beyond 100 % where a card allows that."""
        percent = self._most(self._nvml.nvmlDeviceGetFanSpeed)
        return None if percent is None else min(percent, _FULL_PERCENT)

    def _load(self) -> float | None:
        rates = [self._ask(self._nvml.nvmlDeviceGetUtilizationRates, card) for card in self._cards]
        loads = [rate.gpu for rate in rates if rate is not None]
        return float(max(loads)) if loads else None

    def _temperatures(self) -> dict[str, float]:
        nvml = self._nvml
        found = {
            f"gpu{index}": self._ask(nvml.nvmlDeviceGetTemperature, card, nvml.NVML_TEMPERATURE_GPU)
            for index, card in enumerate(self._cards)
        }
        return {name: float(degrees) for name, degrees in found.items() if degrees is not None}

    def _clocks(self) -> dict[str, float]:
        nvml = self._nvml
        megahertz = {
            "gpu": self._most(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            "emc": self._most(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
        }
        return {name: value * _HZ_PER_MHZ for name, value in megahertz.items() if value is not None}

    def _reasons(self, card: Any) -> int:  # noqa: ANN401
        for name in _REASONS:
            bits = self._ask(getattr(self._nvml, name, _unknown), card)
            if bits is not None:
                return int(bits)
        return 0


def _is_hot(reasons: int) -> bool:
    return bool(reasons & _TOO_HOT) or bool(reasons & _SLOWED and not reasons & _BRAKED)


def _unknown(_: object) -> None:
    """The answer to a question that this version of the library does not know."""


def _library() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise PowerError("nvidia-ml-py is not installed", remedy="pip install nvidia-ml-py") from error
