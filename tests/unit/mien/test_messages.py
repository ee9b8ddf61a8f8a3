"""Messages survive the wire, and nothing on the wire can do more than be refused."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import DataError
from mien.lifecycle import UpdateState
from mien.messages import LARGEST, MAX_PAYLOAD_BYTES, Desired, Power, Status, Twin, UpdateReport, Window, decode, encode
from mien.release import ReleaseRef

WINDOW = Window(
    window_id="w1",
    sequence=1,
    boot_id="b",
    started_at=1.0,
    ended_at=2.0,
    frames=10,
    fps=10.0,
    power=Power(source="none"),
)


def test_a_window_comes_back_as_it_went():
    """Encoding and decoding are inverse, and absent power is absent on the wire, not zero."""
    payload = encode(WINDOW)
    assert decode(Window, payload, source="test") == WINDOW
    assert b"total_w" not in payload


def test_unknown_fields_are_kept():
    """A field of a newer agent is passed on."""
    window = decode(Window, encode(WINDOW)[:-1] + b',"future":7}', source="test")
    assert window.model_dump()["future"] == 7


def test_a_state_travels_as_its_word():
    """Update states are plain words on the wire."""
    report = UpdateReport(
        deployment_id="d", release=ReleaseRef(name="f", version="1.0.0"), sequence=0, state=UpdateState.PROBING, at=1.0
    )
    assert b'"state":"probing"' in encode(report)


@given(st.binary(max_size=300), st.sampled_from([Status, Twin, Window, UpdateReport, Desired]))
def test_any_bytes_are_read_or_refused_by_name(payload, model):
    """Nothing but a DataError with its source ever leaves the decoder."""
    try:
        decode(model, payload, source="cam-1/m")
    except DataError as error:
        assert "cam-1/m" in str(error)


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b"\xff\xfe",
        b"NaN",
        b"null",
        b'{"state":"online","boot_id":"b","agent_version":"1","at":1e999}',
    ],
)
def test_hostile_payloads_are_refused(payload):
    """Deep nesting, broken text and infinite numbers end as a DataError."""
    with pytest.raises(DataError):
        decode(Status, payload, source="test")


def test_an_oversized_payload_is_refused_before_it_is_parsed():
    """The size limit holds even for valid JSON."""
    with pytest.raises(DataError, match="too large"):
        decode(Status, b" " * (MAX_PAYLOAD_BYTES + 1), source="test")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*Window.model_fields, "future"]), JSON, max_size=6))
def test_what_is_read_can_be_held_everywhere(values):
    """Whatever stands in a field, known or not: what the decoder lets through is plain JSON with 64 bits, without NUL."""
    payload = encode(WINDOW)[:-1] + b"," + json.dumps(values).encode()[1:] if values else encode(WINDOW)
    try:
        window = decode(Window, payload, source="test")
    except DataError:
        return
    plain = json.dumps(window.model_dump(mode="json"), allow_nan=False)
    assert "\\u0000" not in plain.replace("\\\\", "")
    for number in _integers(json.loads(plain)):
        assert -LARGEST - 1 <= number <= LARGEST


def _integers(value):
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _integers(inner)
    elif isinstance(value, int):
        yield value


def _with(**extra):
    """A window's bytes with raw JSON added."""
    fields = "".join(f',"{name}":{raw}' for name, raw in extra.items())
    return encode(WINDOW)[:-1] + fields.encode() + b"}"


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (_with(future="NaN"), "not finite"),
        (_with(future='[{"deep":[-Infinity]}]'), "not finite"),
        (_with(future="1e999"), "not finite"),
        (_with(power='{"source":"none","new":1e999}'), "not finite"),
        (_with(latency_ms='{"total":{"p50":1,"p95":1,"p99":1,"new":NaN}}'), "not finite"),
        (_with(release='{"name":"f","version":"1.0.0","new":NaN}'), "not finite"),
        (_with(temperature_c='{"cpu":NaN}'), "finite"),
        (_with(fps="9" * 400), "finite"),
        (_with(frames="9" * 4000), "frames"),
        (_with(future="9" * 4000), "64 bits"),
        (_with(future="9" * 5000), "out of range"),
        (_with(nvpmodel='"a\\u0000b"'), "NUL"),
        (_with(future='"' + "\\\\" * 1000 + '\\u0000"'), "NUL"),
        (_with(future='"\\ud800"'), "hex escape"),
        (_with(future="[" * 300 + "]" * 300), "recursion"),
        (b"\xef\xbb\xbf" + encode(WINDOW), "expected value"),
        (encode(WINDOW) + b" {}", "trailing"),
    ],
    ids=lambda value: repr(value[-24:]) if isinstance(value, bytes) else "",
)
def test_what_somebody_could_not_hold_is_refused(payload, found):
    """Wherever it stands, the reason says what it was."""
    with pytest.raises(DataError, match=found):
        decode(Window, payload, source="test")


def test_an_escaped_backslash_before_u0000_is_no_nul():
    """The text is a backslash and four zeros."""
    window = decode(Window, _with(future='"\\\\u0000"'), source="test")
    assert window.model_dump()["future"] == "\\u0000"


def test_of_a_key_that_is_there_twice_the_last_counts():
    """As every other reader of the stored bytes does it."""
    payload = _with(frames="3", future="1")[:-1] + b',"frames":4,"future":2}'
    window = decode(Window, payload, source="test")
    assert (window.frames, window.model_dump()["future"]) == (4, 2)
    assert json.loads(payload)["frames"] == 4


@pytest.mark.parametrize("unit", ["[" * 180 + "]" * 180, "NaN", '{"a":[1]}', "9" * 4000, '"\\u0000"'])
def test_the_work_grows_with_the_size_alone(unit):
    """Twice as much input costs about twice as many steps of the interpreter, not four times."""
    few, many = (_steps(_with(future="[" + ",".join([unit] * count) + "]")) for count in (12, 24))
    assert many <= 2.5 * few + 1000


def _steps(payload):
    """Function calls and lines that reading takes: a measure without a clock."""
    count = 0

    def trace(_frame, _event, _argument):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        decode(Window, payload, source="test")
    except DataError:
        pass
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("clock", [0.0, 86_400.0, 4_102_444_800.0, 253_402_300_799.0])
def test_any_clock_is_read(clock):
    """1970 and 2100 are wrong, not malformed: what they mean is decided where order matters."""
    payload = encode(Status(state="online", boot_id="b", agent_version="1", at=clock))
    assert decode(Status, payload, source="test").at == clock
