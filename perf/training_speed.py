"""Training speed against TRL's SFTTrainer: same model, same conversations, same optimizer, packed and not.

    python perf/training_speed.py            # tables on stdout; a quiet machine, a few minutes
    python perf/training_speed.py --quick    # a smoke run

Both trainers see the same samples in the same order with the same global batch, fp32 weights under bf16 autocast and
fused AdamW; both decode and encode the same PNG pictures inside the measured time. TRL (1.16) cannot pack vision data,
so it pads. Its assistant-only loss for vision data asks for transformers 5.18 (ours is 5.17), so its loss is on every
token, which is its default. Runs are interleaved; the table has medians over rounds and the ratio to TRL of the same
work in the same round.
"""

import argparse
import io
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

QUESTIONS = 6


def make_shards(folder: Path, samples: int, side: int, one_question: bool) -> Path:
    """Studies of the simulator as shards: one question each, or a conversation of several, of uneven lengths."""
    from PIL import Image

    from pretrain.shards.writer import DatasetInfo, ShardWriter
    from pretrain.sources.chest import generate_case
    from vlm.imaging import read_image
    from vlm.sample import EncodedImage, Sample, SampleProvenance

    with ShardWriter(folder, DatasetInfo(name=folder.name, simulated=True)) as writer:
        for n in range(samples):
            case = generate_case(seed=5, patient=n, size=side, lateral_share=0.0)
            stream = io.BytesIO()
            Image.fromarray((case.images[0] >> 4).astype(np.uint8)).save(stream, format="PNG")
            image = EncodedImage.encode(read_image(stream.getvalue(), sandbox=False))
            asked = case.qa[: 1 if one_question else 1 + n % QUESTIONS]
            messages: list[dict[str, Any]] = []
            for i, row in enumerate(asked):
                shown = [{"type": "image", "image": 0}] if i == 0 else []
                messages.append({"role": "user", "content": [*shown, {"type": "text", "text": row["question"]}]})
                messages.append({"role": "assistant", "content": [{"type": "text", "text": row["answer"]}]})
            if n % 4 == 0:
                report = case.report["findings"] + "\n" + case.report["impression"]
                messages += [
                    {"role": "user", "content": [{"type": "text", "text": "Write the report."}]},
                    {"role": "assistant", "content": [{"type": "text", "text": report}]},
                ]
            provenance = SampleProvenance(source="simulator", simulated=True)
            writer.write(Sample(f"case{n:05d}", messages, [image], provenance, extra={"qa": case.qa}))
    return folder


def build(layers: int | None) -> tuple[Any, Any]:
    from vlm.build import new_model

    decoder = "tiny" if layers == 0 else "smollm2"
    return new_model(decoder=decoder, tower="small_cpu", decoder_layers=layers or None, max_pixels=160 * 160)


def ours(start: Path, shards: Path, steps: int, batch: int, pack: bool, conversation: str, folder: Path) -> float:
    """Samples a second of the loop, from the metrics of the run after its first step."""
    from pretrain.training.loop import Trainer
    from pretrain.training.recipe import TrainRecipe
    from pretrain.training.runfolder import RunFolder

    recipe = TrainRecipe.model_validate(
        {
            "stage": "instruction_tuning",
            "run": str(folder),
            "steps": steps,
            "tensorboard": False,
            "log_every": 1,
            "model": {"init": str(start)},
            "data": {"train": str(shards), "conversation": conversation, "questions": 1000, "views": "asked"},
            "batch": {"samples": batch, "pack": pack, "row_samples": batch, "row_tokens": 1024},
            "schedule": {"kind": "constant", "warmup_steps": 0},
            "checkpoint": {"every": 10_000_000},
        }
    )
    trainer = Trainer(recipe, RunFolder(folder))
    trainer._checkpoint = lambda done: None  # type: ignore[method-assign]  # speed of steps, not of the disk
    rows: list[dict] = []
    report = trainer._report
    trainer._report = lambda *a: rows.append(report(*a)) or rows[-1]  # type: ignore[method-assign]
    trainer._train(0, None)
    return (len(rows) - 1) * batch / sum(row["step_seconds"] for row in rows[1:])


def trl(start: Path, shards: Path, steps: int, batch: int, alone: bool, folder: Path) -> float:
    """Samples a second of TRL's SFTTrainer; ``alone`` gives every question its own row, as a user of TRL must."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportPrivateImportUsage]

    from pretrain.shards.index import ShardSet
    from pretrain.shards.plan import Plan
    from pretrain.shards.reader import ShardReader
    from pretrain.training.encode import question_turns
    from vlm.build import load

    model, processor = load(start, dtype=torch.float32)
    source = ShardSet.open(shards)
    plan, reader = Plan(source, seed=0, batch=batch), ShardReader(source)
    rows, per_step = [], []
    for t in range(steps * batch):
        sample = reader.sample(plan.sample(t).record)
        picture = sample.images[0].data
        questions = [q for q in sample.extra["qa"] if q["view"] == 0]
        talks = [question_turns([q], [0]) for q in questions] if alone else [sample.messages]
        for talk in talks:
            clean = [
                {"role": m["role"], "content": [{k: v for k, v in p.items() if k != "image"} for p in m["content"]]}
                for m in talk
            ]
            rows.append({"messages": clean, "images": [{"bytes": picture, "path": None}]})
        per_step.append(len(talks))
    from datasets import Features, Image, List, Value

    part = {"type": Value("string"), "text": Value("string")}
    features = Features({"messages": List({"role": Value("string"), "content": List(part)}), "images": List(Image())})
    data = Dataset.from_list(rows, features=features)
    size = max(1, round(len(rows) / steps))
    config = SFTConfig(
        output_dir=str(folder),
        max_steps=max(2, len(rows) // size),
        per_device_train_batch_size=size,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        max_length=None,
        save_strategy="no",
        report_to=[],
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_num_workers=0,
        shuffle_dataset=False,
    )
    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            stamps.append(time.perf_counter())

    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=processor, callbacks=[Clock()])
    trainer.train()
    done = (len(stamps) - 1) * size
    return done / (stamps[-1] - stamps[0]) * (steps * batch / len(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny decoder, one round: does it run?")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=None, help="decoder layers kept (default all; 0: tiny decoder)")
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    layers = 0 if args.quick else args.layers
    steps, rounds, batch = (3, 1, 4) if args.quick else (args.steps, args.rounds, args.batch)
    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        from vlm.build import save

        start = save(*build(layers), work / "start")
        shards = make_shards(work / "shards", min(64, steps * batch), 192, one_question=False)
        for i in range(rounds):
            runs = {
                "TRL SFTTrainer, padded": lambda i=i: trl(start, shards, steps, batch, False, work / f"t{i}"),
                "medvlm, padded": lambda i=i: ours(start, shards, steps, batch, False, "stored", work / f"u{i}"),
                "medvlm, packed": lambda i=i: ours(start, shards, steps, batch, True, "stored", work / f"p{i}"),
                "TRL SFTTrainer, a row for each question": lambda i=i: trl(
                    start, shards, steps, batch, True, work / f"a{i}"
                ),
                "medvlm, questions share the image": lambda i=i: ours(
                    start, shards, steps, batch, True, "questions", work / f"q{i}"
                ),
            }
            for name, run in runs.items():
                results.setdefault(name, []).append(run())
    print(table(results, steps, batch, rounds))


def table(results: dict[str, list[float]], steps: int, batch: int, rounds: int) -> str:
    """Markdown: medians of studies a second, and medians of the ratio to TRL's run of the same work and round."""
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"global batch {batch}, {steps} steps, {rounds} round(s)",
        "",
        "| trainer | studies/s (median) | ratio to TRL |",
        "|---|---:|---:|",
    ]
    base: list[float] = []
    for name, rates in results.items():
        base = rates if name.startswith("TRL") else base
        ratios = [a / b for a, b in zip(rates, base, strict=True)]
        lines.append(f"| {name} | {statistics.median(rates):.2f} | {statistics.median(ratios):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
