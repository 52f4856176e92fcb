"""The service example as its users meet it: a process, a socket, a client that may hang up, a SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra tailrace[service] is not installed")
pytest.importorskip("uvicorn", reason="the extra tailrace[service] is not installed")
httpx = pytest.importorskip("httpx", reason="the extra tailrace[service] is not installed")

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "fastapi_service.py"
WAIT_S = 60.0


class Service:
    def __init__(self, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, str(EXAMPLE), "--port", str(port), "--deadline-s", "3600", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S)
        self.until(self.answers)

    def answers(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"the service has ended: {self.process.communicate()}")
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def statistics(self) -> dict[str, int]:
        return self.client.get("/statistics").json()

    def until(self, true) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not true():
            assert time.monotonic() < deadline_s, "it never came"
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _, told = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, told


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Service]:
    service = Service(*options)
    try:
        yield service
    finally:
        service.client.close()
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


def request_that_waits(service: Service) -> socket.socket:
    """A request on a connection of its own, which the caller may hang up."""
    url = service.client.base_url
    connection = socket.create_connection((url.host, url.port), timeout=WAIT_S)
    connection.sendall(b"GET /recommend/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def test_requests_are_answered_and_counted_and_sigterm_ends_with_0() -> None:
    with serving() as service:
        first, second = (service.client.get("/recommend/42") for _ in range(2))
        assert first.status_code == 200
        assert len(first.json()) == 5
        assert second.json() == first.json()
        assert service.client.get("/recommend/none").status_code == 422
        assert service.client.get("/health").json()["status"] == "ok"
        assert service.statistics()["ok"] == 2
        assert service.end() == (0, "")


def test_a_client_that_hangs_up_cancels_its_run() -> None:
    with serving("--lookup-s", "3600") as service:
        connection = request_that_waits(service)
        service.until(lambda: service.statistics()["in_flight"] == 1)
        connection.close()
        service.until(lambda: service.statistics()["cancelled"] == 1)
        assert service.statistics()["in_flight"] == 0
        assert service.end() == (0, "")


def test_overload_is_answered_at_once_and_passes() -> None:
    with serving("--lookup-s", "3600", "--max-pending", "1") as service:
        connection = request_that_waits(service)
        service.until(lambda: service.statistics()["in_flight"] == 1)
        refused = service.client.get("/recommend/2")  # an answer at all: what is in flight takes an hour
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert "max_pending=1" in refused.json()["error"]
        connection.close()
        service.until(lambda: service.statistics()["cancelled"] == 1)
        assert service.statistics()["rejected"] == 1
        assert service.end() == (0, "")


def test_a_request_past_its_deadline_is_answered_with_504() -> None:
    with serving("--lookup-s", "3600", "--deadline-s", "0.05") as service:
        late = service.client.get("/recommend/2")
        assert late.status_code == 504
        assert "deadline" in late.json()["error"]
        assert service.statistics()["timed_out"] == 1


def test_sigterm_lets_a_request_in_flight_get_its_answer() -> None:
    with serving("--lookup-s", "2") as service:
        connection = request_that_waits(service)
        service.until(lambda: service.statistics()["in_flight"] == 1)
        service.process.send_signal(signal.SIGTERM)
        with connection:
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        _, told = service.process.communicate(timeout=WAIT_S)
        assert (service.process.returncode, told) == (0, "")
