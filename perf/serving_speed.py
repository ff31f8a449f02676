"""Serving speed: tokens/s and time to first token of the vLLM plugin, against transformers and vLLM's own Llava.

    python perf/serving_speed.py                      # ten minutes on two quiet cores
    python perf/serving_speed.py --quick              # a few minutes, a cut-down model, for a look
    python perf/serving_speed.py --gateway            # only what the gateway adds, with images of two sizes
    python perf/serving_speed.py --device gpu --out docs/serving_speed.md

What is compared, each request with an image of its own and `--tokens` new tokens (the end of turn is ignored):

- transformers `generate`, one by one, and in batches of the concurrency (batches are ready-made: nobody waits for the
  batch to fill, which favours transformers);
- the plugin through vLLM's HTTP server, with that many clients streaming, and logits in float32 as every medvlm
  checkpoint asks for (transformers computes them in the type of the weights here, which is faster);
- "the same size" of vLLM's own: LlavaForConditionalGeneration with a CLIP tower of the same width, depth, patch and
  input size and the same decoder weights, against a medvlm checkpoint with one token a patch
  and logits in the type of the weights (as Llava has them);
- the gateway: one-token requests through it and to the engine directly, alternating, median of the difference.

Engines run one at a time. Client, server and engine share the machine, as on a small machine they would.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

QUESTION = "Describe the heart, the lungs and the pleura in this radiograph."
LLAVA = "vLLM's Llava, same size"
SIDE = 224  # pixels; a CLIP tower takes one size only


@dataclass
class Row:
    """One line of the result."""

    engine: str
    concurrency: int
    tokens_per_second: float
    first_token_ms: float


def pictures(count: int, seed: int, side: int = SIDE) -> list[Image.Image]:
    """Noise of grey blocks, `side` pixels square, each different: no cache can answer for another."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return [Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC).convert("RGB") for c in coarse]


def data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def request_of(model: str, picture: Image.Image, tokens: int, **more: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": data_url(picture)}}, {"type": "text", "text": QUESTION}]
    return {
        "model": model,
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": tokens,
        "temperature": 0,
        **more,
    }


# --- servers ----------------------------------------------------------------------------------------------------------


async def stream_one(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[float, int]:
    """(seconds to the first token, tokens) of one streamed request."""
    started = time.perf_counter()
    first, tokens = 0.0, 0
    async with session.post(url, json=body) as response:
        if response.status != 200:
            raise SystemExit(f"the server answered {response.status}: {await response.text()}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            first = first or time.perf_counter() - started
            event = json.loads(line[6:])
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
    return first, tokens


async def measure_server(engine: Any, name: str, concurrency: int, rounds: int, tokens: int, seed: int) -> Row:
    """`concurrency` clients, each sending `rounds` requests one after another."""
    options = {"ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    bodies = [
        request_of(engine.model_name, picture, tokens, **options) for picture in pictures(concurrency * rounds, seed)
    ]
    headers = {"Authorization": f"Bearer {engine.api_key}"}
    url = f"{engine.base_url}/chat/completions"
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        await stream_one(session, url, request_of(engine.model_name, pictures(1, seed + 1)[0], 4, **options))
        results: list[tuple[float, int]] = []

        async def client(mine: list[dict[str, Any]]) -> None:
            for body in mine:
                results.append(await stream_one(session, url, body))

        started = time.perf_counter()
        await asyncio.gather(*(client(bodies[start::concurrency]) for start in range(concurrency)))
        seconds = time.perf_counter() - started
    total = sum(count for _, count in results)
    return Row(name, concurrency, total / seconds, median(first for first, _ in results) * 1000)


async def measure_gateway(engine: Any, gateway_url: str, count: int, side: int) -> tuple[float, float]:
    """Median milliseconds of a one-token request to the engine, and to the gateway; the two alternate."""
    direct, through = [], []
    headers = {"Authorization": f"Bearer {engine.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for number, picture in enumerate(pictures(2 * count + 2, 99, side)):
            url, times = ((engine.base_url, direct), (gateway_url, through))[number % 2]
            started = time.perf_counter()
            body = request_of(engine.model_name, picture, 1)
            async with session.post(f"{url}/chat/completions", json=body) as response:
                if response.status != 200:
                    raise SystemExit(f"the server answered {response.status}: {await response.text()}")
                await response.read()
            if number >= 2:  # the first of each warms connections and decode workers
                times.append((time.perf_counter() - started) * 1000)
    return median(direct), median(through)


GATEWAY = """
import os
from pydantic import SecretStr
from serving.gateway.server import run_gateway
from serving.gateway.settings import GatewaySettings
settings = GatewaySettings(
    engine_url=os.environ["ENGINE_URL"], engine_key=SecretStr(os.environ["ENGINE_KEY"]), port=0, anonymous=True
)
run_gateway(settings, ready=lambda port: print(port, flush=True))
"""


def gateway_overhead(engine: Any, count: int, side: int = SIDE) -> tuple[float, float]:
    """Runs a gateway before the engine and measures both ways, with new images of `side` pixels."""
    child = subprocess.Popen(
        [sys.executable, "-c", GATEWAY],
        env=os.environ | {"ENGINE_URL": engine.url, "ENGINE_KEY": engine.api_key},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        return asyncio.run(measure_gateway(engine, f"http://127.0.0.1:{port}/v1", count, side))
    finally:
        child.terminate()
        child.wait(60)


# --- transformers -----------------------------------------------------------------------------------------------------


def measure_transformers(folder: Path, dtype: str, device: str, batch: int, batches: int, tokens: int) -> Row:
    """`generate` with batches of `batch` requests; preprocessing counts, as it does for the servers."""
    import torch

    from vlm.build import load

    place = "cuda" if device == "gpu" else "cpu"
    model, processor = load(folder, dtype=getattr(torch, dtype))
    model: Any = model.to(place)  # type: ignore[arg-type]
    model.config.head_dtype = "model"
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    text = processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)

    def answer(images: list[Image.Image], count: int) -> float:
        started = time.perf_counter()
        inputs = processor(text=[text] * len(images), images=images, return_tensors="pt", padding=True).to(place)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)
        made = output.shape[1] - inputs["input_ids"].shape[1]
        assert made == count, f"{made} tokens instead of {count}"
        return time.perf_counter() - started

    images = pictures(batch * (batches + 1), seed=3)
    first = answer(images[:batch], 1)  # also the warm-up
    first = min(first, answer(images[:batch], 1))
    seconds = sum(answer(images[start : start + batch], tokens) for start in range(batch, len(images), batch))
    name = "transformers, one by one" if batch == 1 else "transformers, batched"
    return Row(name, batch, batch * batches * tokens / seconds, first * 1000)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def make_medvlm(folder: Path, dtype: str, layers: int | None, merge_size: int, head_dtype: str) -> Path:
    """SmolLM2 (or `layers` of it) behind the small tower; speed does not depend on what the weights know."""
    import torch

    from vlm.build import new_model, save

    connector = {"type": "patch_merge_mlp", "merge_size": merge_size}
    model, processor = new_model(connector=connector, decoder_layers=layers, min_pixels=SIDE**2)
    model.config.head_dtype = head_dtype
    return save(model.to(getattr(torch, dtype)), processor, folder)


def make_llava(folder: Path, twin: Path, dtype: str) -> Path:
    """vLLM's Llava of the same size: CLIP tower like the twin's, the twin's decoder weights, 196 tokens an image."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    from vlm.build import load

    model, processor = load(twin, dtype=torch.float32)
    tower: Any = model.config.vision_config
    tokenizer = processor.tokenizer
    tokenizer.response_template = None
    vision = CLIPVisionConfig(
        hidden_size=tower.hidden_size,
        intermediate_size=4 * tower.hidden_size,
        num_hidden_layers=tower.num_hidden_layers,
        num_attention_heads=tower.num_attention_heads,
        patch_size=tower.patch_size,
        image_size=SIDE,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=model.config.text_config,
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=model.config.tie_word_embeddings,
    )
    llava = LlavaForConditionalGeneration(config)
    llava.model.language_model.load_state_dict(model.model.language_model.state_dict())
    llava.tie_weights()
    llava.to(getattr(torch, dtype)).save_pretrained(folder)
    # transformers 5.17 leaves out a level of CLIP's names that vLLM 0.31 looks for
    weights = load_file(folder / "model.safetensors")
    old, new = "vision_tower.", "vision_tower.vision_model."
    renamed = {name.replace(old, new) if new not in name else name: weight for name, weight in weights.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer=tokenizer,
        patch_size=tower.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=processor.image_token,
        chat_template=processor.chat_template,
    ).save_pretrained(folder)
    return folder


# --- the run ----------------------------------------------------------------------------------------------------------


def run(options: argparse.Namespace, work: Path) -> str:
    from serving.engine_settings import EngineOptions, resolve_device
    from serving.launch import start_unchecked

    device = resolve_device(options.device)
    layers = 4 if options.quick else None
    levels = (1, 4) if options.quick else (1, 8, 32)
    top, tokens = levels[-1], 8 if options.quick else options.tokens
    rounds = {level: max(1 if options.quick else 2, (2 if options.quick else 8) // level) for level in levels}
    engine_options = EngineOptions(device=options.device, dtype=options.dtype, max_model_len=2048, max_num_seqs=top)

    def say(words: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {words}", file=sys.stderr, flush=True)

    def serve(
        folder: Path, name: str, at: tuple[int, ...], overhead: bool = False
    ) -> tuple[list[Row], tuple[float, float]]:
        say(f"engine: {name}")
        with start_unchecked(folder, engine_options) as engine:
            rows = []
            for level in at:
                say(f"{name}: {level} clients")
                rows.append(asyncio.run(measure_server(engine, name, level, rounds[level], tokens, seed=10 * level)))
            if overhead:
                say("gateway")
            gateway = gateway_overhead(engine, 8 if options.quick else 50) if overhead else (0.0, 0.0)
        return rows, gateway

    say("checkpoints")
    model = options.model or make_medvlm(work / "medvlm", options.dtype, layers, merge_size=2, head_dtype="float32")
    if options.gateway:
        say("engine: plugin")
        with start_unchecked(model, engine_options) as engine:
            found = {side: gateway_overhead(engine, 8 if options.quick else 100, side) for side in (SIDE, 512)}
        lines = [f"| {s} x {s} | {a:.1f} | {b:.1f} | {b - a:.1f} |" for s, (a, b) in found.items()]
        return "\n".join(
            ["| a new image of | direct ms | through the gateway ms | added ms |", "|---|---|---|---|", *lines]
        )
    twin = make_medvlm(work / "twin", options.dtype, layers, merge_size=1, head_dtype="model")
    llava = make_llava(work / "llava", twin, options.dtype)
    rows = []
    for level in levels:
        say(f"transformers, batches of {level}")
        rows.append(measure_transformers(model, options.dtype, device, level, rounds[level], tokens))
    plugin, (direct, through) = serve(model, "plugin", levels, overhead=True)
    ours, _ = serve(twin, "plugin, one token a patch", (top,))
    built_in, _ = serve(llava, LLAVA, (top,))
    again, _ = serve(twin, "plugin, one token a patch (again)", (top,))
    rows += plugin + ours + built_in + again
    return report(rows, top, (direct, through), options, device)


def report(rows: list[Row], top: int, gateway: tuple[float, float], options: argparse.Namespace, device: str) -> str:
    speed = {(row.engine, row.concurrency): row.tokens_per_second for row in rows}
    plugin = speed["plugin", top]
    pair = [speed["plugin, one token a patch", top], speed["plugin, one token a patch (again)", top]]
    lines = [
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, load "
        f"{os.getloadavg()[0]:.1f} at the end, {device}, {options.dtype}{', cut-down model' if options.quick else ''}",
        "",
        "| engine | concurrent | tokens/s | first token, median ms |",
        "|---|---|---|---|",
        *(f"| {r.engine} | {r.concurrency} | {r.tokens_per_second:.1f} | {r.first_token_ms:.0f} |" for r in rows),
        "",
        "| at concurrency " + str(top) + " | ratio | target |",
        "|---|---|---|",
        f"| plugin / transformers batched | {plugin / speed['transformers, batched', top]:.2f} | 1.82 |",
        f"| plugin / transformers one by one | {plugin / speed['transformers, one by one', 1]:.2f} | 8 |",
        f"| plugin / vLLM's Llava of the same size | {median(pair) / speed[LLAVA, top]:.2f} | 0.95 |",
        f"| gateway, added ms ({gateway[0]:.1f} direct, {gateway[1]:.1f} with) | {gateway[1] - gateway[0]:.1f} | 5 |",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="medvlm checkpoint; SmolLM2 and the small tower if not given")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"))
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--tokens", type=int, default=128, help="new tokens a request: a short report")
    parser.add_argument("--quick", action="store_true", help="four decoder layers, concurrency 1 and 4, few requests")
    parser.add_argument(
        "--gateway", action="store_true", help="only the gateway before the plugin, 100 requests each way"
    )
    parser.add_argument("--out", type=Path, help="write the Markdown here as well")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory(prefix="medvlm-perf-") as work:
        text = run(options, Path(work))
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
