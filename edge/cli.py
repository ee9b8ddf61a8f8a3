"""``mien edge``: run a model on this device, enrol the device, look at it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import typer

from edge import cli_look, cli_rollback

app = typer.Typer(no_args_is_help=True, help="Run a model on this device, enrol it, look at it.")
cli_look.add_to(app)

_STATE = Path("/var/lib/mien")
cli_rollback.add_to(app, _STATE)
_OF_A_DEVICE = frozenset({"config", "camera", "state"})
_FROM_STDIN = "-"
_JSON = typer.Option(False, "--json", help="Print one JSON document.")


@app.command()
def run(
    context: typer.Context,
    config: Path | None = typer.Option(None, help="Settings file of a device that is tied to a fleet."),
    bundle: Path | None = typer.Option(None, help="Run this release bundle alone, without a fleet."),
    camera: str | None = typer.Option(
        None, help="video.mp4, folder/, /dev/video0, rtsp://…, csi://0 or synthetic://WxH@fps."
    ),
    state: Path | None = typer.Option(None, help="State folder; wins over the settings file."),
    frames: int | None = typer.Option(None, min=1, help="With --bundle: stop after so many frames."),
    seconds: float | None = typer.Option(None, min=0.1, help="With --bundle: stop after so many seconds."),
    precision: str | None = typer.Option(None, help="With --bundle: take this variant only (int8, fp16, fp32)."),
    threads: int = typer.Option(1, min=1, help="With --bundle: CPU threads that onnxruntime takes for a frame."),
    calls_at_once: int | None = typer.Option(
        None, min=1, max=64, help="With --bundle: frames that onnxruntime computes side by side; files take all cores."
    ),
    realtime: bool = typer.Option(False, help="With --bundle: play files at their own rate."),
    loop: bool = typer.Option(False, help="With --bundle: start files again at their end."),
    max_fps: float | None = typer.Option(None, min=0.1, help="With --bundle: frames a second at most."),
    power: str = typer.Option("auto", help="With --bundle: power source."),
    power_replay: Path | None = typer.Option(None, help="With --bundle: a tegrastats recording to replay."),
    save_detections: Path | None = typer.Option(None, help="With --bundle: write detections, a JSON line a frame."),
    preview: Path | None = typer.Option(None, help="With --bundle: write a video with the boxes drawn, faces covered."),
    http_port: int | None = typer.Option(
        None, min=0, max=65535, help="With --bundle: serve the live page on this port of 127.0.0.1; 0 takes a free one."
    ),
    http_preview: bool = typer.Option(False, help="With --http-port: show the camera on the page, faces covered."),
    show_faces: bool = typer.Option(False, help="With --preview or --http-preview: leave faces as they are."),
    as_json: bool = _JSON,
) -> None:
    """Run frames through a model: a bundle alone, or the release which the fleet wants."""
    from mien.errors import ConfigError

    if bundle is None:
        _refuse_bundle_options(context)
        _run_device(config, camera, state)
        return
    if config is not None or state is not None:
        raise ConfigError(
            "--bundle runs without a fleet and takes neither --config nor --state", remedy="leave one of them out"
        )
    if camera is None:
        raise ConfigError("--bundle needs a camera", remedy="add --camera video.mp4 or another source")
    if show_faces and preview is None and not http_preview:
        raise ConfigError("--show-faces shows nothing without a picture", remedy="add --preview FILE or --http-preview")
    from edge.bundle_run import BundleRun

    wanted = BundleRun(
        bundle=bundle,
        camera=camera,
        frames=frames,
        seconds=seconds,
        threads=threads,
        calls_at_once=calls_at_once,
        precisions=_precisions(precision),
        realtime=realtime,
        loop=loop,
        max_fps=max_fps,
        power=power,
        power_replay=power_replay,
        detections=save_detections,
        preview=preview,
        api=_api(http_port, preview=http_preview),
        show_faces=show_faces,
    )
    _run_bundle(wanted, as_json=as_json)


@app.command()
def enroll(
    token: str | None = typer.Argument(None, help="TOKEN@URL, or - to read it from standard input."),
    token_file: Path | None = typer.Option(None, help="A file that holds the token, so that no list shows it."),
    url: str | None = typer.Option(None, help="The fleet service, when the token does not name it."),
    state: Path = typer.Option(_STATE, help="State folder of the device."),
    device_id: str | None = typer.Option(None, help="Ask for this name; else the fleet chooses one."),
    serial: str | None = typer.Option(None, help="The board's serial number; the device tree's where there is one."),
    wait: str | None = typer.Option(None, help="Ask again for so long while nobody has decided: 10m, 1h."),
    as_json: bool = _JSON,
) -> None:
    """Give this device an identity: a key that stays here, and a certificate from the fleet."""
    from edge.identity.enrol import enrol
    from edge.identity.serial import board_serial_number
    from edge.identity.token import parse_token
    from edge.identity.waiting import Waiting
    from mien.console import out, print_json
    from mien.errors import ConfigError

    parsed = parse_token(_token_text(token, token_file))
    service = url or parsed.url
    if service is None:
        raise ConfigError("where is the fleet?", remedy="write TOKEN@URL, or add --url http://HOST:PORT")
    identity = enrol(
        parsed,
        service,
        state,
        device_id=device_id,
        serial_number=serial or board_serial_number(),
        waits=Waiting.of(wait),
    )
    if as_json:
        print_json({"device_id": identity.device_id, "fleet": identity.fleet_url, "state": str(state)})
        return
    out().print(
        f"enrolled as [bold]{identity.device_id}[/] with {identity.fleet_url}\n"
        f"next: mien edge run --state {state} --camera SOURCE",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def status(
    state: Path = typer.Option(_STATE, help="State folder of the device."),
    as_json: bool = _JSON,
) -> None:
    """Show who this device is, what it runs, and what waits to be sent or was given up; reads the disk only."""
    from edge.report import status_of, status_table
    from mien.console import out, print_json

    found = status_of(state)
    if as_json:
        print_json(found)
    else:
        out().print(status_table(found))


@app.command()
def facts(as_json: bool = _JSON) -> None:
    """Show what this machine is: board, system, runtimes."""
    from edge.facts import read_facts
    from mien.console import out, print_json, table_of

    found = read_facts()
    values = found.model_dump() | {"runtimes": list(found.runtimes()), "hardware_class": found.hardware_class()}
    if as_json:
        print_json(values)
        return
    rows = [(name, ", ".join(value) if isinstance(value, list) else value) for name, value in values.items()]
    out().print(table_of("this machine", ("fact", "value"), rows))


@app.command()
def doctor(
    config: Path | None = typer.Option(None, help="Settings file to check."),
    state: Path | None = typer.Option(None, help="State folder; wins over the settings file."),
    camera: str | None = typer.Option(
        None, help="A camera's name or a source: try it alone, even beside a running agent."
    ),
    as_json: bool = _JSON,
) -> None:
    """Check what a device needs, and say which command mends what is wrong. Ends with 9 if anything is wrong."""
    from edge.config import read_edge_settings, with_camera
    from edge.doctor.examine import examine
    from edge.doctor.report import as_json as document
    from edge.doctor.report import summary_of, table_of_findings
    from mien.console import out, print_json, progress_bar

    settings = with_camera(read_edge_settings(config, {"state": str(state) if state else None}), camera)
    with progress_bar() as progress:
        findings = examine(settings, insists=camera is not None, progress=progress)
    if as_json:
        print_json(document(findings))
    else:
        out().print(table_of_findings(findings))
        out().print(summary_of(findings), highlight=False)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(9)


def _refuse_bundle_options(context: typer.Context) -> None:
    from mien.errors import ConfigError

    given = [
        "--json" if name == "as_json" else f"--{name.replace('_', '-')}"
        for name in context.params
        if name not in _OF_A_DEVICE and str(context.get_parameter_source(name)).endswith("COMMANDLINE")
    ]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: for a bundle alone, and this run has none",
            wanted="--config, --camera and --state without --bundle",
            remedy="add --bundle FOLDER, or set these in the settings file",
        )


def _precisions(precision: str | None) -> Any:  # noqa: ANN401 - imports happen in commands
    from typing import get_args

    from mien.errors import ConfigError
    from mien.release import Precision

    if precision is None:
        return ("int8", "fp16", "fp32")
    if precision not in get_args(Precision):
        raise ConfigError(f"'{precision}' is no precision", wanted=", ".join(get_args(Precision)))
    return (precision,)


def _api(port: int | None, *, preview: bool) -> Any:  # noqa: ANN401 - as above
    from edge.config import ApiSettings
    from mien.errors import ConfigError

    if port is None:
        if preview:
            raise ConfigError(
                "--http-preview shows the camera on a page, and none is served", remedy="add --http-port 8330"
            )
        return ApiSettings()
    return ApiSettings(enabled=True, port=port, preview=preview)


def _token_text(token: str | None, token_file: Path | None) -> str:
    from mien.errors import ConfigError

    if (token is None) == (token_file is None):
        raise ConfigError("one token is needed", remedy="give TOKEN@URL, - for standard input, or --token-file FILE")
    if token_file is not None:
        try:
            return token_file.read_text()
        except OSError as error:
            raise ConfigError(f"could not read the token file {token_file}", found=str(error)) from error
    return sys.stdin.readline() if token == _FROM_STDIN else str(token)


def _run_device(config: Path | None, camera: str | None, state: Path | None) -> None:
    import logging

    from edge.config import read_edge_settings, with_camera
    from edge.identity.store import IdentityStore
    from edge.main import EdgeDevice
    from edge.reload import run_with_reloads
    from mien.errors import TrustError

    def read() -> Any:  # noqa: ANN401 - imports happen in commands
        settings = read_edge_settings(config, {"state": str(state.resolve()) if state else None})
        return with_camera(settings, camera)

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for noisy in ("httpx", "httpcore", "tuf"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        run_with_reloads(read, EdgeDevice)
    except TrustError as error:
        if not IdentityStore(read().state).exists():
            error.remedy += ", or run without a fleet: mien edge run --bundle FOLDER --camera SOURCE"
        raise


def _run_bundle(wanted: Any, *, as_json: bool) -> None:  # noqa: ANN401 - as above
    import signal

    from rich.live import Live

    from edge.bundle_run import Glance, run_bundle
    from edge.report import run_tables
    from mien.console import err, out, print_json, progress_bar

    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with progress_bar() as progress, Live(console=err(), refresh_per_second=4, transient=True) as live:

            def show(glance: Glance) -> None:
                watt = f"  {glance.power_w:.1f} W ({glance.power_source})" if glance.power_w is not None else ""
                fps = glance.frames / glance.seconds if glance.seconds else 0.0
                live.update(f"  {glance.frames} frames  {fps:.1f} fps  {glance.detections} detections{watt}")

            def tell(url: str) -> None:
                err().print(f"live page: {url}", highlight=False, soft_wrap=True)

            summary = run_bundle(wanted, stop=stop, progress=progress, on_glance=show, on_serve=tell)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if as_json:
        print_json(summary)
    else:
        for table in run_tables(summary):
            out().print(table)
