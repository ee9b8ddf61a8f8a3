"""People over real HTTP: logging in, sessions, proofs, tokens, roles, and a limit that outlives the service."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace

import httpx
import pytest

PASSWORD = "seven wet umbrellas"


@pytest.fixture
def people(service):
    """A service with a viewer, an operator and an admin."""
    for name, role in (("vera", "viewer"), ("otto", "operator"), ("anna", "admin")):
        service.post("/users", {"name": name, "role": role, "password": PASSWORD})
    return service


@contextmanager
def browser(service, name=None, password=PASSWORD):
    """A client that keeps cookies, as a browser does; logged in if a name is given."""
    with httpx.Client(base_url=service.url, headers={"Accept": "text/html"}, timeout=20) as http:
        if name is not None:
            answer = http.post("/login", data={"name": name, "password": password})
            assert answer.status_code == 303, answer.text
        yield http


def proof(http):
    """What a page carries for its forms."""
    return re.search(r'name="csrf" value="([0-9a-f]{64})"', http.get("/").text)[1]


def bearer(service, name, password=PASSWORD):
    answer = httpx.post(f"{service.url}/api/v1/login", json={"name": name, "password": password}, timeout=10)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def test_a_browser_without_a_session_is_led_to_the_login_and_back(people):
    """Every page; and a way back to another host is none."""
    with browser(people) as http:
        for path in ("/", "/devices", "/releases", "/rollouts", "/audit"):
            answer = http.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
        assert http.get("/live", headers={"Accept": "text/event-stream"}).status_code == 401
        for address, wanted in (("/devices", "/devices"), ("//evil.example", "/"), ("https://evil.example", "/")):
            answer = http.post("/login", data={"name": "vera", "password": PASSWORD, "next": address})
            assert answer.headers["location"] == wanted


def test_the_cookie_is_for_the_browser_alone(people):
    """Out of reach of scripts and of other sites; what the database keeps opens nothing."""
    with browser(people, "vera") as http:
        again = http.post("/login", data={"name": "vera", "password": PASSWORD})
        set_cookie = again.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(set_cookie.split("; "))
        (secret,) = http.cookies.values()
        assert secret.encode() not in (people.data / "fleet.db").read_bytes()
        assert "vera" in http.get("/").text


def test_a_change_needs_the_proof_of_a_page(people):
    """The cookie alone, which a strange page could make a browser send, changes nothing."""
    with browser(people, "otto") as http:
        assert http.post("/api/v1/tokens", json={}).status_code == 403
        assert http.post("/api/v1/tokens", json={}, headers={"X-CSRF-Token": "0" * 64}).status_code == 403
        assert http.post("/api/v1/tokens", json={}, headers={"X-CSRF-Token": proof(http)}).status_code == 201
        with browser(people, "otto") as other:
            assert http.post("/api/v1/tokens", json={}, headers={"X-CSRF-Token": proof(other)}).status_code == 403
        assert http.post("/logout").status_code == 403
        assert http.post("/logout", data={"csrf": proof(http)}).status_code == 303


def test_a_strange_page_cannot_log_anybody_in(people):
    """Else it could have people work in an account of its own."""
    form = {"name": "vera", "password": PASSWORD}
    with browser(people) as http:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert http.post("/login", data=form, headers=headers).status_code == 403
        assert http.post("/login", data=form, headers={"Origin": people.url}).status_code == 303


def test_logging_out_ends_the_session_on_the_server(people):
    """A copy of the cookie is worth nothing afterwards."""
    with browser(people, "vera") as http:
        kept = dict(http.cookies)
        assert http.post("/logout", data={"csrf": proof(http)}).status_code == 303
    assert httpx.get(f"{people.url}/api/v1/me", cookies=kept).status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [("role", {"role": "operator"}), ("password", {"password": "nine dry umbrellas"}), ("remove", {})],
)
def test_a_session_ends_when_its_person_changes(people, path, body):
    """Another role, another password, or gone."""
    with browser(people, "vera") as http:
        assert http.get("/api/v1/me").json() == {"name": "vera", "role": "viewer"}
        people.post(f"/users/vera/{path}", body)
        assert http.get("/api/v1/me").status_code in {401, 303}


def test_each_role_may_do_what_it_is_for(people):
    """A viewer looks, an operator changes things, an admin decides about people."""
    wanted = {"vera": (200, 403, 403), "otto": (200, 201, 403), "anna": (200, 201, 200)}
    for name, (look, change, decide) in wanted.items():
        headers = bearer(people, name)
        with httpx.Client(base_url=f"{people.url}/api/v1", headers=headers) as http:
            assert http.get("/devices").status_code == look
            assert http.post("/tokens", json={}).status_code == change
            assert http.get("/users").status_code == decide
            assert http.get("/audit").status_code == (403 if name == "vera" else 200)


def test_a_token_acts_for_its_owner_and_no_further(people):
    """Its text is shown once; less than its owner, never more; revoked, it is nobody's."""
    mine = bearer(people, "otto")
    with httpx.Client(base_url=f"{people.url}/api/v1", headers=mine) as http:
        assert http.post("/api-tokens", json={"label": "ci", "role": "admin"}).status_code == 403
        assert http.post("/api-tokens", json={"label": "ci", "user": "anna"}).status_code == 403
        made = http.post("/api-tokens", json={"label": "ci", "role": "viewer"}).json()
        assert made["token"] not in http.get("/api-tokens").text
        token = {"Authorization": f"Bearer {made['token']}"}
        assert httpx.get(f"{people.url}/api/v1/me", headers=token).json() == {"name": "otto", "role": "viewer"}
        listed = {item["id"]: item for item in http.get("/api-tokens").json()}
        assert listed[made["id"]]["used_at"] is not None
        assert http.post(f"/api-tokens/{made['id']}/revoke").status_code == 200
        assert httpx.get(f"{people.url}/api/v1/me", headers=token).status_code == 401


def test_a_token_loses_what_its_owner_loses(people):
    """At once, without being made anew; and goes with them."""
    mine = bearer(people, "anna")
    people.post("/users/anna/role", {"role": "viewer"})
    assert httpx.get(f"{people.url}/api/v1/me", headers=mine).json()["role"] == "viewer"
    people.post("/users/anna/remove")
    assert httpx.get(f"{people.url}/api/v1/me", headers=mine).status_code == 401


def test_what_people_did_is_noted_under_their_names(people):
    """And the record is whole."""
    with httpx.Client(base_url=f"{people.url}/api/v1", headers=bearer(people, "otto")) as http:
        http.post("/rollouts", json={"release": "none@1.0.0", "policy": {}})
    people.post("/users/otto/role", {"role": "viewer"})
    entries = people.get("/audit")
    assert (entries[0]["actor"], entries[0]["action"], entries[0]["subject"]) == ("operator", "user.role", "otto")
    assert ("otto", "person.login") in {(entry["actor"], entry["action"]) for entry in entries}
    assert PASSWORD not in str(entries)


def test_guessing_ends_soon_and_a_restart_forgives_nothing(people):
    """Known or not, a name is refused in the same words, and after five tries not even looked at."""
    told = {}
    for name in ("vera", "nobody-of-this-name"):
        with browser(people) as http:
            answers = [http.post("/login", data={"name": name, "password": f"guess {n}"}) for n in range(7)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
        told[name] = [answer.text.replace(name, "") for answer in answers]
    assert told["vera"] == told["nobody-of-this-name"]
    assert people.stop() == 0
    people.start()
    with browser(people) as http:
        assert http.post("/login", data={"name": "vera", "password": PASSWORD}).status_code == 429
        assert http.post("/login", data={"name": "otto", "password": PASSWORD}).status_code == 303


def test_one_address_cannot_try_many_names(new_service):
    """Whatever the names are."""
    service = new_service(people={"attempts_per_address": 4}).start()
    with browser(service) as http:
        codes = [http.post("/login", data={"name": f"n{n}", "password": "x"}).status_code for n in range(6)]
    assert codes == [401] * 4 + [429] * 2


def test_a_link_lets_in_once(people):
    """Looking at it uses nothing up; the second use finds it gone."""
    code = people.post("/users/vera/login-link")["code"]
    with browser(people) as http:
        assert http.get(f"/login/once?code={code}").status_code == 200
        assert http.post("/login/once", data={"code": code}).status_code == 303
        assert http.get("/api/v1/me").json()["name"] == "vera"
    with browser(people) as http:
        assert http.post("/login/once", data={"code": code}).status_code == 401


def test_a_password_that_would_be_guessed_is_refused(people):
    """With what is wanted, and without the password in the answer."""
    with people.operator() as http:
        for password in ("short", "aaaaaaaaaaaaaa", "vera vera vera"):
            answer = http.post("/api/v1/users/vera/password", json={"password": password})
            assert answer.status_code == 422
            assert password not in answer.text


def test_the_command_line_lets_people_in_and_shows_the_record(people, tmp_path, monkeypatch):
    """Passwords from files; a login acts in its own name; the record is whole until somebody changes it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    password = tmp_path / "password"
    password.write_text("eight odd umbrellas\n")
    added = people.cli("user", "add", "mona", "--role", "operator", "--password-file", str(password), "--json")
    assert json.loads(added.stdout)["role"] == "operator"
    linked = json.loads(people.cli("user", "add", "demo", "--role", "viewer", "--link", "--json").stdout)
    assert linked["link"].startswith(f"{people.url}/login/once?code=")
    assert people.cli("login", "mona", "--password-file", str(password), "--json").returncode == 0
    elsewhere = replace(people, data=tmp_path / "elsewhere")
    assert elsewhere.cli("token", "create", "--json").returncode == 0
    assert elsewhere.cli("user", "list", "--json").returncode == 8
    listed = json.loads(elsewhere.cli("audit", "--json").stdout)
    assert (listed[0]["actor"], listed[0]["action"]) == ("mona", "token.create")
    assert elsewhere.cli("logout").returncode == 0
    assert elsewhere.cli("token", "create", "--json").returncode == 8
    assert people.stop() == 0
    whole = people.cli_offline("audit", "verify", "--json")
    assert json.loads(whole.stdout)["anchored"] >= 1
    with closing(sqlite3.connect(people.data / "fleet.db")) as database, database:
        database.execute("DROP TRIGGER audit_no_delete")
        database.execute("DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")
    assert people.cli_offline("audit", "verify", "--json").returncode == 8
