"""``mien fleet token``, ``devices`` and ``device``: let devices in, look at them, shut them out."""

from __future__ import annotations

from pathlib import Path

import typer

from fleet.cli_shared import DATA, JSON, URL, client, say
from mien.console import err, out, print_json, table_of

token_app = typer.Typer(no_args_is_help=True, help="Tokens with which devices enrol.")
device_app = typer.Typer(no_args_is_help=True, help="One device, and the list of serial numbers.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(token_app, name="token")
    app.add_typer(device_app, name="device")
    app.command("devices")(devices)


@token_app.command("create")
def token_create(
    group: str = typer.Option("default", help="The group which the devices join."),
    uses: int = typer.Option(1, help="How many devices may enrol with it."),
    ttl: str = typer.Option("1h", help="How long it is valid: 90s, 15m, 1h, 7d."),
    review: bool = typer.Option(
        False, "--review", help="Devices wait for 'mien fleet device accept', but for those on the list."
    ),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Make an enrolment token. It is shown once."""
    from fleet.durations import seconds_of

    with client(url, data) as fleet:
        body = {"group": group, "uses": uses, "ttl_s": seconds_of(ttl), "review": review}
        answer = fleet.post("/tokens", body)
    if json:
        print_json(answer)
        return
    out().print(f"{answer['token']}@{url}", highlight=False, soft_wrap=True)
    then = ", then you decide: mien fleet devices --state pending" if review else ""
    err().print(f"on the device:  mien edge enroll TOKEN@URL   ({uses} use{'s' if uses > 1 else ''}, {ttl}){then}")


def devices(
    state: str | None = typer.Option(None, help="Only these: preauthorised, pending, accepted, rejected, revoked."),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """List devices with their last figures."""
    from fleet.cli_views import device_rows

    with client(url, data) as fleet:
        found = fleet.get("/devices" + (f"?state={_state(state)}" if state else ""))
    if json:
        print_json(found)
        return
    columns = ("device", "state", "release", ">fps", ">p95 ms", ">W", "source")
    out().print(table_of("Devices", columns, device_rows(found)))


@device_app.command("show")
def device_show(device_id: str, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Print all that is known of a device."""
    from fleet.cli_views import fact_rows

    with client(url, data) as fleet:
        found = fleet.get(f"/devices/{device_id}")
    if json:
        print_json(found)
        return
    out().print(table_of(device_id, ("what", "value"), fact_rows(found)))


@device_app.command("accept")
def device_accept(device_id: str, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Let a device in that waits, or that was rejected."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/devices/{device_id}/accept")
    say(answer, f"{device_id} is accepted; it fetches its certificate when it asks again", json=json)


@device_app.command("reject")
def device_reject(device_id: str, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Refuse a device that waits, or take a serial number off the list."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/devices/{device_id}/reject")
    say(answer, f"{device_id} is rejected", json=json)


@device_app.command("revoke")
def device_revoke(device_id: str, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Refuse a device for good: its messages are dropped, its requests denied, and the broker's lists written anew."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/devices/{device_id}/revoke")
    say(answer, f"{device_id} is revoked; {answer['broker']}", json=json)


@device_app.command("label")
def device_label(
    words: list[str] = typer.Argument(
        ..., metavar="DEVICE… NAME=VALUE… NAME-…", help="site=berlin sets, site- removes."
    ),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Set or remove labels, by which waves and budgets choose devices."""
    from mien.errors import ConfigError

    wanted = dict(word.split("=", 1) for word in words if "=" in word)
    unwanted = [word[:-1] for word in words if "=" not in word and word.endswith("-")]
    named = [word for word in words if "=" not in word and not word.endswith("-")]
    if not named or not (wanted or unwanted):
        raise ConfigError(
            "labels need devices and what to change",
            found=" ".join(words),
            wanted="cam-1 cam-2 site=berlin, or cam-1 site- to take one away",
        )
    with client(url, data) as fleet:
        answer = fleet.post("/devices/labels", {"devices": named, "set": wanted, "remove": unwanted})
    lines = [f"{one['id']}  {' '.join(f'{k}={v}' for k, v in sorted(one['labels'].items())) or '-'}" for one in answer]
    say(answer, "\n".join(lines), json=json)


@device_app.command("preauthorise")
def device_preauthorise(
    serials: list[str] = typer.Argument(None, help="SERIAL, or SERIAL,NAME to choose the device's name too."),
    file: Path | None = typer.Option(None, help="A file with one of them on each line."),
    group: str = typer.Option("default", help="The group which the devices join."),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """List boards by serial number: they are accepted at once with a token of the group, even one for review."""
    listed = [_listed(line) for line in [*(serials or []), *_lines(file)]]
    with client(url, data) as fleet:
        answer = fleet.post("/devices/preauthorise", {"group": group, "devices": listed})
    names = ", ".join(device["id"] for device in answer)
    say(answer, f"{len(answer)} listed in the group {group}: {names}", json=json)


def _state(text: str) -> str:
    from fleet.identity.membership import MemberState
    from mien.errors import ConfigError

    known = [state.value for state in MemberState if state is not MemberState.UNKNOWN]
    if text not in known:
        raise ConfigError(f"'{text}' is no state of a device", wanted=", ".join(known))
    return text


def _listed(line: str) -> dict[str, str]:
    serial, _, name = (part.strip() for part in line.partition(","))
    return {"serial_number": serial} | ({"device_id": name} if name else {})


def _lines(file: Path | None) -> list[str]:
    from mien.errors import ConfigError

    if file is None:
        return []
    try:
        lines = file.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"could not read {file}", found=str(error)) from error
    return [line for line in lines if line.strip() and not line.startswith("#")]
