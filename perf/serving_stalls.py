"""Does a busy engine leave the rest of a small machine alone? One process, as medvlm starts it, against vLLM's own.

    python perf/serving_stalls.py            # twenty minutes on two cores
    python perf/serving_stalls.py --quick    # a few minutes, fewer tokens

While an engine answers one client, then 32, a bystander process sleeps for a millisecond again and again: how long the
longest of those sleeps took is how long a gateway, a client or anything else on the machine stood still. The engines
differ in `VLLM_CPU_OMP_THREADS_BIND` alone: set, `serving.engine_settings.few_cores` leaves processes and threads to
vLLM. Two small models, where a step is short; rounds alternate. On more than 4 cores both engines are vLLM's own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from serving_speed import make_medvlm, measure_server  # in this folder

SLEEPER = """
import signal, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
longest = 0.0
while not stop:
    started = time.monotonic()
    time.sleep(0.001)
    longest = max(longest, time.monotonic() - started)
print(longest * 1000)
"""
WAYS = ("one process (medvlm)", "vLLM's own")


class Bystander:
    """A process that sleeps; `longest_ms` is its longest sleep, known when the block has ended."""

    def __enter__(self) -> Bystander:
        self._process = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)  # until it sleeps
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self.longest_ms = float(self._process.communicate()[0])


def measure(folder: Path, way: str, levels: tuple[int, ...], tokens: int) -> dict[int, tuple[float, float]]:
    """(tokens a second, longest stall in ms) at each number of clients."""
    from serving.engine_settings import EngineOptions
    from serving.launch import start_unchecked

    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    os.environ.pop("VLLM_CPU_OMP_THREADS_BIND", None)
    if way != WAYS[0]:
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = cores
    options = EngineOptions(device="cpu", dtype="float32", max_model_len=2048, max_num_seqs=max(levels))
    found = {}
    with start_unchecked(folder, options) as engine:
        for level in levels:
            with Bystander() as bystander:
                row = asyncio.run(measure_server(engine, way, level, max(1, 3 // level), tokens, seed=level))
            found[level] = (row.tokens_per_second, bystander.longest_ms)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, few tokens")
    parser.add_argument("--rounds", type=int, default=3, help="engines started of each kind and model")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    levels, tokens, rounds = ((1, 4), 32, 1) if options.quick else ((1, 32), 1536, options.rounds)
    lines = []
    with tempfile.TemporaryDirectory(prefix="medvlm-perf-") as work:
        for layers in (1, 4):
            folder = make_medvlm(Path(work, str(layers)), "float32", layers, merge_size=2, head_dtype="float32")
            runs = [(way, measure(folder, way, levels, tokens)) for _ in range(rounds) for way in WAYS]
            for level in levels:
                for way in WAYS:
                    speeds, stalls = zip(*(run[level] for name, run in runs if name == way), strict=True)
                    lines.append(
                        f"| SmolLM2, {layers} of 30 layers | {level} | {way} | {median(speeds):.0f} "
                        f"({min(speeds):.0f} to {max(speeds):.0f}) | {median(stalls):.0f} ({max(stalls):.0f}) |"
                    )
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, Linux "
        f"{platform.release().split('-')[0]}, load {os.getloadavg()[0]:.1f} at the end, float32, {tokens} tokens; "
        f"{rounds} rounds\n\n"
        "| model | clients | engine | tokens/s, median (least to most) | longest stall, ms, median (worst) |\n"
        "|---|---|---|---|---|"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
