"""Topics name a device's subtree and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import ConfigError
from mien.topics import STREAM_DATA, STREAM_GET, Address, all_devices, parse, topic, valid_device_id


@given(st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,20}\Z"), st.sampled_from(["status", "m", "update"]))
def test_a_topic_reads_back(device_id, channel):
    """What is built parses to its parts."""
    assert parse(topic(device_id, channel)) == Address(device_id=device_id, channel=channel)


@pytest.mark.parametrize("device_id", ["", "+", "#", "a/b", "A", "-a", "a" * 64, "a b", "é", "a\n"])
def test_a_name_that_could_widen_a_subscription_is_refused(device_id):
    """Wildcards, slashes and upper case are no device ids."""
    assert not valid_device_id(device_id)
    with pytest.raises(ConfigError):
        topic(device_id, "m")


@pytest.mark.parametrize("name", ["", "mien/v1", "mien/v1/", "mien/v1//m", "other/v1/a/m", "mien/v1/a", "mien/v1/a/"])
def test_foreign_topics_parse_to_nothing(name):
    """A topic that is not ours has no address."""
    assert parse(name) is None


def test_commands_keep_their_rest():
    """Operation and id follow the channel."""
    assert parse("mien/v1/cam-1/cmd/restart/7") == Address(device_id="cam-1", channel="cmd", rest=("restart", "7"))
    assert all_devices("m") == "mien/v1/+/m"


def test_streams_have_two_topics_of_a_device():
    """One that it asks on and one that it is answered on."""
    assert parse(topic("cam-1", STREAM_GET)) == Address(device_id="cam-1", channel="stream", rest=("get",))
    assert parse(topic("cam-1", STREAM_DATA)) == Address(device_id="cam-1", channel="stream", rest=("data",))
