"""Messages survive the wire, and nothing on the wire can do more than be refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import DataError
from mien.lifecycle import UpdateState
from mien.messages import MAX_PAYLOAD_BYTES, Desired, Power, Status, Twin, UpdateReport, Window, decode, encode
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
