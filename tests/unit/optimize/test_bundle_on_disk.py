"""A bundle's bytes are held against its manifest."""

import os

import pytest

from mien.bundle import read_manifest, verify_bundle
from mien.errors import BundleError
from mien.files import sha256_of, write_json
from mien.release import MANIFEST


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    model = folder / "model.fp32.onnx"
    model.write_bytes(b"weights" * 100)
    variant = {
        "precision": "fp32",
        "format": "onnx",
        "path": model.name,
        "sha256": sha256_of(model),
        "size_bytes": 700,
        "requires": {"runtimes": ["onnxruntime"]},
    }
    manifest = {
        "name": "faces",
        "version": "1.0.0",
        "labels": ["happy"],
        "input": {"width": 160, "height": 160},
        "outputs": {"top_k": 100},
        "variants": [variant],
        "provenance": {"created_at": "2026-01-01T00:00:00Z"},
        "gate": {"passed": True, "checks": []},
        "intended_use": "a test",
    }
    write_json(folder / MANIFEST, manifest)
    return folder


@pytest.fixture
def without_rights():
    """Whoever runs the test, root too, may read no more than others may."""
    if os.geteuid() == 0:
        os.seteuid(65534)
    yield
    if os.getuid() == 0:
        os.seteuid(0)


@pytest.mark.parametrize("name", [MANIFEST, "model.fp32.onnx"])
def test_a_file_that_this_user_may_not_read_is_not_called_damaged(bundle, name, request):
    """It says so, and how the right is given."""
    bundle.chmod(0o755)
    for folder in bundle.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    (bundle / name).chmod(0)
    request.getfixturevalue("without_rights")
    with pytest.raises(BundleError, match="could not read") as caught:
        verify_bundle(bundle)
    assert caught.value.found == "Permission denied"
    assert "chmod -R a+rX" in caught.value.remedy


def test_an_empty_manifest_is_called_empty(bundle):
    """And not one that lacks fields."""
    (bundle / MANIFEST).write_bytes(b"")
    with pytest.raises(BundleError, match="is empty"):
        read_manifest(bundle)


def test_whole_bundle_passes(bundle):
    """A bundle as it was packed is accepted and its manifest returned."""
    assert str(verify_bundle(bundle).ref) == "faces@1.0.0"


def test_changed_byte_is_named(bundle):
    """One changed byte of the same length names the file and both hashes."""
    model = bundle / "model.fp32.onnx"
    wanted = sha256_of(model)
    content = bytearray(model.read_bytes())
    content[300] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        verify_bundle(bundle)
    assert "model.fp32.onnx" in caught.value.what
    assert wanted in caught.value.wanted
    assert sha256_of(model) in caught.value.found


def test_other_length_is_named(bundle):
    """A cut file is told by its length."""
    (bundle / "model.fp32.onnx").write_bytes(b"weights")
    with pytest.raises(BundleError, match="changed") as caught:
        verify_bundle(bundle)
    assert caught.value.wanted == "700 bytes"


def test_missing_file_is_named(bundle):
    """A file that the manifest names must be there."""
    (bundle / "model.fp32.onnx").unlink()
    with pytest.raises(BundleError, match="lacks") as caught:
        verify_bundle(bundle)
    assert caught.value.found == "model.fp32.onnx"


def test_extra_file_is_refused(bundle):
    """A file that nobody signed has no place in a bundle."""
    (bundle / "sub").mkdir()
    (bundle / "sub" / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match="does not name") as caught:
        verify_bundle(bundle)
    assert caught.value.found == "sub/extra.bin"


def test_link_is_refused(bundle):
    """A link could point out of the bundle."""
    model = bundle / "model.fp32.onnx"
    elsewhere = bundle.parent / "elsewhere"
    model.rename(elsewhere)
    model.symlink_to(elsewhere)
    with pytest.raises(BundleError, match="link"):
        verify_bundle(bundle)


def test_folder_without_manifest_is_no_bundle(tmp_path):
    """Any other folder is refused with the command that makes a bundle."""
    with pytest.raises(BundleError, match="not a release bundle") as caught:
        read_manifest(tmp_path)
    assert "optimize run" in caught.value.remedy
