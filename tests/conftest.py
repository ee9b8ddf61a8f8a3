"""What all tests share: few examples of a property, none held to a clock, and signals as they were before the test."""

import signal

import pytest
from hypothesis import settings

settings.register_profile("mien", max_examples=50, deadline=None)
settings.load_profile("mien")

_TOUCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

for _number in _TOUCHED:
    # Under nohup, or as a shell's background job, signals are ignored, and children inherit that. What is caught here is
    # as good as ignored for the tests, and back to the default for the programs that they start.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


@pytest.fixture(autouse=True)
def signals_stay():
    """A command that runs within a test ignores signals at its end; the processes of later tests must not inherit it."""
    before = {number: signal.getsignal(number) for number in _TOUCHED}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
