"""Why a network camera gives no frames: what its answers mean, and that no password is in a text."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from edge.camera.rtsp_cause import Answer, authorization, cause_of, of_answer, of_error, parsed
from tests.integration.conftest import free_port

Script = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def camera() -> Iterator[Script]:
    """Starts a server that gives these answers, one for each request; gives its port and the requests."""
    listeners: list[socket.socket] = []
    done = threading.Event()

    def serve(*answers: str) -> tuple[int, list[str]]:
        listener, requests = socket.create_server(("127.0.0.1", 0)), []
        listeners.append(listener)

        def run() -> None:
            link, _ = listener.accept()
            with link:
                for answer in answers:
                    requests.append(link.recv(4096).decode())
                    link.sendall(answer.encode())
                done.wait(10)

        threading.Thread(target=run, daemon=True).start()
        return listener.getsockname()[1], requests

    yield serve
    done.set()
    for listener in listeners:
        listener.close()


def test_an_answers_head_is_read() -> None:
    """Status, reason and each way to name a user; what is no RTSP is no answer."""
    text = 'RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm="a, b", nonce="n"\r\n'
    answer = parsed(text + 'www-authenticate: Basic realm="c"\r\n\r\n')
    assert answer is not None
    assert (answer.status, answer.reason) == (401, "Unauthorized")
    assert [kind for kind, _ in answer.challenges] == ["digest", "basic"]
    assert parsed("HTTP/1.1 400 Bad Request\r\n\r\n") is None
    assert parsed("") is None


@pytest.mark.parametrize(
    ("answer", "has_user", "found", "remedy"),
    [
        (Answer(status=401, reason="Unauthorized"), False, "401 Unauthorized", "rtsp://USER:PASSWORD@"),
        (Answer(status=401, reason="Unauthorized"), True, "401 Unauthorized", "check user and password"),
        (Answer(status=404, reason="Not Found"), True, "404 Not Found", "check the path"),
        (Answer(status=453, reason="Not Enough Bandwidth"), True, "453", "free a session"),
        (Answer(status=500, reason=""), True, "500", "settings"),
        (Answer(status=200, reason="OK"), True, "no frames come over tcp", "transport: udp"),
        (None, True, "no RTSP", "address and port"),
    ],
)
def test_each_answer_has_its_own_cause_and_remedy(
    answer: Answer | None, has_user: bool, found: str, remedy: str
) -> None:
    """A person is told what to mend, not everything that could be wrong."""
    cause = of_answer(answer, has_user=has_user, transport="tcp")
    assert found in cause.found
    assert remedy in cause.remedy


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (socket.gaierror(-2, "Name or service not known"), "no host door is known"),
        (ConnectionRefusedError(111, "refused"), "nothing listens at door:554"),
        (TimeoutError(), "no answer from door:554"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_each_fault_of_the_network_has_its_own_cause(error: OSError, found: str) -> None:
    """Name, port, silence and route are told apart."""
    assert found in of_error(error, "door", 554).found


def test_a_closed_port_is_told() -> None:
    """On a real socket."""
    port = free_port()
    cause = cause_of(f"rtsp://eye:secret@127.0.0.1:{port}/cam", timeout_s=2)
    assert cause is not None
    assert cause.found == f"nothing listens at 127.0.0.1:{port}"


def test_a_wrong_path_is_found_behind_a_password(camera: Script) -> None:
    """The user is named as the camera asks for it, and the address that is sent has none."""
    challenge = 'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm="cam", nonce="abc"\r\n\r\n'
    port, requests = camera(challenge, "RTSP/1.0 404 Not Found\r\n\r\n")
    cause = cause_of(f"rtsp://eye:open%40night@127.0.0.1:{port}/attic", timeout_s=5)
    assert cause is not None
    assert "404 Not Found" in cause.found
    assert requests[0].startswith(f"DESCRIBE rtsp://127.0.0.1:{port}/attic RTSP/1.0\r\n")
    assert 'username="eye"' in requests[1]
    assert not any("night" in request for request in requests)


def test_a_camera_that_hangs_is_told(camera: Script) -> None:
    """It takes the connection and says nothing."""
    port, _ = camera("")
    cause = cause_of(f"rtsp://127.0.0.1:{port}/cam", timeout_s=0.3)
    assert cause is not None
    assert cause.found == f"no answer from 127.0.0.1:{port}"


def test_a_digest_proves_the_password() -> None:
    """As RFC 2069 says it: hashes of user, realm and password, and of method and address."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    asked = Answer(status=401, reason="", challenges=(("digest", 'realm="r", nonce="n", opaque="o"'),))
    header = authorization(asked, "eye", "pass", "rtsp://h/cam")
    assert header is not None
    wanted = md5(f"{md5('eye:r:pass')}:n:{md5('DESCRIBE:rtsp://h/cam')}")
    assert f'response="{wanted}"' in header
    assert 'opaque="o"' in header
    assert authorization(Answer(status=401, reason="", challenges=(("basic", ""),)), "a", "b", "") == "Basic YTpi"
    assert authorization(Answer(status=401, reason=""), "a", "b", "") is None
