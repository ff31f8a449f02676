"""The same measurement through a real medvlm gateway, which renders the DICOM files itself."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.measure import MeasureSettings, measure
from vlm.chat_client import Patience

GATEWAY = """
import sys
from serving.gateway.server import run_gateway
from serving.gateway.settings import GatewaySettings
run_gateway(GatewaySettings(engine_url=sys.argv[1], anonymous=True, port=int(sys.argv[2])))
"""


@pytest.mark.slow
def test_all_arms_through_the_gateway(films, serve, tmp_path):
    pytest.importorskip("fastapi")
    engine = serve("always-yes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", GATEWAY, engine.url.removesuffix("/v1"), str(port)]
    with (tmp_path / "gateway.log").open("w") as log:
        gateway = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        run = measure(
            films.folder,
            tmp_path / "run",
            url=f"http://127.0.0.1:{port}",
            settings=MeasureSettings(arms=("real", "blank", "shuffled", "text")),
            patience=Patience(attempts=3, first_pause_s=0.1),
        )
    finally:
        os.kill(gateway.pid, signal.SIGTERM)
        gateway.wait(timeout=30)
    assert run.card["counts"] == {"records": 288, "failed": 0, "requests": run.card["counts"]["requests"]}
    assert all(r["reply"] == "yes" for r in run.records)
    assert all(r["probabilities"]["yes"] > 0.85 for r in run.records if r["options"] == ["yes", "no"])
    real = {r["image_sha256"][0] for r in run.records if r["arm"] == "real"}
    seen = {r["image"] for r in engine.requests()}
    assert None in seen and not real & seen  # the engine was given pictures, not DICOM files
