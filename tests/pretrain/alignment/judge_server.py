"""A small real chat-completions server with scripted verdicts, faults included.

It knows the truth by the hash of the picture and the words of the text, and is wrong where it is told to be.
"""

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """``answer(picture hash, text of the question)`` gives the JSON of the answer, or a str that is sent as it is."""

    def __init__(self, answer: Callable[[str | None, str], object], *, flaky: bool = False):
        self.asked: Counter[str] = Counter()
        self.pictures: list[bytes] = []
        self.bodies: list[dict] = []
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                return

            def reply(self, status: int, value: object) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self.reply(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                content = body["messages"][0]["content"]
                parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
                picture = next((p["image_url"]["url"].split(",", 1)[1] for p in parts if "image_url" in p), None)
                text = "\n".join(p["text"] for p in parts if p["type"] == "text")
                key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
                with lock:
                    outer.asked[key] += 1
                    times = outer.asked[key]
                    outer.bodies.append(body)
                    if picture:
                        outer.pictures.append(base64.b64decode(picture))
                if flaky and times == 1 and int(key[0], 16) % 3 == 0:
                    self.reply((500, 429, 503)[int(key[1], 16) % 3], {"error": {"message": "trouble"}})
                    return
                if flaky and times == 1 and int(key[0], 16) % 3 == 1:
                    said: object = '{"shows_node": tru'
                else:
                    digest = hashlib.sha256(base64.b64decode(picture)).hexdigest() if picture else None
                    said = outer.answer(digest, text)
                message = {"role": "assistant", "content": said if isinstance(said, str) else json.dumps(said)}
                self.reply(200, {"id": "x", "object": "chat.completion", "model": "scripted",
                                 "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})  # fmt: skip

        self.answer = answer
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> "Server":
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
