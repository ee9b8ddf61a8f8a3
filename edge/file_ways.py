"""Composition of the ways by which signed files come: HTTPS, streams over the device's own MQTT connection, or both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.config import FleetSettings
from edge.identity.store import Identity
from edge.transport.fetching import ReleaseFetcher
from edge.transport.https import ResumingFetcher
from edge.transport.interface import MessageLink
from edge.transport.stream_desk import StreamDesk
from edge.transport.stream_link import StreamingLink
from edge.transport.stream_part import StreamParts
from edge.transport.stream_plan import Pacing
from edge.transport.streams import StreamFetcher
from edge.transport.way_choice import Way, WayChoice
from edge.transport.ways import WayFetcher


class FileWays:
    """The ways of one device.

    Args:
        settings: which of them the site allows.
        identity: where the fleet's files are.
        parts: the folder of unfinished files.
        on_turn: told the way from now on, when it changes.
    """

    def __init__(
        self, settings: FleetSettings, identity: Identity, parts: Path, *, on_turn: Callable[[Way], None]
    ) -> None:
        self._settings, self._identity, self._parts = settings, identity, parts
        self._desk = StreamDesk(StreamParts(parts)) if settings.transport != "https" else None
        choice = WayChoice(settings.transport, failures=settings.https_failures, again_s=settings.https_again_s)
        self.fetcher = WayFetcher(self._opened(), choice, on_turn=on_turn)

    def over(self, link: MessageLink) -> MessageLink:
        """The device's connection, with streams on it where the site allows them."""
        return link if self._desk is None else StreamingLink(link, self._identity.device_id, self._desk)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What the device tells its fleet: what it may do, and the way that it takes now."""
        offered = ("streams",) if self._desk is not None else ()
        return (*offered, f"transport:{self._settings.transport}", f"way:{self.fetcher.way}")

    def _opened(self) -> dict[Way, ReleaseFetcher]:
        ways: dict[Way, ReleaseFetcher] = {}
        begun: Callable[[str], Path] | None = None
        if self._settings.transport != "mqtt":
            ways["https"] = https = ResumingFetcher(
                self._parts,
                self._identity.targets_url,
                attempts=self._settings.download_attempts,
                ca_pem=self._identity.registry_ca,
            )
            begun = https.part_of
        if self._desk is not None:
            pacing = Pacing(
                block_bytes=self._settings.stream_block_bytes,
                most_in_flight=self._settings.stream_window,
                attempts=self._settings.download_attempts,
            )
            urls = self._identity.metadata_url, self._identity.targets_url
            ways["mqtt"] = StreamFetcher(self._desk, *urls, pacing=pacing, begun=begun)
        return ways
