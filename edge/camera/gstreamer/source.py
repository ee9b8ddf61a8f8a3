"""A running GStreamer pipeline as a live source: pulls frames, hears errors, and tells when each picture was taken.

Memory: GStreamer keeps its own pool of buffers, and a frame is copied from there into an array of ours that is used
again once nobody holds it; nothing is allocated for pixels while frames are let go at the rate they come. No main loop
runs and no thread of Python's is started.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from edge.camera.gstreamer.binding import load_gst
from edge.camera.gstreamer.memory import copy_bgrx
from edge.camera.gstreamer.pipelines import PACKAGES, Plan
from edge.camera.interface import CameraError, Picture
from edge.camera.options import check_shape
from edge.camera.pool import FramePool
from edge.camera.stamps import taken_at
from mien.errors import ConfigError, MienError, UnsupportedError

_log = logging.getLogger(__name__)

_SLICE_S = 0.1
"""How soon an error is heard while no frame comes."""


def present_elements() -> frozenset[str]:
    """Which of the elements that our pipelines may hold are installed.

    Raises:
        UnsupportedError: GStreamer cannot be used from Python here.
    """
    registry = load_gst().Registry.get()
    return frozenset(name for name in PACKAGES if registry.lookup_feature(name) is not None)


class GStreamerSource:
    """A pipeline that plays.

    Args:
        plan: which one.
        name: for logs and errors, without a password.
        properties: of the element ``source``, such as an address.
        read_timeout_s: how long is waited for a frame.
        scale_to: the size that was asked of the converter.
        watch: given the element ``source`` before it starts; returns what may be wrong with what it was offered.
        clean: takes secrets out of GStreamer's words.

    Raises:
        CameraError: no frame comes.
        ConfigError: the size that was asked for would distort the picture.
        UnsupportedError: GStreamer cannot be used here, or does not know the pipeline.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        name: str,
        properties: dict[str, Any],
        read_timeout_s: float,
        scale_to: tuple[int, int] | None = None,
        watch: Callable[[Any], Callable[[], MienError | None]] | None = None,
        clean: Callable[[str], str] = str,
    ) -> None:
        self._gst = load_gst()
        self._name = name
        self._timeout_s = read_timeout_s
        self._scale_to = scale_to
        self._unscaled: Any = None
        self._clean = clean
        self._pool = FramePool()
        self._pipeline = self._made(plan)
        self._sink = self._pipeline.get_by_name("sink")
        self._bus = self._pipeline.get_bus()
        source = self._pipeline.get_by_name("source")
        for key, value in properties.items():
            source.set_property(key, value)
        self._wrong = watch(source) if watch else lambda: None
        try:
            self._first: Any = self._started()
            self._check_scaling()
        except MienError:
            self.close()
            raise
        self.description = self._described()
        _log.info("camera %s: GStreamer runs %s", name, plan.text)

    def next(self) -> Picture | None:
        """The next picture; ``None`` when none came within the time allowed, or the stream ended.

        Raises:
            CameraError: an element failed, or the picture's shape is no longer that of the size that was asked for.
        """
        sample, self._first = self._first if self._first is not None else self._pulled(), None
        if sample is None:
            return None
        try:
            self._check_scaling()
        except ConfigError as error:
            raise CameraError(f"camera {self._name} changed its shape", found=error.found) from error
        buffer, caps = sample.get_buffer(), sample.get_caps().get_structure(0)
        taken_at_s = self._taken_at(sample, buffer)
        image = self._pool.take(caps.get_value("width"), caps.get_value("height"))
        whole = copy_bgrx(hash(buffer), image)
        return Picture(image=image if whole else None, taken_at_s=taken_at_s)

    def close(self) -> None:
        """Stop the pipeline; its threads end before this returns."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _made(self, plan: Plan) -> Any:  # noqa: ANN401 - the binding has no types
        from gi.repository import GLib

        try:
            pipeline = self._gst.parse_launch(plan.text)
        except GLib.Error as error:
            raise UnsupportedError(
                "GStreamer does not know this pipeline", found=f"{error.message}: {plan.text}"
            ) from error
        # The system's clock is the monotonic one of time.monotonic(), whatever clock a source would bring.
        pipeline.use_clock(self._gst.SystemClock.obtain())
        return pipeline

    def _started(self) -> Any:  # noqa: ANN401 - the binding has no types
        self._pipeline.set_state(self._gst.State.PLAYING)
        sample = self._pulled()
        if sample is None:
            raise self._wrong() or CameraError(
                f"camera {self._name} gives no frames", found=f"none in {self._timeout_s:g} s"
            )
        return sample

    def _pulled(self) -> Any:  # noqa: ANN401 - the binding has no types
        """The next sample; ``None`` when none came in time. Pulls in slices, so that an error is heard at once."""
        end_s = time.monotonic() + self._timeout_s
        slice_ns = int(_SLICE_S * self._gst.SECOND)
        kinds = self._gst.MessageType.ERROR | self._gst.MessageType.EOS
        while True:
            sample = self._sink.emit("try-pull-sample", slice_ns)
            if sample is not None:
                return sample
            message = self._bus.pop_filtered(kinds)
            if message is not None and message.type == self._gst.MessageType.ERROR:
                raise self._wrong() or self._error_of(message)
            if message is not None or time.monotonic() > end_s:
                return None
            if self._sink.get_property("eos"):
                time.sleep(_SLICE_S)  # the pull returns at once then, and the message is on its way

    def _error_of(self, message: Any) -> CameraError:  # noqa: ANN401 - the binding has no types
        error, _ = message.parse_error()
        factory = message.src.get_factory() if hasattr(message.src, "get_factory") else None
        element = factory.get_name() if factory else message.src.get_name()
        return CameraError(
            f"GStreamer's {element} failed for camera {self._name}",
            found=self._clean(error.message),
            remedy="check the address, user and password, and that the camera is on, connected and free",
        )

    def _taken_at(self, sample: Any, buffer: Any) -> float:  # noqa: ANN401 - the binding has no types
        now_s = time.monotonic()
        none = self._gst.CLOCK_TIME_NONE
        if buffer.pts == none:
            return now_s
        running = sample.get_segment().to_running_time(self._gst.Format.TIME, buffer.pts)
        if running == none:
            return now_s
        return taken_at((self._pipeline.get_base_time() + running) / self._gst.SECOND, now_s)

    def _check_scaling(self) -> None:
        """Refuse a stream whose shape is not, or is no longer, that of the size that was asked for."""
        if self._scale_to is None:
            return
        caps = self._pipeline.get_by_name("scale").get_static_pad("sink").get_current_caps()
        if self._unscaled is None or not caps.is_equal(self._unscaled):
            self._unscaled = caps
            size = caps.get_structure(0)
            check_shape(self._name, (size.get_value("width"), size.get_value("height")), self._scale_to)

    def _described(self) -> str:
        caps = self._first.get_caps().get_structure(0)
        decoders = [name for name, kind in self._elements() if "Decoder" in kind and "Bin" not in kind]
        return f"{caps.get_value('width')}×{caps.get_value('height')} through GStreamer's " + (
            " and ".join(decoders) or "source"
        )

    def _elements(self) -> Iterator[tuple[str, str]]:
        """Name and kind of each element; a pipeline may have put some in by itself."""
        elements = self._pipeline.iterate_recurse()
        while True:
            result, element = elements.next()
            if result != self._gst.IteratorResult.OK:
                return
            factory = element.get_factory()
            if factory is not None:
                yield factory.get_name(), factory.get_metadata("klass") or ""
