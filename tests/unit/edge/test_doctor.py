"""The doctor's way of working: probes on real files, time limits, and the table."""

from __future__ import annotations

import fcntl
import io
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from rich.console import Console

from edge.config import CameraSettings
from edge.doctor.examine import Check, run_checks
from edge.doctor.finding import Finding, ok, skipped, warning, wrong
from edge.doctor.probes import agent, ask, machine, stack
from edge.doctor.report import as_json, summary_of, table_of_findings
from edge.doctor.seen import Answer
from mien.errors import UnavailableError


def test_a_look_that_hangs_or_fails_hides_no_other() -> None:
    """Findings come in the order of the checks: one that hangs is left, a fault of ours is told as such."""
    hold = threading.Event()

    def hangs() -> Finding:
        hold.wait(60)
        return ok("hangs", "never")

    def fails() -> Finding:
        raise UnavailableError("nothing answers", found="silence", remedy="plug it in")

    found = run_checks(
        [
            Check(what="hangs", look=hangs, limit_s=0.2),
            Check(what="fails", look=fails),
            Check(what="breaks", look=lambda: ok("breaks", str(1 // 0))),
            Check(what="camera front", look=lambda: ok("camera", "640×480")),
        ]
    )
    hold.set()
    assert [(finding.what, finding.state) for finding in found] == [
        ("hangs", "wrong"),
        ("fails", "wrong"),
        ("breaks", "wrong"),
        ("camera front", "ok"),
    ]
    assert (found[1].found, found[1].remedy) == ("nothing answers; silence", "plug it in")
    assert "ZeroDivisionError" in found[2].found


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("/etc/hostname", "sudo chown -R mien: /etc/hostname"),
        ("/dev/video0", "sudo usermod -aG GROUP"),
        ("", "sudo -u mien"),
    ],
)
def test_what_this_user_may_not_read_is_no_fault_of_mien(path: str, remedy: str) -> None:
    """The finding names the file and the command that gives the right, and asks nobody to report it."""

    def look() -> Finding:
        raise PermissionError(13, "Permission denied", path or None)

    (found,) = run_checks([Check(what="identity", look=look)])
    assert (found.what, found.state) == ("identity", "wrong")
    assert path in found.found
    assert remedy in found.remedy
    assert "report" not in found.remedy


def test_the_folder_that_is_shut_is_named_rather_than_the_file_in_it(tmp_path: Path) -> None:
    """Rights to the file alone would mend nothing."""
    shut = tmp_path / "identity"
    shut.mkdir(mode=0o000)
    found = machine.barred(str(shut / "key.pem"))
    assert found == (str(shut / "key.pem") if os.getuid() == 0 else str(shut))
    assert machine.barred(str(tmp_path / "key.pem")) == str(tmp_path / "key.pem")


def test_progress_counts_every_look() -> None:
    """The bar ends full."""

    class Counter:
        total = done = 0

        def start(self, description: str, total: int | None = None) -> None:
            self.total = total or 0

        def advance(self, units: int = 1, *, note: str = "") -> None:
            self.done += units

    counter = Counter()
    run_checks([Check(what=str(n), look=lambda: ok("x", "y")) for n in range(5)], progress=counter)
    assert (counter.total, counter.done) == (5, 5)


def test_the_table_fits_80_columns() -> None:
    """Nothing is cut off: a long command is folded, and every word of it stays."""
    command = "sudo cp /opt/mien/share/mien/configs/systemd/mien-edge.service /etc/systemd/system/ && sudo reboot"
    findings = [
        ok("camera", "/dev/video0, 1280×720"),
        wrong("service", "other", wanted="this version's", remedy=command),
        warning("clock", "kept right by nobody", remedy="timedatectl"),
        skipped("jtop", "this is no Jetson"),
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table_of_findings(findings))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert command.replace(" ", "") in "".join(text.split())
    assert summary_of(findings) == "1 ok, 1 warning, 1 wrong, 1 skipped"
    assert as_json(findings)["ok"] is False
    assert as_json([findings[0], *findings[2:]])["ok"] is True


def test_programs_are_asked_with_a_limit(tmp_path: Path) -> None:
    """An answer, none, a failure with its last line, and silence."""
    assert ask.program(["echo", "hello"]) == Answer(value="hello")
    assert ask.program([str(tmp_path / "absent")]).error.startswith("there is no")
    assert ask.program(["sh", "-c", "echo first >&2; echo why >&2; exit 3"]) == Answer(error="why")
    assert ask.program(["sleep", "30"], limit_s=0.1).error == "no answer within 0 s"
    assert ask.python("import os; os.abort()").value is None


def test_a_spool_is_judged_without_being_touched(tmp_path: Path) -> None:
    """One that is whole, one that is not, and what was set aside beside it."""
    path = tmp_path / "spool.sqlite"
    assert not agent.spool(path).exists
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE outbox (id INTEGER)")
        connection.execute("INSERT INTO outbox VALUES (1)")
    connection.close()
    (tmp_path / "spool.sqlite.damaged-17").write_bytes(b"x" * 9999)
    before = path.read_bytes()
    seen = agent.spool(path)
    assert (seen.check, seen.waiting, seen.damaged) == ("ok", 1, ("spool.sqlite.damaged-17",))
    assert seen.bytes == len(before) == len(path.read_bytes())
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert agent.spool(path).check != "ok"


def test_a_lock_of_another_process_is_seen_without_taking_it(tmp_path: Path) -> None:
    """The kernel's list is read; the lock can still be taken by its owner-to-be."""
    path = tmp_path / "lock"
    assert not agent.is_locked(path, Path("/proc/locks"))
    with path.open("w") as stream:
        assert not agent.is_locked(path, Path("/proc/locks"))
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert agent.is_locked(path, Path("/proc/locks"))


@pytest.mark.parametrize("source", ["synthetic://64x48@30", "rtsp://127.0.0.1:9/none", "/dev/video9"])
def test_any_camera_of_a_running_agent_is_left_alone(tmp_path: Path, source: str) -> None:
    """A network camera too: many take one session at a time."""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert agent.camera(CameraSettings(source=source), tmp_path).held_by_agent


def test_a_camera_that_somebody_names_is_tried_all_the_same(tmp_path: Path) -> None:
    """And without an agent every camera is."""
    wanted = CameraSettings(source="synthetic://64x48@30")
    assert agent.camera(wanted, tmp_path).width == 64
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert agent.camera(wanted, tmp_path, insists=True).width == 64


def test_over_current_is_read_from_the_kernels_files(tmp_path: Path) -> None:
    """Counters of the firmware and alarms of the monitors, by their driver's name."""
    counters, monitor = tmp_path / "class/hwmon/hwmon2", tmp_path / "class/hwmon/hwmon3"
    for folder, name in ((counters, "soctherm_oc"), (monitor, "ina3221")):
        folder.mkdir(parents=True)
        (folder / "name").write_text(name)
    (counters / "oc1_event_cnt").write_text("0\n")
    (counters / "oc3_event_cnt").write_text("7\n")
    (monitor / "in1_label").write_text("VDD_IN\n")
    (monitor / "curr1_crit_alarm").write_text("1\n")
    (monitor / "curr2_crit_alarm").write_text("0\n")
    seen = machine.over_current(tmp_path)
    assert (seen.events, seen.alarms) == ({"oc1": 0, "oc3": 7}, ("VDD_IN",))


def test_power_modes_are_numbered_by_the_boards_own_file() -> None:
    """The forms of /etc/nvpmodel.conf."""
    text = "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    assert machine.modes_in(text) == {"15W": 0, "MAXN_SUPER": 2}


def test_a_disk_that_the_kernel_gave_up_is_found() -> None:
    """Read-only on purpose is another thing, and so is a disk that is written."""
    mounts = (
        "/dev/nvme0n1p1 / ext4 ro,relatime,errors=remount-ro 0 0\n"
        "/dev/sda1 /data ext4 rw,errors=remount-ro 0 0\n"
        "/dev/sdb1 /media ext4 ro,relatime 0 0\n"
        "overlay /x overlay ro,errors=remount-ro 0 0\n"
    )
    assert machine.remounted_in(mounts) == ("/",)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (Answer(value="7.2.2"), Answer(value="7.2.2")),
        (
            Answer(value="!Mismatch version jtop service: [4.3.2] and client: [7.2.2]. Please run: sudo jtop"),
            Answer(value="4.3.2"),
        ),
        (Answer(value="!The jtop.service is not active."), Answer(error="The jtop.service is not active.")),
        (Answer(error="no answer within 30 s"), Answer(error="no answer within 30 s")),
    ],
)
def test_the_services_version_is_read_from_its_refusal(answer: Answer, wanted: Answer) -> None:
    """jetson-stats names both versions when it refuses."""
    assert stack.service_version(answer) == wanted


def test_the_machine_that_this_runs_on_can_be_looked_at(tmp_path: Path) -> None:
    """Every probe of the kernel's files answers here."""
    assert machine.memory().total_bytes > machine.memory().available_bytes > 0
    assert machine.disk(tmp_path / "absent" / "deeper").folder == str(tmp_path)
    seen = machine.clock()
    assert seen.now_s > seen.installed_s
    assert stack.shipped_service().is_file()
