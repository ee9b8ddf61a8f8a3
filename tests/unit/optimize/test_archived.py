"""Packed bundles are taken wherever they can be unpacked, and an archive never writes outside of its folder."""

import io
import tarfile

import pytest
import zstandard

from mien.bundle import read_manifest, verify_bundle
from mien.errors import BundleError, ConfigError
from optimize.archived import opened, unpack
from optimize.bundle.archive import write_archive
from tests.fakes.tiny_bundle import make_bundle


@pytest.fixture
def archive(tmp_path):
    """A whole bundle as one file."""
    make_bundle(tmp_path / "faces", ballast=4096)
    return write_archive(tmp_path / "faces", tmp_path / "faces.tar.zst")


def packed(path, *members):
    """An archive of these members, each a name with its content or a ready ``TarInfo``."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(zstandard.ZstdCompressor().compress(plain.getvalue()))
    return path


def test_what_is_unpacked_is_what_was_packed(archive, tmp_path):
    """Every byte comes back, and the same archive is made of it again."""
    manifest = unpack(archive, tmp_path / "again")
    assert manifest == verify_bundle(tmp_path / "faces")
    again = write_archive(tmp_path / "again", tmp_path / "again.tar.zst")
    assert again.read_bytes() == archive.read_bytes()


def test_an_archive_is_opened_for_a_moment(archive, tmp_path):
    """The temporary folder is a bundle while it is used, and gone afterwards; a folder is taken as it is."""
    with opened(archive) as folder:
        assert str(verify_bundle(folder).ref) == "faces@1.0.0"
        assert folder != tmp_path / "faces"
    assert not folder.parent.exists()
    with opened(tmp_path / "faces") as folder:
        assert folder == tmp_path / "faces"


def test_a_device_says_how_to_unpack(archive):
    """What takes folders only names both commands."""
    with pytest.raises(BundleError, match="is a packed bundle") as caught:
        read_manifest(archive)
    folder = str(archive).removesuffix(".tar.zst")
    assert f"mien optimize unpack {archive} --out {folder};" in caught.value.remedy
    assert f"tar --zstd -xf {archive} -C {folder} --strip-components=1" in caught.value.remedy


def test_any_other_file_is_no_bundle(tmp_path):
    """A file that is no archive gets no command to unpack it."""
    (tmp_path / "x.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="not a release bundle") as caught:
        read_manifest(tmp_path / "x.onnx")
    assert "unpack" not in caught.value.remedy


def test_nothing_is_written_over(archive, tmp_path):
    """A folder that is there stays as it is."""
    with pytest.raises(ConfigError, match="exists already"):
        unpack(archive, tmp_path / "faces")


@pytest.mark.parametrize("name", ["faces-1.0.0/../../evil", "/evil", "../evil", "alone", "faces-1.0.0/a/../../../evil"])
def test_no_member_leaves_the_folder(tmp_path, name):
    """Upwards, absolute or beside the one folder: refused, and nothing is left of it."""
    (tmp_path / "in").mkdir()
    with pytest.raises(BundleError, match="outside of its folder"):
        unpack(packed(tmp_path / "in" / "x.tar.zst", (name, b"x")), tmp_path / "in" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "x.tar.zst"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_only_plain_files_come_out(tmp_path, kind):
    """A link or a device in an archive is refused by its name."""
    info = tarfile.TarInfo("faces-1.0.0/link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(BundleError, match="what no bundle holds") as caught:
        unpack(packed(tmp_path / "x.tar.zst", (info, b"")), tmp_path / "out")
    assert caught.value.found == "faces-1.0.0/link"


def test_an_archive_that_swells_is_stopped(tmp_path):
    """A bundle is a handful of files."""
    members = [(f"faces-1.0.0/{index}", b"") for index in range(300)]
    with pytest.raises(BundleError, match="too large"):
        unpack(packed(tmp_path / "x.tar.zst", *members), tmp_path / "out")


@pytest.mark.parametrize("damage", [lambda all_: b"no archive", lambda all_: all_[: len(all_) // 2], lambda all_: b""])
def test_a_damaged_archive_is_named(archive, tmp_path, damage):
    """Cut, empty or of another kind; no folder is left behind."""
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(BundleError, match=r"faces\.tar\.zst is no archive|is not a release bundle"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unpacking_tells_how_far_it_is(archive, tmp_path):
    """In mebibytes of the archive, and all of them are told of."""
    told = {"wanted": 0, "done": 0}

    class Told:
        def start(self, description, total=None):
            told["wanted"] += total

        def advance(self, units=1, *, note=""):
            told["done"] += units

    unpack(archive, tmp_path / "again", Told())
    assert told["done"] == told["wanted"] > 0
