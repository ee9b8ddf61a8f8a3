"""Where a step may write."""

import pytest

from mien.errors import ConfigError
from optimize.outputs import check_archive, check_out


def test_a_file_of_its_own_is_taken(tmp_path):
    """A new file, and an old result, may be written."""
    (tmp_path / "old.onnx").write_text("x")
    check_out(tmp_path / "new.onnx", tmp_path / "old.onnx", tmp_path / "missing")
    check_out(tmp_path / "old.onnx")


def test_an_input_is_not_overwritten(tmp_path):
    """Also under another name."""
    (tmp_path / "m.onnx").write_text("x")
    (tmp_path / "alias.onnx").symlink_to(tmp_path / "m.onnx")
    for out in ("m.onnx", "alias.onnx"):
        with pytest.raises(ConfigError) as caught:
            check_out(tmp_path / out, tmp_path / "m.onnx")
        assert "reads" in caught.value.found


def test_a_bundle_and_a_folder_are_left_alone(tmp_path):
    """Nothing is put into a packed release, and a folder is no file."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        check_out(tmp_path / "engine")
    assert "never changed" in caught.value.found
    with pytest.raises(ConfigError, match="could not write"):
        check_out(tmp_path)


def test_an_archive_is_called_so(tmp_path):
    """An archive under a graph's name would be taken for one."""
    check_archive(tmp_path / "b.tar.zst")
    with pytest.raises(ConfigError) as caught:
        check_archive(tmp_path / "m.onnx")
    assert ".tar.zst" in caught.value.wanted
