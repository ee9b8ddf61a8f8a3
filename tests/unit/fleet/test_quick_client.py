"""Reading MQTT where it lies: a plain message is what paho would have made of it, anything else is left to paho."""

import inspect
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client

from fleet.ingest.decoding import Bad
from fleet.ingest.intake import Intake
from fleet.ingest.interface import Incoming
from fleet.ingest.quick_client import QuickClient, plain_message


def packet(topic=b"a/b", payload=b"{}", *, first=0x32, number=7, properties=b"\0"):
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", number) + properties + payload
    size, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)
        size.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes((first, *size)) + body


@given(st.text(max_size=50), st.binary(max_size=20_000), st.integers(1, 65535), st.binary(max_size=5))
def test_a_plain_message_is_read_whole(topic, payload, number, after):
    """Of any length, with anything behind it."""
    held = packet(topic.encode(), payload, number=number)
    assert plain_message(held + after, 0) == (len(held), topic, number, payload)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_a_message_or_left(held, at):
    """It raises nothing and never reads beyond what is there."""
    found = plain_message(held, at)
    assert found is None or at < found[0] <= len(held)


@given(st.data())
def test_a_message_that_is_not_whole_is_left(data):
    """Cut anywhere."""
    held = packet(payload=b"x" * 300)
    assert plain_message(held[: data.draw(st.integers(0, len(held) - 1))], 0) is None


@pytest.mark.parametrize(
    "held",
    [
        packet(first=0x30),
        packet(first=0x34),
        packet(first=0x40),
        packet(properties=b"\x05\x02\0\0\0\x09"),
        packet(topic=b"\xff"),
        b"\x32\xff\xff\xff\xff\xff",
        b"\x32\x02\xff\xff",
        b"\x32\x00",
    ],
    ids=["qos 0", "qos 2", "no publish", "properties", "no utf-8", "endless size", "topic beyond the end", "empty"],
)
def test_what_is_unusual_is_left_to_paho(held):
    """It knows what to do."""
    assert plain_message(held, 0) is None


def test_paho_still_has_what_this_leans_on():
    """An update of paho that changes one of these fails here."""
    for name in ("_sock_recv", "_sock_close", "_packet_queue", "loop_read"):
        assert name in vars(Client), name
    assert list(inspect.signature(Client._packet_queue).parameters)[1:5] == ["command", "packet", "mid", "qos"]
    assert '"command": 0' in inspect.getsource(Client._packet_read)
    assert QuickClient._sock_recv is not Client._sock_recv


def taken(number):
    return Incoming(topic=str(number), payload=b""), Bad(device_id=None, reason="")


def test_the_intake_keeps_order_and_gives_no_more_than_asked():
    """And what is left comes next."""
    intake = Intake(10)
    for number in range(7):
        intake.put(taken(number))
    batches = [intake.take(5, linger_s=0, wait_s=0) for _ in range(3)]
    assert [[message.topic for message, _ in batch] for batch in batches] == [list("01234"), list("56"), []]
    assert intake.is_empty


def test_a_full_intake_holds_whoever_brings_more():
    """Until there is room: that is the back-pressure."""
    intake = Intake(3)
    bringing = threading.Thread(target=lambda: [intake.put(taken(number)) for number in range(9)])
    bringing.start()
    got = []
    while len(got) < 9:
        batch = intake.take(2, linger_s=0, wait_s=5)
        assert len(batch) <= 2
        got += [message.topic for message, _ in batch]
    bringing.join(5)
    assert got == [str(number) for number in range(9)]


def test_a_closed_intake_takes_nothing_and_gives_what_it_has():
    """What it does not take is not acknowledged, so the broker keeps it."""
    intake = Intake(1)
    intake.put(taken(1))
    intake.close()
    intake.put(taken(2))
    assert [message.topic for message, _ in intake.take(5, linger_s=9, wait_s=9)] == ["1"]
    assert intake.is_empty
