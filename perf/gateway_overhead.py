"""What the gateway adds to a request: median milliseconds against the same request sent to the engine directly.

    python perf/gateway_overhead.py            # a few minutes
    python perf/gateway_overhead.py --quick    # half a minute, for a look

The engine is the tests' small server, which waits `--think-ms` before it answers, as a model would: without that, eight
clients in a loop measure who saturates first and not what a request waits. Engine and gateway are processes of their
own; rounds of direct and gateway requests alternate, so that a busy machine hurts both alike. For DICOM the direct
request carries the PNG that the gateway would have sent. Prints a Markdown table; the last column is processor time of
the gateway and its decode children, which another load on the machine changes little.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import importlib.util
import io
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
FAKE = ROOT / "tests" / "serving" / "gateway" / "fake_engine.py"
Line = tuple[str, int, float, float, float]  # request, concurrent, direct ms, gateway ms, gateway processor ms
KEY = "mv-perf-0123456789abcdef"


def load_fake() -> Any:
    spec = importlib.util.spec_from_file_location("fake_engine", FAKE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_engine"] = module
    spec.loader.exec_module(module)
    return module


def serve_engine(think_ms: str) -> None:
    fake = load_fake()
    engine = fake.FakeEngine(decode_images=False, think=float(think_ms) / 1000)
    thread = fake.start_fake_engine(engine)
    print(engine.port, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    thread.stop(force=True)


def serve_gateway(engine_url: str, audit: str) -> None:
    from serving.gateway.auth import hash_key
    from serving.gateway.server import run_gateway
    from serving.gateway.settings import ApiKey, GatewaySettings, Rates

    rates = Rates(requests_per_minute=1e9, tokens_per_minute=1e12, pixels_per_minute=1e15)
    settings = GatewaySettings(
        engine_url=engine_url,
        engine_key=load_fake().KEY,
        port=0,
        keys=(ApiKey(name="perf", sha256=hash_key(KEY), rates=rates),),
        audit_path=Path(audit),
    )
    run_gateway(settings, ready=lambda port: print(port, flush=True))


def start(*words: str) -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    return child, f"http://127.0.0.1:{int(child.stdout.readline())}"


def message(url: str | None) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}] if url else []
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "Is there a pleural effusion? " * 20}]}]


def data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def radiograph(side: int) -> bytes:
    """A PNG of a chest-film-like size with smooth structure and noise."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:side, 0:side] / side
    noise = np.random.default_rng(0).normal(0, 6, (side, side))
    out = io.BytesIO()
    Image.fromarray(np.clip(128 + 90 * np.sin(5 * x) * np.cos(4 * y) + noise, 0, 255).astype("uint8")).save(out, "PNG")
    return out.getvalue()


def cpu_seconds(process: Any) -> float:
    """Processor time of a process and its children, the dead ones included."""
    times = process.cpu_times()
    live = [child.cpu_times() for child in process.children(recursive=True)]
    return (
        times.user + times.system + times.children_user + times.children_system + sum(t.user + t.system for t in live)
    )


async def rounds(
    session: Any, process: Any, bodies: dict[str, tuple[str, str, bytes]], concurrency: int, requests: int, blocks: int
) -> dict[str, float]:
    """{"direct": ms, "gateway": ms, "cpu": ms}: medians over `blocks` alternating blocks of `requests` requests."""
    times: dict[str, list[float]] = {name: [] for name in bodies}
    cpu, count = 0.0, 0

    async def one(name: str, keep: bool) -> None:
        url, key, body = bodies[name]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        began = time.perf_counter()
        async with session.post(url + "/v1/chat/completions", data=body, headers=headers) as response:
            answer = await response.read()
        if response.status != 200:
            raise SystemExit(f"{name}: status {response.status}: {answer[:300]!r}")
        if keep:
            times[name].append((time.perf_counter() - began) * 1000)

    async def lane(name: str, keep: bool) -> None:
        for _ in range(max(1, requests // concurrency)):
            await one(name, keep)

    for block in range(blocks + 1):  # the first warms connections and caches and is not counted
        for name in bodies:
            before = cpu_seconds(process)
            await asyncio.gather(*(lane(name, block > 0) for _ in range(concurrency)))
            if name == "gateway" and block > 0:
                cpu += cpu_seconds(process) - before
                count += concurrency * max(1, requests // concurrency)
    return {name: median(values) for name, values in times.items()} | {"cpu": cpu / count * 1000}


async def measure(engine: str, gateway: str, pid: int, requests: int, blocks: int) -> list[Line]:
    import aiohttp
    import psutil
    import pydicom.data

    from serving.pictures import as_png
    from vlm.imaging import read_image

    film = Path(str(pydicom.data.get_testdata_file("RG1_UNCR.dcm", download=False))).read_bytes()
    film_png = data_url(as_png(read_image(film).render()), "image/png")
    small = data_url(radiograph(512), "image/png")
    small_again = data_url(as_png(read_image(radiograph(512)).render()), "image/png")
    engine_key = load_fake().KEY
    table: list[Line] = []
    process = psutil.Process(pid)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    async with aiohttp.ClientSession(connector=connector) as session:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/dicom"}
        async with session.post(gateway + "/v1/images", data=film, headers=headers) as response:
            uploaded = (await response.json())["url"]
        cases = [
            ("text only", None, None, False),
            ("text only, streamed", None, None, True),
            ("PNG 512 x 512, the same again", small_again, small, False),
            ("DICOM 1955 x 1841 uploaded once, asked by id", film_png, uploaded, False),
            (
                f"the same DICOM in each request ({len(film) / 1e6:.0f} MB)",
                film_png,
                data_url(film, "application/dicom"),
                False,
            ),
        ]
        for name, direct_url, gateway_url, stream in cases:
            fields = {"model": "medvlm-test", "max_tokens": 16, "stream": stream}
            bodies = {
                "direct": (engine, engine_key, json.dumps({**fields, "messages": message(direct_url)}).encode()),
                "gateway": (gateway, KEY, json.dumps({**fields, "messages": message(gateway_url)}).encode()),
            }
            for concurrency in (1, 8):
                got = await rounds(session, process, bodies, concurrency, requests, blocks)
                table.append((name, concurrency, got["direct"], got["gateway"], got["cpu"]))
        table += await fresh_images(session, process, engine, gateway, engine_key, requests)
    return table


async def fresh_images(
    session: Any, process: Any, engine: str, gateway: str, engine_key: str, requests: int
) -> list[Line]:
    """Every request another PNG: what decoding in the sandbox, drawing and encoding cost."""
    import numpy as np
    from PIL import Image

    times: dict[str, list[float]] = {"direct": [], "gateway": []}
    before = cpu_seconds(process)
    base = np.asarray(Image.open(io.BytesIO(radiograph(512))))
    for number in range(requests):
        picture = base.copy()
        picture[0, :8] = np.frombuffer(number.to_bytes(8, "big"), np.uint8)
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG")
        body = json.dumps({"model": "medvlm-test", "messages": message(data_url(out.getvalue(), "image/png"))}).encode()
        for name, url, key in (("direct", engine, engine_key), ("gateway", gateway, KEY)):
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            began = time.perf_counter()
            async with session.post(url + "/v1/chat/completions", data=body, headers=headers) as response:
                await response.read()
            times[name].append((time.perf_counter() - began) * 1000)
    cpu = (cpu_seconds(process) - before) / requests * 1000
    return [("PNG 512 x 512, another each time", 1, median(times["direct"]), median(times["gateway"]), cpu)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--requests", type=int, help="in one block")
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--think-ms", type=float, default=50, help="how long the engine takes for an answer")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    requests, blocks = args.requests or (24 if args.quick else 60), args.blocks or (3 if args.quick else 5)

    import tempfile

    children: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            child, engine = start("engine", str(args.think_ms))
            children.append(child)
            child, gateway = start("gateway", engine, os.path.join(folder, "audit.jsonl"))
            children.append(child)
            table = asyncio.run(measure(engine, gateway, child.pid, requests, blocks))
        finally:
            for child in reversed(children):
                child.terminate()
                child.wait(30)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}, Python {platform.python_version()}; {blocks} x {requests} requests each, medians; ", end="")
    print(f"the engine takes {args.think_ms:g} ms\n")
    print("| request | concurrent | direct ms | through the gateway ms | added ms | processor ms |")
    print("|---|---|---|---|---|---|")
    for name, concurrency, direct, through, cpu in table:
        print(f"| {name} | {concurrency} | {direct:.2f} | {through:.2f} | {through - direct:.2f} | {cpu:.2f} |")
    if args.json:
        names = ("request", "concurrent", "direct_ms", "gateway_ms", "processor_ms")
        args.json.write_text(json.dumps([dict(zip(names, row, strict=True)) for row in table], indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["engine"]:
        serve_engine(sys.argv[2])
    elif sys.argv[1:2] == ["gateway"]:
        serve_gateway(sys.argv[2], sys.argv[3])
    else:
        main()
