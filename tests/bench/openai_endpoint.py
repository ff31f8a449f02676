"""A small real HTTP server with the chat-completions protocol and known behaviours, to measure against.

    python tests/bench/openai_endpoint.py --truth truth.json --behaviour oracle

It prints its port. `truth.json` maps the SHA-256 of image bytes to {question: answer}. The oracle looks the image up,
and answers "no" about images that it does not know.
"""

import argparse
import base64
import hashlib
import json
import os
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GARBAGE = ["asdf qwer", "???", "The sky.", "42", "{", "lorem ipsum", "<|im_end|>", "....", "oui", "image image image"]


def first_image(body: dict) -> str | None:
    for message in body["messages"]:
        for part in message["content"]:
            if part["type"] == "image_url":
                return hashlib.sha256(base64.b64decode(part["image_url"]["url"].split(",", 1)[1])).hexdigest()
    return None


def question_of(body: dict) -> str:
    return next(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: argparse.Namespace
    truth: dict
    seen: dict[str, int]
    lock = threading.Lock()

    def log_message(self, format: str, *args: object) -> None:
        return

    def send(self, status: int, value: object, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, message: str, **headers: str) -> None:
        self.send(status, {"error": {"message": message, "type": "error"}}, **headers)

    def do_GET(self) -> None:
        if self.options.key and self.headers.get("Authorization") != f"Bearer {self.options.key}":
            self.refuse(401, "wrong key")
            return
        self.send(200, {"object": "list", "data": [{"id": self.options.model, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        image, question = first_image(body), question_of(body)
        identity = hashlib.sha256(json.dumps([body["messages"]], sort_keys=True).encode()).hexdigest()
        with self.lock:
            self.seen[identity] = self.seen.get(identity, 0) + 1
            times = self.seen[identity]
            if self.options.log:
                with open(self.options.log, "a") as log:
                    log.write(json.dumps({"image": image, "question": question}) + "\n")
            if self.options.dies_after and sum(self.seen.values()) > self.options.dies_after:
                os._exit(9)
        if self.options.delay:
            time.sleep(self.options.delay)
        behaviour = self.options.behaviour
        if behaviour == "flaky" and times == 1:
            trouble = int(identity[:2], 16) % 4
            if trouble == 0:
                self.close_connection = True
                self.connection.close()
                return
            if trouble == 1:
                self.refuse(429, "slow down", Retry_After="0.01")
                return
            if trouble == 2:
                self.refuse(503, "loading")
                return
        if behaviour == "poison" and "nodule" in question:
            self.refuse(400, "this request is refused")
            return
        if behaviour == "no-logprobs" and body.get("logprobs"):
            self.refuse(400, "logprobs are not supported")
            return
        text = self.answer(behaviour, image, question, identity)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [self.first_token(text)]}
        self.send(200, {"id": "x", "object": "chat.completion", "model": self.options.model, "choices": [choice]})

    def answer(self, behaviour: str, image: str | None, question: str, identity: str) -> str:
        if behaviour == "always-yes":
            return "yes"
        if behaviour == "garbage":
            return random.Random(identity).choice(GARBAGE)
        if behaviour == "refuses":
            return "I'm sorry, I cannot interpret medical images."
        known = self.truth.get(image or "", {})
        if behaviour == "half" and "effusion" in question and "left" in question:
            return "no"
        return known.get(question.split("\n")[0], "no")

    @staticmethod
    def first_token(text: str) -> dict:
        word = text.split(" ")[0] or " "
        top = [{"token": word, "logprob": -0.10536}]
        if word in ("yes", "no"):
            top.append({"token": "no" if word == "yes" else "yes", "logprob": -2.302585})
        return {"token": word, "logprob": -0.10536, "top_logprobs": top}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--behaviour", default="oracle")
    parser.add_argument("--model", default="test-model")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--dies-after", type=int, default=0)
    parser.add_argument("--log", default="")
    Endpoint.options = parser.parse_args()
    Endpoint.truth = json.loads(Endpoint.options.truth.read_text())
    Endpoint.seen = {}
    ThreadingHTTPServer.daemon_threads = True
    server = ThreadingHTTPServer(("127.0.0.1", Endpoint.options.port), Endpoint)
    os.write(1, f"{server.server_port}\n".encode())
    server.serve_forever()


if __name__ == "__main__":
    main()
