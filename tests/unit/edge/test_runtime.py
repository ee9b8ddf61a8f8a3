"""The running device as the update sees it: which figures it gives, and under which conditions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.bundle_run import BundleRun, run_bundle
from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import Source
from edge.pipeline.pipeline import Pipeline
from edge.power.none import NoPower
from edge.power.sampler import PowerSampler
from edge.runtime import DeviceRuntime, silent_cameras
from edge.telemetry.recorder import Recorder
from edge.telemetry.spool import Spool
from edge.update.interface import UpdateCancelled
from mien.messages import ProbePolicy
from tests.fakes.fake_camera import FakeCamera
from tests.fakes.fake_device import wait_until
from tests.fakes.fake_engine import FakeEngine, fake_model
from tests.fakes.tiny_bundle import make_bundle
from tests.fakes.update_world import FACTS

POLICY = ProbePolicy(live_seconds=0.2, min_live_frames=1)


class Bench:
    """A device with two cameras, each of which gives a frame every few milliseconds while it is on."""

    def __init__(self, folder: Path) -> None:
        self.cameras = {name: FakeCamera(live=True) for name in ("door", "yard")}
        self.on = set(self.cameras)
        self.engine = FakeEngine()
        self.cancel = threading.Event()
        self._end = threading.Event()
        look, meter = FrameMeter(), FrameMeter()
        sources = [Source(name=name, camera=camera) for name, camera in self.cameras.items()]
        self.pipeline = Pipeline(sources, sinks=(look, meter))
        power = PowerSampler(NoPower(), interval_s=60)
        self._spool = Spool(folder / "spool.sqlite")
        self.recorder = Recorder(
            meter=meter,
            power=power,
            spool=self._spool,
            window_s=60,
            boot_id="b",
            model=lambda: self.pipeline.model,
            dropped=self.pipeline.take_dropped,
            stored=lambda _: None,
        )
        self.runtime = DeviceRuntime(
            self.pipeline,
            self.recorder,
            power,
            look=look,
            facts=FACTS,
            state=folder,
            threads=1,
            settle_s=0.0,
            cancel=self.cancel,
            on_switch=lambda: None,
        )
        self.pipeline.replace_model(fake_model(self.engine))
        self.pipeline.start()
        self._giving = threading.Thread(target=self._give)
        self._giving.start()

    def close(self) -> None:
        """End everything."""
        self._end.set()
        self._giving.join()
        self.pipeline.stop()
        self._spool.close()

    def window(self) -> None:
        """Let a window with frames end."""
        frames = self.pipeline.finished_frames
        wait_until(lambda: self.pipeline.finished_frames > frames + 3, what="frames")
        threading.Event().wait(0.25)
        self.recorder.close_window(self.pipeline.model)

    def _give(self) -> None:
        while not self._end.wait(0.01):
            for name in tuple(self.on):
                self.cameras[name].give()


@pytest.fixture
def bench(memory_path: Path) -> Iterator[Bench]:
    """A device that runs."""
    made = Bench(memory_path)
    yield made
    made.close()


def test_a_look_with_all_cameras_is_whole(bench: Bench) -> None:
    """Both give frames, and nothing is left out."""
    seen = bench.runtime.watch(POLICY)
    assert seen.frames > 0
    assert (seen.cameras_away, seen.is_reduced) == ((), False)


def test_a_silent_camera_is_away_before_it_counts_as_lost(bench: Bench) -> None:
    """A dead link is noticed by the look itself: the other camera's frames alone are no figures of the release."""
    bench.on.remove("yard")
    wait_until(bench.cameras["yard"]._frames.empty, what="the last frames of the camera")
    bench.pipeline.wait(0.1)
    assert bench.runtime.watch(POLICY).cameras_away == ("yard",)


def test_a_lost_camera_ends_the_look(bench: Bench) -> None:
    """There is nothing to wait for within the look; the probe waits for the camera."""
    bench.cameras["door"].is_away = True
    seen = bench.runtime.watch(ProbePolicy(live_seconds=60))
    assert (seen.cameras_away, bench.runtime.cameras_away()) == (("door",), ("door",))


def test_an_engine_that_fails_is_not_taken_for_a_silent_camera(bench: Bench) -> None:
    """Its frames are lost by its own fault, which the verdict must see."""
    bench.engine.fails = True
    wait_until(lambda: bench.pipeline.model_errors > 0, what="a failed call")
    seen = bench.runtime.watch(POLICY)
    assert (seen.frames, seen.cameras_away) == (0, ())


def test_a_lowered_rate_marks_the_figures_and_forgets_older_ones(bench: Bench) -> None:
    """Windows of two rates are never mixed, and what was measured at a lower one says so until the rate is back."""
    bench.window()
    before = bench.runtime.figures()
    assert before is not None
    assert not before.is_reduced
    bench.runtime.set_rate(0.5)
    assert bench.runtime.figures() is None
    bench.window()
    lowered = bench.runtime.figures()
    assert lowered is not None
    assert (lowered.is_reduced, bench.runtime.watch(POLICY).is_reduced) == (True, True)
    bench.runtime.set_rate(1.0)
    assert bench.runtime.figures() is None


def test_silence_is_a_count_that_stands_still() -> None:
    """One more frame is a sign of life."""
    assert silent_cameras({"door": 5, "yard": 5}, {"door": 5, "yard": 6}) == ("door",)


def test_a_build_is_left_when_the_agent_stops(bench: Bench, memory_path: Path) -> None:
    """It ends between two steps, as no fault of the release, and no engine stands there."""
    make_bundle(memory_path / "bundle")
    bench.cancel.set()
    with pytest.raises(UpdateCancelled):
        bench.runtime.build(memory_path / "bundle" / "model.fp32.onnx", memory_path / "engine", "onnxruntime")
    assert list((memory_path / "engine").iterdir()) == []


def test_a_run_of_a_bundle_can_be_stopped_while_its_engine_is_built(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during the build ends the command as an interrupt does, and the cache holds no engine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(memory_path / "cache"))
    make_bundle(memory_path / "bundle")
    stop = threading.Event()
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        run_bundle(BundleRun(bundle=memory_path / "bundle", camera="synthetic"), stop=stop)
    assert [path for path in (memory_path / "cache").rglob("*") if path.is_file()] == []
