"""A real S3 server for tests, and a front before it that can fail."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from weighted_mtp.entry.store import Place

KEY, SECRET = "AKIAPLANTEDKEYID", "planted-secret-access-key"
REGION = "us-east-1"
BUCKET = "wmtp"
PROJECT = Path(__file__).resolve().parents[3]


@dataclass
class Fault:
    """The next `times` requests whose method and path match get this instead of an answer."""

    pattern: str
    times: int
    status: int | None = 503  # None: the connection is cut in the middle of the answer
    code: str = "SlowDown"


class Storage:
    """versitygw on a directory, behind a front."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / BUCKET).mkdir(parents=True)
        tool = subprocess.run([PROJECT / "tools/object-store"], stdout=subprocess.PIPE, text=True, check=True)
        port = _free_port()
        self._process = subprocess.Popen(
            [tool.stdout.strip(), "--port", f"127.0.0.1:{port}", "--region", REGION, "--quiet", "posix", directory],
            env={"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET, "PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.seconds = 0.0  # every answer is held back for so long
        self._lock = threading.Lock()
        self._front = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, port))
        self._front.daemon_threads = True
        threading.Thread(target=self._front.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._front.server_port}"
        _await_port(port)

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url, "AWS_ALLOW_HTTP": "true", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def files(self, prefix: str) -> dict[str, bytes]:
        """Content by name below a prefix."""
        root = self.directory / BUCKET / prefix
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    def put(self, prefix: str, files: dict[str, bytes]) -> None:
        place = Place(f"s3://{BUCKET}/{prefix}")
        for name, content in files.items():
            place.write(name, content, len(content))

    def take_fault(self, request: str) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def calm(self) -> None:
        """No faults, nothing recorded."""
        self.faults.clear()
        self.requests.clear()
        self.seconds = 0.0

    def close(self) -> None:
        self._front.shutdown()
        self._front.server_close()
        self._process.kill()
        self._process.wait()


def _handler(storage: Storage, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = storage.take_fault(f"{self.command} {self.path}")
            time.sleep(storage.seconds)
            if fault and fault.status:
                content = f"<Error><Code>{fault.code}</Code><Message>As planned.</Message></Error>".encode()
                return self._answer(fault.status, {"Content-Length": str(len(content))}, content)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection")}
            if self.command != "HEAD":
                headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
                headers["Content-Length"] = str(len(content))
            self._answer(answer.status, headers, content[: len(content) // 2] if fault else content)
            connection.close()
            if fault:
                self.close_connection = True
            return None

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client was killed
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

    return Handler


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_port(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("versitygw does not listen")
