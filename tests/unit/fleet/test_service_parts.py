"""Settings, schema, commands of operators, pages: the small parts around the service."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi import FastAPI
from sqlalchemy import create_engine
from sqlalchemy.exc import DataError

from fleet.api.errors import STATUS, install, status_of
from fleet.broker.mosquitto import access_rules
from fleet.cli_views import fact_rows
from fleet.client import FleetClient
from fleet.config import read_fleet
from fleet.dashboard import views
from fleet.dashboard.pages import STATIC
from fleet.durations import seconds_of
from fleet.errors import ConflictError, NotFoundError
from fleet.loops import in_turn
from fleet.rollouts.explain import explain
from fleet.rollouts.orders import Order, command, create
from fleet.rollouts.states import TRANSITIONS, RolloutState
from fleet.rollouts.tick import Tick
from fleet.store.database import open_store
from fleet.store.models import Base
from fleet.store.releases import Release
from mien.errors import ConfigError, MienError, UnavailableError
from mien.lifecycle import UpdateState
from mien.messages import Power, Window
from tests.fakes.paper_bundle import write_bundle
from tests.fakes.rollout_world import World, devices, policy

ROOT = Path(__file__).parents[3]
NOW = 1_800_000_000.0


def faults(**overrides):
    with pytest.raises(ConfigError) as caught:
        read_fleet(None, {name.replace("__", "."): value for name, value in overrides.items()})
    return "\n".join(caught.value.faults)


def test_the_defaults_stay_on_this_machine():
    """Nobody else reaches a service that was not told to be reached."""
    assert read_fleet(None, {}).http.host == "127.0.0.1"


def test_an_open_port_needs_tls():
    """Plain text beyond loopback is refused, for HTTP and for MQTT."""
    assert "without TLS" in faults(http__host="0.0.0.0")
    assert "without TLS" in faults(mqtt__broker="external", mqtt__host="10.0.0.5")
    assert "loopback only" in faults(mqtt__host="0.0.0.0")


def test_tls_is_one_thing_or_the_other():
    """The fleet's own certificate needs names beyond loopback, and never stands beside a given one."""
    assert "needs names" in faults(http__host="0.0.0.0", http__tls="auto")
    assert "leave it out" in faults(http__tls="auto", http__tls_cert="a", http__tls_key="b")
    assert "names are for" in faults(http__names=["fleet.example.org"])


@pytest.mark.parametrize("url", ["http://192.0.2.1:8321", "http://fleet.example.org"])
def test_the_operator_token_never_travels_in_plain_text(url):
    """To another machine only https; without a token reading may be tried."""
    with pytest.raises(ConfigError, match="operator token"):
        FleetClient(url, "secret")
    FleetClient(url, None)


def test_nested_facts_have_dotted_names():
    """And what is not known stays empty."""
    assert fact_rows({"id": "cam-1", "twin": {"facts": {"board": None}}}) == [
        ("id", "cam-1"),
        ("twin.facts.board", None),
    ]


def test_the_command_line_wins_over_the_file(tmp_path):
    """And only over what it names."""
    path = tmp_path / "fleet.yaml"
    path.write_text("http: {port: 9000, names: [], trusted_hosts: [fleet.test]}\n")
    settings = read_fleet(path, {"http.port": 9001, "mqtt.port": None})
    assert (settings.http.port, settings.http.trusted_hosts) == (9001, ("fleet.test",))


def test_an_unknown_setting_is_refused_with_the_nearest(tmp_path):
    """A typing error never becomes a default."""
    path = tmp_path / "fleet.yaml"
    path.write_text("http: {prot: 9000}\n")
    with pytest.raises(ConfigError) as caught:
        read_fleet(path, {})
    assert "did you mean port" in caught.value.faults[0]


def _of_another_kind(_context, _inspected, _declared, found, wanted):
    """Whether a column changed its kind; SQLAlchemy 2.0 and 2.1 read the same float back under two names."""
    return found._type_affinity is not wanted._type_affinity


def test_the_migrations_make_what_the_models_say(tmp_path):
    """A model without its migration fails here, not on a server."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    open_store(url).close()
    with create_engine(url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": _of_another_kind})
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_that_is_not_there_is_one_sentence(tmp_path):
    """With what to look at."""
    with pytest.raises(UnavailableError):
        open_store(f"sqlite:///{tmp_path / 'no' / 'such' / 'fleet.db'}")


@pytest.mark.parametrize("name", ["local", "site"])
def test_every_settings_file_that_comes_with_mien_is_read(name):
    """And the local one says what the service does without a file."""
    settings = read_fleet(ROOT / "configs" / "fleet" / f"{name}.yaml", {})
    assert settings.http.scheme == "https" or settings == read_fleet(None, {})


def test_a_half_done_unit_of_work_leaves_nothing(store):
    """All of it or none."""
    with pytest.raises(ZeroDivisionError), store.write() as work:
        work.devices.seen("cam-1", NOW + 99)
        raise ZeroDivisionError
    with store.read() as work:
        assert work.devices.find("cam-1").last_seen_at is None


def test_every_error_has_a_status():
    """Errors of ours are answered by the first line of the table that fits."""
    assert status_of(NotFoundError("x")) == 404
    assert status_of(ConflictError("x")) == 409
    assert status_of(ConfigError("x")) == 422
    assert STATUS[-1][0] is MienError


@pytest.fixture
def released(store, tmp_path):
    """A store with the release faces@1.1.0."""
    manifest = write_bundle(tmp_path / "bundle", "1.1.0")
    with store.write() as work:
        work.releases.put(Release(ref="faces@1.1.0", manifest_sha256="a" * 64, manifest=manifest, published_at=NOW))
    return store


def make(store, **given):
    with store.write() as work:
        return create(work, "faces@1.1.0", policy(**given), seed="s", now=NOW).view


def order(store, number, name):
    with store.write() as work:
        return command(work, number, Order(name=name, actor="ada"), now=NOW).view.state


def test_an_unknown_release_names_the_known(released):
    """A typing error in a release is answered with the nearest."""
    with pytest.raises(NotFoundError) as caught, released.write() as work:
        create(work, "faces@1.1.1", policy(), seed="s", now=NOW)
    assert "faces@1.1.0" in caught.value.wanted


def test_a_rollout_may_need_approval(released):
    """It cannot start before somebody approved it."""
    number = make(released, approval=True).id
    with pytest.raises(ConflictError) as caught:
        order(released, number, "start")
    assert "approve" in caught.value.wanted
    assert order(released, number, "approve") is RolloutState.READY
    assert order(released, number, "start") is RolloutState.RUNNING


def test_one_rollout_at_a_time_holds_a_device(released):
    """A second one for the same devices is refused while the first runs."""
    first, second = make(released).id, make(released).id
    order(released, first, "start")
    with pytest.raises(ConflictError) as caught:
        order(released, second, "start")
    assert f"abort {first}" in caught.value.remedy


def test_a_rollout_for_nobody_cannot_start(released):
    """An empty group is a mistake, not a success."""
    with pytest.raises(ConflictError):
        order(released, make(released, group="nobody").id, "start")


def test_a_tick_is_stored_whole_and_once(released):
    """It tells the device, once; the next tick finds nothing to do."""
    order(released, make(released).id, "start")
    tick = Tick(released, clock=lambda: NOW, changed=lambda: None)
    assert tick.run() > 0
    assert tick.run() == 0
    with released.read() as work:
        device = work.devices.find("cam-1")
        assert device.desired["release"] == {"name": "faces", "version": "1.1.0"}
        assert device.desired["manifest_sha256"] == "a" * 64
        assert work.devices.find("gone-1").desired is None


def test_a_new_process_goes_on_where_the_old_one_was_killed(released, store_url):
    """Nothing of a rollout is in memory."""
    order(released, make(released).id, "start")
    Tick(released, clock=lambda: NOW, changed=lambda: None).run()
    again = open_store(store_url)
    with again.write() as work:
        (execution,) = work.rollouts.find(1).view.executions
        from mien.messages import UpdateReport
        from mien.release import ReleaseRef

        report = UpdateReport(
            deployment_id=execution.deployment_id,
            release=ReleaseRef.parse("faces@1.1.0"),
            sequence=1,
            state=UpdateState.COMMITTED,
            at=NOW,
        )
        work.rollouts.report("cam-1", report)
    Tick(again, clock=lambda: NOW + 1, changed=lambda: None).run()
    with again.read() as work:
        assert work.rollouts.find(1).view.state is RolloutState.FINISHED
    again.close()


def test_every_state_of_a_rollout_is_in_the_table():
    """And only ended ones lead nowhere."""
    assert set(TRANSITIONS) == set(RolloutState)
    assert {state for state, events in TRANSITIONS.items() if not events} == {"stopped", "finished"}


def test_an_explanation_names_what_is_waited_for():
    """A device that is offline holds the wave, and is named."""
    world = World(policy(), devices(2, online=False))
    world.settle()
    told = " ".join(explain(world.rollout, world.fleet, None))
    (execution,) = world.rollout.executions
    assert f"offline: {execution.device_id}" in told
    assert "Devices not reached: 1" in told


def test_a_device_may_only_speak_for_itself():
    """The access rules name the device's own subtree, and let it write nowhere that the fleet speaks."""
    rules = access_rules()
    assert "pattern write mien/v1/%u/m" in rules
    assert "pattern read mien/v1/%u/desired" in rules
    assert "write mien/v1/%u/desired" not in rules


def test_vendored_files_are_those_that_were_pinned():
    """Name, version and hash stand in VERSIONS."""
    lines = (STATIC / "vendor" / "VERSIONS").read_text().splitlines()
    pinned = dict(line.split()[::3] for line in lines if not line.startswith("#"))
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (STATIC / "vendor").iterdir()
        if path.suffix in {".js", ".css"}
    }
    assert found == pinned


def test_pages_bring_no_script_of_their_own():
    """The content security policy allows none: no inline script, style or handler, nothing from elsewhere."""
    templates = STATIC.parent / "templates"
    for page in templates.glob("*.html"):
        text = page.read_text()
        assert "<style" not in text
        assert " style=" not in text
        assert "onclick" not in text
        assert "http://" not in text
        assert "https://" not in text
        assert text.count("<script") == text.count('<script src="/static/')


def test_totals_count_what_is_online_and_name_the_source():
    """A revoked or sleeping device adds nothing."""
    base = {"state": "accepted", "online": True, "silent": False, "throttled": False, "over_current": False}
    rows = [
        base | {"fps": 10.0, "power_w": 7.0, "power_source": "replay"},
        base | {"fps": 5.0, "power_w": None, "power_source": "none"},
        base | {"fps": 99.0, "power_w": 9.0, "power_source": "jtop", "online": False},
        base | {"fps": 99.0, "power_w": 9.0, "power_source": "jtop", "state": "revoked"},
    ]
    assert views.totals(rows) == {
        "devices": 3,
        "online": 2,
        "fps": 15.0,
        "power_w": 7.0,
        "power_sources": "replay",
        "troubled": 0,
    }


def test_expression_bars_keep_the_releases_order():
    """Shares add up over windows; absent expressions have a bar of nothing."""
    one = Window(
        window_id="w", sequence=1, boot_id="b", started_at=0, ended_at=1, frames=1, fps=1,
        power=Power(source="none"), expressions={"sad": 1, "fear": 0, "happy": 3},
    )  # fmt: skip
    bars = views.expression_bars([one, one])
    assert [(bar["label"], bar["share"]) for bar in bars] == [("sad", 0.25), ("fear", 0.0), ("happy", 0.75)]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_700, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_durations_are_shown_with_two_units(seconds, shown):
    """Short enough for a table."""
    assert views.span(seconds).replace("\u202f", " ") == shown


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("7d", 604800)])
def test_durations_are_read_as_people_write_them(text, seconds):
    """With one unit."""
    assert seconds_of(text) == seconds


def test_a_duration_without_unit_is_refused():
    """Nobody knows what 15 means."""
    with pytest.raises(ConfigError):
        seconds_of("15")


def test_the_commands_load_without_the_service():
    """'mien fleet --help' imports neither the web framework nor the database."""
    code = "import sys, fleet.cli; bad = {'fastapi', 'sqlalchemy', 'uvicorn', 'tuf', 'httpx', 'paho'} & set(sys.modules); sys.exit(repr(bad) if bad else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_fault_in_one_part_keeps_no_other_from_its_turn():
    """It is raised in the end."""
    done = []

    def faulty():
        done.append("faulty")
        raise ValueError("no rest")

    with pytest.raises(ValueError, match="no rest"):
        in_turn(faulty, lambda: done.append("next"), lambda: done.append("last"))()
    assert done == ["faulty", "next", "last"]


def test_a_value_that_the_database_refuses_is_the_requests_fault():
    """No fault of ours, and nothing of the statement is shown."""
    app = FastAPI()
    install(app)
    answer = app.exception_handlers[DataError](None, DataError("SELECT secret", None, ValueError("NUL")))
    assert answer.status_code == 422
    assert b"SELECT" not in answer.body
