"""Nothing half-written stands under a final name."""

import pytest

from mien.errors import UnavailableError
from mien.files import point_link, replacing, sha256_of, write_bytes, write_json


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    """When the writer fails, the old content stays and the temporary file goes."""
    target = tmp_path / "a"
    write_bytes(target, b"old")
    with pytest.raises(RuntimeError), replacing(target) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_is_set_before_the_name_is_taken(tmp_path):
    """A secret file is never readable by others."""
    write_bytes(tmp_path / "key", b"k", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_folders_are_made_and_json_ends_with_a_newline(tmp_path):
    """Writers make the folder they need."""
    write_json(tmp_path / "a" / "b.json", {"x": 1})
    assert (tmp_path / "a" / "b.json").read_text().endswith("}\n")


def test_a_folder_that_is_a_file_says_what_to_do(tmp_path):
    """A disk error is ours, with the path in it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="could not write"):
        write_bytes(tmp_path / "file" / "x", b"")


def test_a_link_moves_in_one_step(tmp_path):
    """The link points to the new target whether or not it was there."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        point_link(tmp_path / "active", name)
        assert (tmp_path / "active").resolve().name == name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "active", "b"]


def test_the_hash_is_sha256(tmp_path):
    """Against the published digest of the empty string."""
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c14")
