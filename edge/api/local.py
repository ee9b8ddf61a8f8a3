"""The local API beside a run without a fleet: closes windows of its own, which stay in memory."""

from __future__ import annotations

import platform
import threading
import time
import uuid
from collections.abc import Sequence

from edge.api.port import PipelinePort, cameras_of, pulse_of
from edge.api.server import LocalApi, preview_for
from edge.api.state import DeviceState
from edge.config import ApiSettings, PrivacySettings
from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import Sink, Source
from edge.pipeline.pipeline import Pipeline
from edge.power.host import HostLoad
from edge.power.sampler import PowerSampler
from edge.supervisor import Supervisor
from edge.telemetry.window import WindowContext, build_window

_WINDOW_S = 2.0


class ServedRun:
    """Serves one pipeline for as long as it runs.

    Args:
        api: whether and where; with ``enabled`` false all of this does nothing.
        privacy: what of a face may be seen.
        power: power readings.

    Raises:
        ConfigError: the token file or the certificate is not what it should be.
        UnavailableError: the port cannot be had.
    """

    def __init__(self, api: ApiSettings, privacy: PrivacySettings, power: PowerSampler) -> None:
        self._enabled = api.enabled
        self._power = power
        self._meter = FrameMeter()
        self._host = HostLoad()
        self._preview = preview_for(api, privacy)
        self._state = DeviceState(device_id=platform.node() or "this machine")
        self._api = LocalApi(api, self._state, preview=self._preview, show_faces=privacy.show_faces)
        self._boot_id = uuid.uuid4().hex
        self._sequence = 0
        self._supervisor = Supervisor("local windows")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local-windows", daemon=True)
        self._pipeline: Pipeline | None = None

    @property
    def url(self) -> str | None:
        """Where the page is; ``None`` when nothing is served."""
        return self._api.url if self._enabled else None

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """What the pipeline must feed."""
        if not self._enabled:
            return ()
        return (self._meter, self._preview) if self._preview is not None else (self._meter,)

    def start(self, pipeline: Pipeline, sources: Sequence[Source]) -> None:
        """Begin to answer.

        Args:
            pipeline: what runs.
            sources: its cameras.
        """
        if not self._enabled:
            return
        self._pipeline = pipeline
        self._state.model = PipelinePort(pipeline)
        self._state.cameras = lambda: cameras_of(pipeline, sources)
        self._state.pulse = lambda: pulse_of(pipeline, self._power, sources)
        self._meter.take()
        self._thread.start()
        self._api.start()

    def close(self) -> None:
        """Answer no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._api.close()

    def _run(self) -> None:
        while not self._stopping.wait(_WINDOW_S):
            self._supervisor.guarded(self._close_window)

    def _close_window(self) -> None:
        if self._pipeline is None:
            return
        model, tally = self._pipeline.model, self._meter.take()
        self._sequence += 1
        context = WindowContext(
            window_id=uuid.uuid4().hex,
            sequence=self._sequence,
            boot_id=self._boot_id,
            ended_at=time.time(),
            power_source=self._power.name,
            release=model.release if model else None,
            precision=model.precision if model else None,
            labels=model.labels if model else (),
            cpu_percent=self._host.cpu_percent(),
            ram_bytes=self._host.ram_bytes(),
        )
        self._state.add_window(build_window(tally, self._power.since(tally.started_at_s), context))
