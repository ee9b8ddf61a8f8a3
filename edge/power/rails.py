"""Decides which rails of a Jetson make up its input power, so that no watt is counted twice. Pure.

- A board that measures its input says so on one rail: ``VDD_IN`` (Orin Nano, Orin NX, Xavier NX, TX1, TX2),
  ``POM_5V_IN`` (Nano) or ``VIN`` (the carrier of a Thor, which feeds the module). The other rails lie behind that one.
- AGX Orin, AGX Xavier and a Thor whose carrier does not measure have several supply rails side by side; their sum is
  the module's power. AGX Orin's ``VDDQ_VDD2_1V8AO`` lies behind ``VIN_SYS_5V0`` and is no part of the sum (its users
  quote the Developer Guide r36.4.3, "Software-Based Power Consumption Modeling", and NVIDIA's forum for it).
- Any other set of rails has no total: a part would pass for the whole.
"""

from __future__ import annotations

from collections.abc import Mapping

INPUT_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
"""Names of the rail that feeds the whole board, the outermost first."""

SUPPLY_RAILS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
"""Rails that stand side by side and together feed a module: AGX Orin, Thor, AGX Xavier."""

NOT_CONNECTED = "NC"


def total_w(rails_w: Mapping[str, float]) -> float | None:
    """Input power of the board or module; ``None`` where these rails do not tell."""
    for name in INPUT_RAILS:
        if name in rails_w:
            return rails_w[name]
    for names in SUPPLY_RAILS:
        if all(name in rails_w for name in names):
            return sum(rails_w[name] for name in names)
    return None
