"""A folder laid out as the kernel of a Jetson lays out /sys; the layouts are those of JetPack 6 (Orin) and 7 (Thor)."""

from __future__ import annotations

from pathlib import Path


class JetsonSysfs:
    """Writes such a folder and changes it.

    Args:
        root: stands for /sys.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("class/hwmon", "class/thermal", "devices/virtual/thermal", "devices/virtual/dmi/id"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def write(self, path: str, value: object) -> Path:
        """Write one file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
        return file

    def monitor(self, address: str, number: int, rails: dict[int, tuple[str, int, int]], **more: object) -> str:
        """A power monitor at an I2C address: channel → label, millivolts, milliamperes; ``more`` are further files."""
        home = f"bus/i2c/devices/{address}"
        folder = f"{home}/hwmon/hwmon{number}"
        self.write(f"{home}/name", more.get("name", "ina3221"))
        self.write(f"{folder}/name", more.pop("name", "ina3221"))
        for channel, (label, millivolt, milliampere) in rails.items():
            self.write(f"{folder}/in{channel}_label", label)
            self.write(f"{folder}/in{channel}_input", millivolt)
            self.write(f"{folder}/curr{channel}_input", milliampere)
        for name, value in more.items():
            self.write(f"{folder}/{name}", value)
        self._link(f"class/hwmon/hwmon{number}", folder)
        return folder

    def hwmon(self, number: int, name: str, **files: object) -> str:
        """Another hardware monitor."""
        folder = f"class/hwmon/hwmon{number}"
        self.write(f"{folder}/name", name)
        for file, value in files.items():
            self.write(f"{folder}/{file}", value)
        return folder

    def zone(self, number: int, kind: str, millidegrees: int) -> None:
        """A thermal zone."""
        self._thermal(f"thermal_zone{number}", type=kind, temp=millidegrees)

    def cooling(self, number: int, kind: str, state: int) -> None:
        """A cooling device."""
        self._thermal(f"cooling_device{number}", type=kind, cur_state=state)

    def gpu(self, *, load_percent: float, hz: int, name: str = "17000000.gpu") -> None:
        """The GPU's clock and load."""
        home = f"devices/platform/{name}"
        files = {"cur_freq": hz, "max_freq": 1_020_000_000, "min_freq": 306_000_000, "governor": "nvhost_podgov"}
        for file, value in files.items():
            self.write(f"{home}/devfreq/{name}/{file}", value)
        device = {"load": round(load_percent * 10), "railgate_enable": 0, "tpc_pg_mask": 0, "enable_3d_scaling": 1}
        for file, value in device.items():
            self.write(f"{home}/{file}", value)
        (self.root / home / "of_node").mkdir(exist_ok=True)
        (self.root / home / "of_node" / "name").write_text("gpu\0")
        self._link(f"class/devfreq/{name}", f"{home}/devfreq/{name}")
        self._link(f"{home}/devfreq/{name}/device", home)

    def cpus(self, *khz: int) -> None:
        """One core a clock."""
        for number, clock in enumerate(khz):
            files = {"scaling_governor": "schedutil", "scaling_cur_freq": clock, "cpuinfo_cur_freq": clock}
            files |= {f"{kind}_{end}_freq": 1_510_400 for kind in ("scaling", "cpuinfo") for end in ("min", "max")}
            for file, value in files.items():
                self.write(f"devices/system/cpu/cpu{number}/cpufreq/{file}", value)

    def _thermal(self, name: str, **files: object) -> None:
        for file, value in files.items():
            self.write(f"devices/virtual/thermal/{name}/{file}", value)
        self._link(f"class/thermal/{name}", f"devices/virtual/thermal/{name}")

    def _link(self, path: str, target: str) -> None:
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path("../" * path.count("/")) / target)


def orin_nano(root: Path) -> JetsonSysfs:
    """An Orin Nano at about ten watts."""
    sysfs = JetsonSysfs(root)
    rails = {1: ("VDD_IN", 5000, 2000), 2: ("VDD_CPU_GPU_CV", 5000, 800), 3: ("VDD_SOC", 5000, 300)}
    sysfs.monitor(
        "1-0040",
        3,
        {**rails, 7: ("sum of shunt voltages", 31, 0)},
        curr1_crit=5000,
        curr1_max=4000,
        curr2_crit=32760,
        curr2_max=32760,
        curr3_crit=32760,
        curr3_max=32760,
    )
    sysfs.zone(0, "cpu-thermal", 48500)
    sysfs.zone(1, "gpu-thermal", 47250)
    sysfs.zone(2, "cv0-thermal", -256000)
    sysfs.zone(8, "tj-thermal", 51000)
    sysfs.gpu(load_percent=43.7, hz=624_750_000)
    sysfs.cpus(1_190_400, 729_600)
    return sysfs
