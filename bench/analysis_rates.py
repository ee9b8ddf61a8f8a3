"""How often the default analysis halts a good release, and lets a worse one pass: simulated and seeded.

Run: ``.venv/bin/python bench/analysis_rates.py [RUNS]``; writes ``bench/results/analysis.json``. The site that is
simulated is ``tests/fakes/canary_field.py``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fleet.rollouts.analysis_policy import AnalysisPolicy  # noqa: E402
from tests.fakes.canary_field import soak  # noqa: E402

CASES = {
    "no change": {},
    "fps -15 %, within the limit": {"fps": 0.85},
    "fps -30 %": {"fps": 0.7},
    "fps -50 %": {"fps": 0.5},
    "latency p95 +80 %": {"latency_p95_ms": 1.8},
    "latency p95 +150 %": {"latency_p95_ms": 2.5},
    "energy per inference +50 %": {"energy_per_inference_j": 1.5},
    "temperature +15 °C": {"temperature_c": 15.0},
    "confidence -25 %": {"confidence": 0.75},
    "detections -80 %": {"detections_per_frame": 0.2},
    "five times as many happy": {"happy": 5.0},
}


def main() -> None:
    """Simulate, print, write."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    policy, rows = AnalysisPolicy(), []
    print(f"{'release':<30}{'halted':>9}{'passed':>9}{'asked':>9}   of {runs} canaries")
    for name, worse in CASES.items():
        ends: Counter[str] = Counter()
        blamed: Counter[str] = Counter()
        for seed in range(runs):
            end, verdict = soak(seed, policy, worse)
            ends[end] += 1
            blamed.update(metric.metric for metric in verdict.metrics if metric.outcome == "fail")
        shares = {end: ends[end] / runs for end in ("halt", "pass", "pause")}
        rows.append({"case": name, "runs": runs, **shares, "failed_metrics": dict(blamed)})
        print(
            f"{name:<30}{shares['halt']:>9.1%}{shares['pass']:>9.1%}{shares['pause']:>9.1%}   {dict(blamed)}",
            flush=True,
        )
    (ROOT / "bench" / "results" / "analysis.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
