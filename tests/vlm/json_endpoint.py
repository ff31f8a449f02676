"""A small real HTTP server of chat completions whose answers a test writes as a function."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What to send: status and text (of the answer, or of the error), for a request and how often it came before.
Script = Callable[[dict, int], tuple[int, str]]


class JsonEndpoint:
    """``bodies`` are the requests in the order of arrival; ``most`` is how many were under way at once."""

    def __init__(self, script: Script, model: str, delay: float, server: ThreadingHTTPServer):
        self.script, self.model, self.delay, self.server = script, model, delay, server
        self.bodies: list[dict] = []
        self.finish_reason = "stop"
        self.dead = False  # hangs up on everyone
        self.most = self.now = 0
        self.listed = 0  # GET /models
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def said(self, text: str) -> int:
        """How many requests hold a text in their first user message."""
        return sum(text in first_user(body) for body in self.bodies)

    def begin(self, body: dict) -> int:
        with self._lock:
            self.bodies.append(body)
            self.now += 1
            self.most = max(self.most, self.now)
            identity = json.dumps(body, sort_keys=True)
            self._times[identity] += 1
            return self._times[identity] - 1

    def end(self) -> None:
        with self._lock:
            self.now -= 1


def first_user(body: dict) -> str:
    return str(next(m["content"] for m in body["messages"] if m["role"] == "user"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    endpoint: JsonEndpoint

    def log_message(self, format: str, *args: object) -> None:
        return

    def _send(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.endpoint.listed += 1
        if self.endpoint.dead:
            self.close_connection = True
            return
        self._send(200, {"data": [{"id": self.endpoint.model}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        times = self.endpoint.begin(body)
        try:
            time.sleep(self.endpoint.delay)
            status, text = self.endpoint.script(body, times)
        finally:
            self.endpoint.end()
        if self.endpoint.dead:
            self.close_connection = True
            return
        if status != 200:
            self._send(status, {"error": {"message": text}})
            return
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": self.endpoint.finish_reason}
        self._send(200, {"object": "chat.completion", "choices": [choice]})


@contextmanager
def json_endpoint(script: Script, model: str = "test-model", delay: float = 0.0) -> Iterator[JsonEndpoint]:
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    handler.endpoint = JsonEndpoint(script, model, delay, server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield handler.endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
