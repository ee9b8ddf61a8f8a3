"""What is half made is swept when its owner is dead, and never while it is in use."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mien.files import replacing, scratch
from mien.parts import folder_beside, held, part_of, sweep

ROOT = Path(__file__).resolve().parents[3]
DEAD = 4_194_304
"""One more than the largest process id of Linux."""


def left_by(path, owner=DEAD, age=0.0):
    part = path.with_name(f".{path.name}.{owner}-0123abcd.part")
    part.mkdir()
    (part / "model").write_text("half")
    os.utime(part, (time.time() - age,) * 2)
    return part


def test_a_part_names_its_owner_and_what_it_becomes(tmp_path):
    """Two parts of one name are two names, both with this process's id."""
    first, second = part_of(tmp_path / "b"), part_of(tmp_path / "b")
    assert first != second
    assert first.name.startswith(f".b.{os.getpid()}-")


def test_parts_of_the_dead_are_swept(tmp_path):
    """A folder and a file whose owner is gone are removed, and said."""
    folder = left_by(tmp_path / "b")
    file = tmp_path / f".b.{DEAD}-ffffffff.part"
    file.write_text("half")
    assert set(sweep(tmp_path / "b")) == {folder.name, file.name}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_library_is_a_part(tmp_path):
    """It lies beside the final name and is nobody's to sweep while it is in use; afterwards it is gone."""
    with folder_beside(tmp_path / "b") as folder:
        (folder / "x").write_text("half")
        assert folder.parent == tmp_path
        assert folder.name.startswith(f".b.{os.getpid()}-")
        assert sweep(tmp_path / "b") == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["b", ".b.part", ".b.x-0123abcd.part", f".c.{DEAD}-0123abcd.part", f".b.b.{DEAD}-0123abcd.part"]
)
def test_nothing_else_is_swept(tmp_path, name):
    """Other names stay, however alike."""
    (tmp_path / name).mkdir()
    assert sweep(tmp_path / "b") == ()
    assert (tmp_path / name).is_dir()


def test_a_part_in_use_stays_however_old_it_is(tmp_path):
    """Its lock decides: a process id says nothing across containers."""
    part = left_by(tmp_path / "b", age=1e6)
    with held(part):
        assert sweep(tmp_path / "b") == ()
    assert sweep(tmp_path / "b") == (part.name,)


def test_a_process_id_that_was_given_again_keeps_nothing_for_ever(tmp_path):
    """A young part of a living process may wait for its lock; an old one without a lock is nobody's."""
    left_by(tmp_path / "b", owner=os.getpid())
    assert sweep(tmp_path / "b") == ()
    left_by(tmp_path / "c", owner=os.getpid(), age=120)
    assert len(sweep(tmp_path / "c")) == 1


def test_a_link_is_not_followed(tmp_path):
    """A link with a part's name does not lead the sweep elsewhere."""
    (tmp_path / "precious").mkdir()
    (tmp_path / f".b.{DEAD}-0123abcd.part").symlink_to(tmp_path / "precious")
    assert sweep(tmp_path / "b") == ()
    assert (tmp_path / "precious").is_dir()


def test_a_missing_folder_has_nothing_to_sweep(tmp_path):
    """Nor has one that cannot be read."""
    assert sweep(tmp_path / "none" / "b") == ()


def test_a_killed_writer_is_swept_and_a_living_one_is_not(tmp_path):
    """The file that a process is writing stays while it lives and goes after SIGKILL."""
    code = "import sys, time; from pathlib import Path; from mien.files import replacing\nwith replacing(Path(sys.argv[1])) as s: print('on', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "b"], cwd=ROOT, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        assert sweep(tmp_path / "b") == ()
        assert len(list(tmp_path.iterdir())) == 1
        writer.kill()
    assert len(sweep(tmp_path / "b")) == 1


def test_scratch_and_replaced_files_leave_nothing(tmp_path, monkeypatch):
    """Neither when the block ends well nor when it does not."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch("x") as folder:
        (folder / "f").write_text("x")
        assert folder.parent == tmp_path
        assert Path(tempfile.mkdtemp()).parent == folder, "a library's own files go with it"
    with pytest.raises(KeyError), scratch("x"), replacing(tmp_path / "f"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
