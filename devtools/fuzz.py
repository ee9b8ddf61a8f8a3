"""Fuzzes the decoder of messages, guided by coverage (atheris, which is libFuzzer for Python).

    python devtools/fuzz.py [--seconds 60]

The first byte of an input chooses the channel, the rest is the payload. What must hold is one function in
``tests/fuzzing.py``; the test suite runs it over the same corpus, tests/fixtures/fuzz, without atheris. Inputs that
reach something new are kept in .cache/fuzz; one that breaks the rule is written there too and ends the run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CORPUS, FOUND = ROOT / "tests" / "fixtures" / "fuzz", ROOT / ".cache" / "fuzz"
_LONGEST = 8192
_SLOWEST_S = 5


def main() -> int:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    order = parser.parse_args()
    try:
        import atheris
    except ImportError:
        sys.stderr.write("atheris has no wheel for this Python; the suite's own fuzzing runs without it: make unit\n")
        return 9
    with atheris.instrument_imports(include=["mien", "fleet", "tests.fuzzing"]):
        from tests.fuzzing import check
    FOUND.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={order.seconds}", f"-max_len={_LONGEST}", f"-timeout={_SLOWEST_S}"]
    words = [f"-dict={CORPUS / 'words.dict'}"]
    folders = [str(FOUND), str(CORPUS)]
    atheris.Setup([sys.argv[0], *limits, *words, f"-artifact_prefix={FOUND}/broken-", *folders], check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
