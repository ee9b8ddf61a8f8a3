"""Device classes: every file is whole, every figure is sourced, and what a class lacks is refused."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge.facts import _COMPUTE_CAPABILITY, jetpack_of, module_of
from mien.config import settings_from
from mien.configs import find_config, suggestions
from mien.devices import (
    DEVICES,
    JETPACKS,
    DeviceClass,
    device_class,
    device_classes,
    device_names,
    jetpack_for,
    jetpack_table,
    matching,
    refuse_missing_precisions,
)
from mien.errors import ConfigError, UnsupportedError
from mien.facts import DeviceFacts

NAMES = device_names()
CLASSES = {device.name: device for device in device_classes()}
GIB = 1 << 30


def facts(**given):
    """Facts of an Orin Nano 8GB, or as given."""
    usual = {
        "arch": "aarch64",
        "cpu": "arm 0x41 0xd42",
        "cpu_count": 6,
        "memory_bytes": 7_990_116_352,
        "python": "3.10.12",
        "compute_capability": "8.7",
    }
    return DeviceFacts(**(usual | given))


def leaves(value, key=""):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, key)
    else:
        yield key, value


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_a_class_of_that_name(name):
    """The file's name is the class's, so that a name on the command line is never another device."""
    assert device_class(name).name == name


def test_the_classes_that_were_promised_are_there():
    """Orin Nano, Orin NX, AGX Orin, Xavier NX, AGX Xavier and Thor, by memory, with their super modes."""
    promised = {
        *("orin-nano-4gb", "orin-nano-8gb", "orin-nano-8gb-super", "orin-nx-8gb", "orin-nx-16gb", "agx-orin-32gb"),
        *("agx-orin-64gb", "xavier-nx-8gb", "agx-xavier-32gb", "thor-t5000"),
    }
    assert promised <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_names_its_document(name):
    """Each block with numbers has a source that is more than a word, and no source is a placeholder."""
    raw = yaml.safe_load((DEVICES / f"{name}.yaml").read_text())
    blocks = [raw["gpu"], raw["memory"], raw["dla"], *raw["peaks"].values(), *raw.get("power_modes", ())]
    blocks += [raw["advertised"], *raw.get("published", ())]
    assert [block for block in blocks if len(block["source"].split()) < 2] == []
    assert [text for key, text in leaves(raw) if key == "source" and "todo" in text.lower()] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_class_runs_only_jetpacks_of_the_table(name):
    """A JetPack that the table does not know could not be planned for."""
    assert set(CLASSES[name].jetpacks) <= {row.version for row in jetpack_table()}


@pytest.mark.parametrize("name", NAMES)
def test_peaks_are_dense_and_hang_together(name):
    """Never the sparse figure: INT8 is twice FP16, TF32 half of it, and twice the dense figure stays within what NVIDIA says."""
    device = CLASSES[name]
    int8, fp16 = device.peaks["int8"].tera, device.peaks["fp16"].tera
    assert int8 == pytest.approx(2 * fp16, rel=0.04)
    if "tf32" in device.peaks:
        assert device.peaks["tf32"].tera == pytest.approx(fp16 / 2, rel=0.01)
    if device.advertised.precision == "int8":
        most = device.advertised.tera / (2 if device.advertised.density == "sparse" else 1)
        assert int8 <= most * 1.01


@pytest.mark.parametrize("name", NAMES)
def test_cuda_cores_and_clock_give_the_fp32_peak(name):
    """Two operations for each core and cycle, whatever a sheet rounds to."""
    device = CLASSES[name]
    assert device.peaks["fp32"].tera == pytest.approx(2e-6 * device.gpu.cuda_cores * device.gpu.clock_mhz, rel=0.02)
    assert device.gpu.cuda_cores == device.gpu.sms * (64 if device.gpu.architecture == "volta" else 128)


@pytest.mark.parametrize("name", NAMES)
def test_no_power_mode_is_faster_than_the_module(name):
    """A clock above the module's own would make a lower bound too low."""
    device = CLASSES[name]
    for mode in device.power_modes:
        assert (mode.gpu_clock_mhz or 0) <= device.gpu.clock_mhz
        assert (mode.sms or 0) <= device.gpu.sms
        assert (mode.memory_clock_mhz or 0) <= (device.memory.clock_mhz or math.inf)
    assert sum(mode.boot_default for mode in device.power_modes) <= 1


def test_orins_lack_fp8_and_thor_does_not():
    """What mien will say when somebody asks for FP8."""
    for device in CLASSES.values():
        assert ("fp8" in device.precisions) == (device.gpu.architecture == "blackwell")
        assert ("tf32" in device.precisions) == (device.gpu.architecture != "volta")


@given(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(["fp32", "tf32", "fp16", "bf16", "int8", "fp8", "fp4"]), max_size=4),
)
def test_exactly_the_missing_precisions_are_refused(name, wanted):
    """A class refuses what it lacks by name, and nothing else."""
    device = CLASSES[name]
    lacking = [precision for precision in wanted if precision not in device.precisions]
    if not lacking:
        refuse_missing_precisions(device, wanted)
        return
    with pytest.raises(UnsupportedError) as caught:
        refuse_missing_precisions(device, wanted)
    assert all(f"{precision}: " in caught.value.found for precision in lacking)
    assert caught.value.wanted == "fp32, fp16, int8", "what mien makes, not every format of the hardware"


def test_a_precision_that_nobody_knows_gets_the_nearest():
    """A slip of the finger is a wrong option, not missing hardware."""
    with pytest.raises(ConfigError, match="did you mean fp16"):
        refuse_missing_precisions(CLASSES["orin-nano-8gb"], ["fp61"])


@given(st.sampled_from(NAMES), st.integers(min_value=0, max_value=20))
def test_a_name_with_one_letter_missing_finds_the_class_again(name, place):
    """The nearest names hold the one that was meant, and all valid ones are listed."""
    cut = place % len(name)
    typed = name[:cut] + name[cut + 1 :]
    if typed in NAMES:
        return
    with pytest.raises(ConfigError) as caught:
        device_class(typed)
    assert name in caught.value.what
    assert all(known in caught.value.wanted for known in NAMES)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Orin Nano", ["orin-nano-4gb", "orin-nano-4gb-super", "orin-nano-8gb", "orin-nano-8gb-super"]),
        ("orin", [name for name in NAMES if "orin" in name]),
        ("ORIN_NX 16GB", ["orin-nx-16gb", "orin-nx-16gb-super"]),
        ("xavier nx", ["xavier-nx-16gb", "xavier-nx-8gb"]),
        ("Thor", ["thor-t4000", "thor-t5000"]),
    ],
)
def test_part_of_a_name_gives_all_that_it_may_mean(typed, meant):
    """Case, blanks and the order of words do not count; none is taken, all are named."""
    with pytest.raises(ConfigError) as caught:
        device_class(typed)
    offered = caught.value.what.partition("did you mean ")[2].removesuffix("?").split(" or ")
    assert offered == meant


def test_a_slip_among_blanks_is_still_a_slip():
    """What begins no word is compared by its spelling, blanks read as hyphens."""
    assert "orin-nano-8gb" in suggestions("Orin Nano 8bg", NAMES)


def test_a_name_that_is_like_none_gets_no_suggestion():
    """An empty one means nothing in particular."""
    assert suggestions(" ", NAMES) == []
    assert suggestions("raspberry", NAMES) == []


def test_a_class_of_ones_own_is_read_from_its_path(tmp_path):
    """A YAML file anywhere serves as a target."""
    own = tmp_path / "mine.yaml"
    own.write_text((DEVICES / "orin-nano-8gb.yaml").read_text().replace("name: orin-nano-8gb", "name: mine"))
    assert device_class(str(own)).name == "mine"


def test_without_a_checkout_a_name_is_refused_with_a_way_out(tmp_path):
    """An installed wheel has no configurations; the sentence asks for a path."""
    with pytest.raises(UnsupportedError) as caught:
        find_config("orin-nano-8gb", tmp_path / "nowhere", what="device class", option="--target")
    assert "--target PATH.yaml" in caught.value.remedy


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"defaults": {"precision": "fp8"}}, "default precision fp8 is lacking"),
        ({"defaults": {"power_mode": "99W"}}, "default power mode 99W"),
        ({"defaults": {"jetpack": "4.6"}}, "default JetPack 4.6"),
        ({"lacks": {"int8": "no"}}, "int8 is both there and lacking"),
        ({"lacks": {}}, "fp8 is neither there nor lacking"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change, fault):
    """Each contradiction is named."""
    raw = CLASSES["orin-nano-8gb"].model_dump(mode="json")
    for key, value in change.items():
        raw[key] = raw[key] | value if key == "defaults" else value
    with pytest.raises(ConfigError, match=fault):
        settings_from(DeviceClass, raw, source="x.yaml")


def test_a_sparse_peak_cannot_be_written_down():
    """The advertised figure would halve every estimate."""
    raw = CLASSES["orin-nano-8gb"].model_dump(mode="json")
    raw["peaks"]["int8"]["density"] = "sparse"
    with pytest.raises(ConfigError, match=r"peaks\.int8\.density"):
        settings_from(DeviceClass, raw, source="x.yaml")


def test_jetpacks_are_chosen_and_refused_by_name():
    """The default, the one asked for, one that is not known, one that this class does not run."""
    device, table = CLASSES["orin-nano-8gb-super"], jetpack_table()
    assert jetpack_for(device, None, table).version == device.defaults.jetpack
    assert jetpack_for(device, "6.2", table).tensorrt == "10.3.0"
    with pytest.raises(ConfigError, match=r"did you mean 6\.2"):
        jetpack_for(device, "6.22", table)
    with pytest.raises(UnsupportedError) as caught:
        jetpack_for(device, "6.0", table)
    assert "6.2.1" in caught.value.wanted


def test_the_devices_own_table_agrees_with_the_file():
    """A device knows JetPack by L4T without the configuration; it says the version or its beginning, never another."""
    for row in jetpack_table(JETPACKS):
        for l4t in row.l4t:
            said = jetpack_of(l4t)
            assert said is not None, l4t
            assert row.version == said or row.version.startswith(f"{said}."), (l4t, said, row.version)


@pytest.mark.parametrize("name", NAMES)
def test_the_devices_own_chip_table_agrees_with_the_classes(name):
    """A device reads its compute capability off the chip's name."""
    assert _COMPUTE_CAPABILITY[CLASSES[name].soc] == CLASSES[name].compute_capability


def test_a_developer_kits_module_is_not_its_carrier_board():
    """The device tree names the carrier first."""
    assert module_of("nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234") == "p3767-0005"
    assert module_of("nvidia,p3737-0000+p3701-0005 nvidia,p3701-0005 nvidia,tegra234") == "p3701-0005"
    assert module_of("raspberrypi,4-model-b brcm,bcm2711") is None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"module": "p3767-0005"}, "orin-nano-8gb"),
        ({"module": "p3767-0005", "model": "NVIDIA Jetson Orin Nano Developer Kit Super"}, "orin-nano-8gb-super"),
        ({"module": "p3701-0000", "memory_bytes": 31 * GIB}, "agx-orin-64gb"),
        ({"module": "p2972-0000", "compute_capability": "7.2", "memory_bytes": 62 * GIB}, "agx-xavier-64gb"),
        ({"compute_capability": "11.0", "memory_bytes": 62 * GIB}, "thor-t4000"),
        ({"compute_capability": "8.7", "memory_bytes": 61 * GIB}, "agx-orin-64gb"),
        ({}, None),
        ({"compute_capability": None, "arch": "x86_64"}, None),
        ({"compute_capability": "8.6"}, None),
    ],
)
def test_a_devices_facts_find_its_class(given, name):
    """By module id; else by capability and memory, when these leave one class; else none, never a guess."""
    found = matching(facts(**given), tuple(CLASSES.values()))
    assert (found.name if found else None) == name


def test_a_module_belongs_to_one_class_and_its_super_mode():
    """No module id is claimed by two different modules."""
    for module in {module for device in CLASSES.values() for module in device.modules}:
        claimed = [device for device in CLASSES.values() if module in device.modules]
        assert len({device.super_mode for device in claimed}) == len(claimed)


def test_a_modes_clocks_scale_the_peaks():
    """Orin Nano Super at 612 MHz and 2133 MHz of memory, by the rule of three."""
    device = CLASSES["orin-nano-8gb-super"]
    mode = device.power_mode("15W")
    assert device.peak_ops("int8", mode) == pytest.approx(33e12 * 612 / 1020)
    assert device.bandwidth(mode) == pytest.approx(102e9 * 2133 / 3199)
    assert device.peak_ops("fp8", mode) is None


def test_a_power_mode_that_is_not_there_is_refused_by_name():
    """The modes of the class are listed."""
    with pytest.raises(UnsupportedError) as caught:
        CLASSES["orin-nano-8gb-super"].power_mode("maxn")
    assert "MAXN_SUPER" in caught.value.wanted
