"""``mien fleet keys``: the registry's signing keys, and what offline keys must sign."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mien.console import err, out, print_json, table_of

if TYPE_CHECKING:
    from fleet.registry.ceremony import ToSign
    from fleet.registry.passphrases import Passphrase
    from fleet.registry.repository import Repository
    from fleet.registry.roles import RoleKeys

keys_app = typer.Typer(no_args_is_help=True, help="The registry's signing keys.")

_DATA = typer.Option(Path("fleet-data"), "--data", help="The service's data folder.")
_KEYS = typer.Option(None, "--keys", help="Where the offline keys are, if not in the data folder.")
_FILE = typer.Option(None, "--passphrase-file", help="Opens encrypted keys, and encrypts new ones; first line counts.")
_ENCRYPT = typer.Option(False, "--encrypt", help="Encrypt new offline keys; the passphrase is asked for.")
_JSON = typer.Option(False, "--json", help="Print one JSON document.")
_TABLE = 10
"""So many digits of a key's id fit into a table; --keep takes them."""


def passphrase(file: Path | None, *, encrypt: bool = False) -> Passphrase:
    """What opens offline keys: a file, a descriptor, or the terminal."""
    from fleet.registry.passphrases import GivenPassphrase

    return GivenPassphrase(file, encrypt=encrypt, environment=os.environ)


@keys_app.command("init")
def keys_init(
    root_keys: int | None = typer.Option(None, help="Root keys to make here (1, or none beside --root-public)."),
    root_threshold: int = typer.Option(1, help="How many root keys must sign."),
    root_public: list[Path] = typer.Option([], help="A root key's .pub file from its holder; repeatable."),
    targets_keys: int | None = typer.Option(None, help="Targets keys to make here (1, or none beside public ones)."),
    targets_threshold: int = typer.Option(1, help="How many targets keys must sign a release."),
    targets_public: list[Path] = typer.Option([], help="A targets key's .pub file from its holder; repeatable."),
    data: Path = _DATA,
    keys: Path | None = _KEYS,
    passphrase_file: Path | None = _FILE,
    encrypt: bool = _ENCRYPT,
    json: bool = _JSON,
) -> None:
    """Make signing keys and an empty registry. 'mien fleet serve' does this by itself at its first start."""
    from fleet.paths import DataFolder

    DataFolder(data).create()
    asked = bool(root_keys or root_public or targets_keys or targets_public or root_threshold + targets_threshold > 2)  # noqa: PLR2004 - 1 and 1
    with _registry(data, keys, passphrase_file, encrypt=encrypt) as repository:
        offline = None
        if asked:
            _refuse_second_change(repository)
        if not repository.exists() and repository.pending() is None:
            root = _offline_keys(repository, "root", root_keys, root_public, root_threshold)
            targets = _offline_keys(repository, "targets", targets_keys, targets_public, targets_threshold)
            offline = {"root": root, "targets": targets}
        repository.create(_now(), offline)
        folder, online = repository.offline.path, repository.online.path
        plain = [key for key in _here(repository) if not key.encrypted]
    _say(
        {"offline_keys": str(folder), "online_keys": str(online), "encrypted": not plain},
        f"keys made; move {folder} to a machine that is not on the network",
        json=json,
    )
    if plain:
        err().print(
            "the offline keys are not encrypted: good for a demo on one machine; elsewhere use --passphrase-file"
            " or --encrypt",
            highlight=False,
        )


@keys_app.command("make")
def keys_make(
    role: str = typer.Argument(help="root or targets."),
    keys: Path = typer.Option(..., "--keys", help="The folder for the key, on its holder's machine."),
    passphrase_file: Path | None = _FILE,
    encrypt: bool = typer.Option(True, "--encrypt/--plain", help="Whether the key asks for a passphrase."),
    json: bool = _JSON,
) -> None:
    """Make an offline key on its holder's machine; hand over the .pub file and nothing else."""
    from fleet.registry.keys import OFFLINE, KeyFolder
    from mien.errors import ConfigError

    if role not in OFFLINE:
        raise ConfigError(f"a {role} key is not made by hand", wanted=" or ".join(OFFLINE))
    folder = KeyFolder(keys, passphrase(passphrase_file, encrypt=encrypt))
    key = folder.make(role)
    place = folder.place_of(role, key.keyid)
    answer = {"role": role, "id": key.keyid, "private": str(place), "public": str(place.with_suffix(".pub"))}
    _say(answer, f"{role} key {key.keyid}\nhand over {answer['public']}", json=json)


@keys_app.command("list")
def keys_list(data: Path = _DATA, keys: Path | None = _KEYS, json: bool = _JSON) -> None:
    """List the keys that may sign: role, id, threshold, expiry, and where the private half is."""
    from fleet.registry.standing import keys_of_registry

    found = keys_of_registry(_repository(data, keys))
    if json:
        print_json([_key_row(key) for key in found])
        return
    rows = [
        (key.role, key.keyid[:_TABLE], f"{key.threshold} of {key.keys}", f"{key.expires:%Y-%m-%d %H:%M}", _where(key))
        for key in found
    ]
    out().print(table_of("Keys", ("role", "id", "threshold", "valid until (UTC)", "where"), rows))


@keys_app.command("status")
def keys_status(
    within: str = typer.Option("30d", help="Call it soon when an offline role has less than this left."),
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Say what runs out when, and what waits for signatures; exit code 8 when something runs out soon."""
    from fleet.durations import seconds_of
    from fleet.registry.standing import roles_of_registry
    from mien.errors import ExitCode

    repository, now = _repository(data, None), _now()
    roles = roles_of_registry(repository, now, dt.timedelta(seconds=seconds_of(within)))
    waiting = repository.pending()
    lacks = [str(lack) for lack in waiting.lacks(repository.shelf.root())] if waiting is not None else []
    if json:
        print_json(
            {
                "roles": [
                    {"role": role.role, "version": role.version, "expires": role.expires, "state": role.state}
                    for role in roles
                ],
                "waiting": lacks,
            }
        )
    else:
        rows = [
            (role.role, role.version, f"{role.expires:%Y-%m-%d %H:%M}", _left(role.expires - now), role.state, role.who)
            for role in roles
        ]
        columns = ("role", ">version", "valid until (UTC)", ">left", "state", "renewed by")
        out().print(table_of("Signatures", columns, rows))
        for lack in dict.fromkeys(lacks):
            out().print(f"waits: {lack}", highlight=False)
    if any(role.state != "ok" for role in roles):
        raise typer.Exit(ExitCode.TRUST)


@keys_app.command("rotate")
def keys_rotate(
    roles: list[str] = typer.Argument(help="root, targets, snapshot, timestamp, engines; several make one change."),
    keep: list[str] = typer.Option([], help="The beginning of a present key's id that stays; repeatable."),
    public: list[Path] = typer.Option([], help="A new key's .pub file from its holder; repeatable."),
    make: int | None = typer.Option(None, help="New keys to make here (as many as are neither kept nor given)."),
    threshold: int | None = typer.Option(None, help="How many must sign from now on (as before)."),
    drop_engines: bool = typer.Option(False, help="Sign no engine that is there: after a theft of their key."),
    data: Path = _DATA,
    keys: Path | None = _KEYS,
    passphrase_file: Path | None = _FILE,
    encrypt: bool = _ENCRYPT,
    json: bool = _JSON,
) -> None:
    """Replace the keys of a role. Devices follow by themselves; old online keys are deleted."""
    from fleet.registry.changes import replacement, rotate
    from fleet.registry.keys import read_public
    from mien.errors import ConfigError

    if len(roles) > 1 and (keep or public or make is not None or threshold is not None):
        raise ConfigError(
            "--keep, --public, --make and --threshold are about one role", found=" ".join(roles), wanted="one role"
        )
    with _registry(data, keys, passphrase_file, encrypt=encrypt) as repository:
        _refuse_second_change(repository)
        if drop_engines:
            repository.drop_engines(_now())
        new = {
            role: replacement(
                repository,
                role,
                keep=keep,
                public=[read_public(path) for path in public],
                make=make,
                threshold=threshold,
            )
            for role in dict.fromkeys(roles)
        }
        rotate(repository, new, _now())
    answer = {role: {"keys": [key.keyid for key in k.keys], "threshold": k.threshold} for role, k in new.items()}
    _say(answer, f"the keys of {', '.join(new)} are replaced", json=json)


@keys_app.command("renew")
def keys_renew(
    roles: list[str] = typer.Argument(None, help="root, targets; both if none is named."),
    lifetime: str = typer.Option("365d", "--for", help="How long the signatures are valid."),
    data: Path = _DATA,
    keys: Path | None = _KEYS,
    passphrase_file: Path | None = _FILE,
    json: bool = _JSON,
) -> None:
    """Sign root and the list of releases anew before they expire; needs the offline keys."""
    from fleet.durations import seconds_of
    from fleet.registry.changes import renew
    from fleet.registry.keys import OFFLINE

    wanted = list(dict.fromkeys(roles or OFFLINE))
    with _registry(data, keys, passphrase_file) as repository:
        renew(repository, wanted, _now(), dt.timedelta(seconds=seconds_of(lifetime)))
    _say({"renewed": wanted}, f"{' and '.join(wanted)} signed anew, valid for {lifetime}", json=json)


@keys_app.command("export")
def keys_export(
    target: Path = typer.Option(..., "--out", help="The file that goes to the holders of keys."),
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Write what waits for signatures into a file, to be signed where the keys are."""
    from fleet.registry.ceremony import write_request

    with _registry(data, None, None) as repository:
        items = write_request(_waiting(repository), _root(repository), target)
    answer = {"file": str(target), "documents": [_item_row(item) for item in items]}
    _say(answer, f"written; where a key is: mien fleet keys sign {target} --keys FOLDER", json=json)


@keys_app.command("sign")
def keys_sign(
    file: Path = typer.Argument(help="A file that 'mien fleet keys export' wrote."),
    keys: Path = typer.Option(..., "--keys", help="The folder with this machine's offline keys."),
    target: Path | None = typer.Option(None, "--out", help="Where to write the signed file; in place if absent."),
    passphrase_file: Path | None = _FILE,
    yes: bool = typer.Option(False, "--yes", help="Do not ask whether to sign what was shown."),
    json: bool = _JSON,
) -> None:
    """Show what is to be signed, and sign it with this machine's offline keys. Needs no network and no registry."""
    from fleet.registry.ceremony import read_request, sign_request, summary
    from fleet.registry.keys import KeyFolder, short

    items = read_request(file)
    for item in items:
        for line in summary(item):
            err().print(line, highlight=False, soft_wrap=True)
    if not yes:
        typer.confirm("Sign this?", abort=True, err=True)
    added = sign_request(items, KeyFolder(keys, passphrase(passphrase_file)), target or file)
    answer = {"file": str(target or file), "signatures": [{"role": role, "id": keyid} for role, keyid in added]}
    text = "; ".join(f"{role} signed by {short([keyid])}" for role, keyid in added)
    _say(answer, f"{text}; bring {target or file} back: mien fleet keys import", json=json)


@keys_app.command("import")
def keys_import(
    file: Path = typer.Argument(help="The signed file."),
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Take signatures back. With enough of them the change is in force at once; exit code 8 while some lack."""
    from fleet.registry.ceremony import read_request, take_signatures

    with _registry(data, None, None) as repository:
        before = set(repository.targets()) if repository.exists() else set()
        change = _waiting(repository)
        added = take_signatures(change, _root(repository), read_request(file))
        repository.apply(change, _now())
        files = len(set(repository.targets()) - before)
    text = "in force"
    if files:
        text += f": {files} files are published; publish the bundle once more to tell a service that runs"
    _say({"signatures_added": added, "in_force": True, "files_published": files}, text, json=json)


@keys_app.command("discard")
def keys_discard(data: Path = _DATA, json: bool = _JSON) -> None:
    """Give up the change that waits for signatures."""
    with _registry(data, None, None) as repository:
        was = repository.discard()
    _say({"discarded": was}, "given up" if was else "nothing waited", json=json)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def _repository(
    data: Path, keys: Path | None, passphrase_file: Path | None = None, *, encrypt: bool = False
) -> Repository:
    from fleet.paths import DataFolder
    from fleet.registry.repository import Repository

    return Repository(DataFolder(data), offline=keys, passphrase=passphrase(passphrase_file, encrypt=encrypt))


@contextmanager
def _registry(
    data: Path, keys: Path | None, passphrase_file: Path | None, *, encrypt: bool = False
) -> Iterator[Repository]:
    """The registry, held alone."""
    repository = _repository(data, keys, passphrase_file, encrypt=encrypt)
    with repository.locked():
        yield repository


def _offline_keys(repository: Repository, role: str, count: int | None, public: list[Path], threshold: int) -> RoleKeys:
    from fleet.registry.keys import read_public
    from fleet.registry.roles import check_threshold, role_keys

    number = (0 if public else 1) if count is None else count
    check_threshold(role, threshold, number + len(public))
    given = [read_public(path) for path in public]
    return role_keys(role, [*repository.offline.made(role, number), *given], threshold)


def _refuse_second_change(repository: Repository) -> None:
    from fleet.registry.pending import another_waits

    waiting = repository.pending()
    if waiting is not None:
        raise another_waits(waiting, repository.data)


def _waiting(repository: Repository) -> Any:  # noqa: ANN401 - fleet.registry.pending.Change, not imported at start
    from mien.errors import ConfigError

    waiting = repository.pending()
    if waiting is None:
        raise ConfigError("nothing waits for signatures", remedy="see how things stand: mien fleet keys status")
    return waiting


def _root(repository: Repository) -> Any:  # noqa: ANN401 - tuf.api.metadata.Root or None, not imported at start
    return repository.shelf.root() if repository.exists() else None


def _here(repository: Repository) -> list[Any]:
    from fleet.registry.keys import OFFLINE
    from fleet.registry.standing import keys_of_registry

    return [key for key in keys_of_registry(repository) if key.role in OFFLINE and key.place is not None]


def _key_row(key: Any) -> dict[str, Any]:  # noqa: ANN401 - fleet.registry.standing.KeyStanding
    return {
        "role": key.role,
        "id": key.keyid,
        "threshold": key.threshold,
        "keys": key.keys,
        "expires": key.expires,
        "where": str(key.place) if key.place is not None else None,
        "encrypted": key.encrypted,
    }


def _item_row(item: ToSign) -> dict[str, Any]:
    return {"role": item.role, "version": item.document.signed.version, "keys": list(item.wanted)}


def _where(key: Any) -> str:  # noqa: ANN401 - fleet.registry.standing.KeyStanding
    if key.place is None:
        return "not on this machine"
    return f"{key.place}{' (encrypted)' if key.encrypted else ''}"


def _left(time: dt.timedelta) -> str:
    days, hours = time.total_seconds() / 86400, time.total_seconds() / 3600
    return f"{days:.0f} d" if abs(days) >= 2 else f"{hours:.0f} h"  # noqa: PLR2004 - two days


def _say(answer: Any, text: str, *, json: bool) -> None:  # noqa: ANN401 - JSON is any value
    if json:
        print_json(answer)
    else:
        out().print(text, highlight=False, soft_wrap=True)
