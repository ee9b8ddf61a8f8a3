"""``mien fleet user``, ``login``, ``logout``, ``api-token`` and ``audit``: people, and the record of what they did.

A password comes from a prompt or a file, never from the command line, which others on the machine can read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from fleet.cli_shared import DATA, JSON, URL, client, say
from mien.console import err, out, print_json, table_of

user_app = typer.Typer(no_args_is_help=True, help="Who may log in, and what they may do: viewer, operator, admin.")
api_token_app = typer.Typer(no_args_is_help=True, help="Tokens with which programs act in a person's name.")
audit_app = typer.Typer(invoke_without_command=True, help="Show who did what, newest first; verify the record.")
_ROLE = typer.Option(..., help="viewer: look; operator: change devices and rollouts; admin: decide about people.")
_PASSWORD = typer.Option(None, "--password-file", help="Its first line is the password; else it is asked for.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(user_app, name="user")
    app.add_typer(api_token_app, name="api-token")
    app.add_typer(audit_app, name="audit")
    app.command("login")(login)
    app.command("logout")(logout)


@user_app.command("add")
def user_add(
    name: str,
    role: str = _ROLE,
    password_file: Path | None = _PASSWORD,
    link: bool = typer.Option(False, "--link", help="Set no password; print a link that logs in once."),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Let a person in. The first admin is made on the service's machine, with its data folder."""
    from fleet.people.secret_input import new_password

    body: dict[str, Any] = {"name": name, "role": _role(role)}
    if not link:
        body["password"] = new_password(password_file, f"password for {name}")
    with client(url, data) as fleet:
        answer = fleet.post("/users", body)
        if link:
            answer |= {"link": url.rstrip("/") + fleet.post(f"/users/{name}/login-link")["path"]}
    say(answer, f"{name} is {answer['role']}" + (f"\n{answer['link']}" if link else ""), json=json)


@user_app.command("list")
def user_list(url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """List everybody."""
    from fleet.cli_people_views import user_rows

    with client(url, data) as fleet:
        found = fleet.get("/users")
    if json:
        print_json(found)
        return
    out().print(table_of("Users", ("name", "role", "since", "changed"), user_rows(found)))


@user_app.command("role")
def user_role(name: str, role: str, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Change what a person may do; they log in again."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/users/{name}/role", {"role": _role(role)})
    say(answer, f"{name} is {answer['role']}", json=json)


@user_app.command("password")
def user_password(
    name: str, password_file: Path | None = _PASSWORD, url: str = URL, data: Path = DATA, json: bool = JSON
) -> None:
    """Give a person another password; ends their sessions in browsers, not their API tokens."""
    from fleet.people.secret_input import new_password

    with client(url, data) as fleet:
        body = {"password": new_password(password_file, f"new password for {name}")}
        answer = fleet.post(f"/users/{name}/password", body)
    say(answer, f"{name} has another password; whoever was logged in no longer is", json=json)


@user_app.command("link")
def user_link(name: str, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Print a link that logs a person in once, within ten minutes."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/users/{name}/login-link")
    answer["link"] = url.rstrip("/") + answer.pop("path")
    say(answer, answer["link"], json=json)


@user_app.command("remove")
def user_remove(name: str, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Let a person in no more, by no session, token or link."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/users/{name}/remove")
    say(answer, f"{name} is removed; the record keeps what they did", json=json)


@api_token_app.command("create")
def api_token_create(
    label: str = typer.Option(..., help="What it is for."),
    role: str = typer.Option("viewer", help="What it may do: no more than whom it acts for."),
    user: str | None = typer.Option(None, help="Whom it acts for, if not oneself; an admin may name anybody."),
    ttl: str = typer.Option("90d", help="How long it is valid: 1h, 7d, 90d."),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Make a token. It is shown once."""
    from fleet.durations import seconds_of

    body = {"label": label, "role": _role(role), "user": user, "ttl_s": seconds_of(ttl)}
    with client(url, data) as fleet:
        answer = fleet.post("/api-tokens", body)
    say(answer, answer["token"], json=json)
    err().print(f"acts for {answer['user']} as {answer['role']}; programs show it in MIEN_FLEET_TOKEN")


@api_token_app.command("list")
def api_token_list(url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """List one's own tokens; for an admin, everybody's."""
    from fleet.cli_people_views import token_rows

    with client(url, data) as fleet:
        found = fleet.get("/api-tokens")
    if json:
        print_json(found)
        return
    columns = ("id", "user", "label", "role", "until", "last used", "revoked")
    out().print(table_of("API tokens", columns, token_rows(found)))


@api_token_app.command("revoke")
def api_token_revoke(token_id: str, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Let a token count no more."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/api-tokens/{token_id}/revoke")
    say(answer, f"{token_id} of {answer['user']} is revoked", json=json)


def login(
    name: str,
    password_file: Path | None = _PASSWORD,
    ttl: str = typer.Option("12h", help="How long it lasts, up to 90d."),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Log in at a service from this machine; commands with the same --url then act in this name."""
    from fleet.client import FleetClient, find_authority, keep_login
    from fleet.durations import seconds_of
    from fleet.people.secret_input import known_password

    body = {"name": name, "password": known_password(password_file, f"password of {name}"), "ttl_s": seconds_of(ttl)}
    ca = find_authority(data) if url.startswith("https:") else None
    with FleetClient(url, None, ca=ca) as fleet:
        answer = fleet.log_in(body)
    path = keep_login(url, answer.pop("token"))
    say(answer | {"kept_in": str(path)}, f"logged in at {url} as {answer['user']}, {answer['role']}", json=json)


def logout(url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Forget the login at a service, here and there."""
    from fleet.client import FleetClient, find_authority, find_login, forget_login

    token = find_login(url)
    if token is not None:
        ca = find_authority(data) if url.startswith("https:") else None
        with FleetClient(url, token, ca=ca) as fleet:
            fleet.post(f"/api-tokens/{token.split('_')[1]}/revoke")
        forget_login(url)
    say({"url": url, "was_logged_in": token is not None}, "logged out" if token else "was not logged in", json=json)


@audit_app.callback()
def audit(
    context: typer.Context,
    limit: int = typer.Option(50, help="How many entries."),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Show who did what, newest first."""
    from fleet.cli_views import audit_rows

    if context.invoked_subcommand is not None:
        return
    with client(url, data) as fleet:
        found = fleet.get(f"/audit?limit={limit}")
    if json:
        print_json(found)
        return
    out().print(table_of("Audit", ("when", "who", "what", "which", "details"), audit_rows(found)))


@audit_app.command("verify")
def audit_verify(
    data: Path | None = typer.Option(None, "--data", help="The service's data folder."),
    config: Path | None = typer.Option(None, help="The service's settings, if it has any."),
    anchor: Path | None = typer.Option(None, help="A copy of audit.anchor, kept elsewhere."),
    json: bool = JSON,
) -> None:
    """Verify the record in the database: every entry, and that none was cut off. Needs no running service."""
    from fleet.people.examine import examine

    verdict = examine(data, config, anchor)
    answer = {
        "entries": verdict.entries,
        "head": verdict.head.sha256,
        "head_id": verdict.head.id,
        "anchored": verdict.anchored,
    }
    told = f"whole: {verdict.entries} entries, {verdict.anchored} anchored heads, head {verdict.head.sha256}"
    say(answer, told, json=json)


def _role(role: str) -> str:
    from fleet.people.roles import Role
    from mien.errors import ConfigError

    known = [str(item) for item in Role]
    if role not in known:
        raise ConfigError("there is no such role", found=role, wanted=" or ".join(known))
    return role
