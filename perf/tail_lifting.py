"""Does entity-driven sampling lift the tail? Simulated radiographs, a long tail of findings, equal steps.

    python perf/tail_lifting.py --out work/tail              # everything; an hour or two on one core
    python perf/tail_lifting.py --out work/tail --seed 1     # one seed; several may run at once
    python perf/tail_lifting.py --out work/tail --plot docs/images/tail_lifting.png
    python perf/tail_lifting.py --quick                      # a smoke run

Each seed has its own patients, initialisation and order. Six findings have shares of 40 % to 1.25 % of the training
patients, each half as frequent as the one before; from seed to seed the findings move by one third, so that each is
once in the head, once in the middle and once in the tail: what is measured is rarity, not difficulty. Held out are, for
each finding, other patients of which half have it and who have all else as rarely as the training patients.

The way is that of the product: simulate, import to shards, ``medvlm data weights``, a recipe, the training loop. Every
figure is written when its run ends; finished ones are not done again.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

log = logging.getLogger("tail_lifting")
ROOT = Path(__file__).resolve().parents[1]

# neighbours in this list share a third; left and right of a finding do not
FINDINGS = (
    "effusion_left",
    "pneumothorax_right",
    "cardiomegaly",
    "pneumothorax_left",
    "effusion_right",
    "pacemaker",
)
SHARES = (0.4, 0.2, 0.1, 0.05, 0.025, 0.0125)
THIRDS = ("head", "middle", "tail")
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEDS = (0, 1, 2)
BATCH = 16


@dataclass(frozen=True)
class Size:
    """How large the experiment is: patients in training, held-out patients of each finding, optimizer steps."""

    train: int = 4000
    held_out: int = 280
    steps: int = 400
    tower: str = "small_cpu"


def rank(finding: str, seed: int) -> int:
    """0 for the most frequent finding of a seed's patients, 5 for the rarest."""
    return (FINDINGS.index(finding) + 2 * seed) % len(FINDINGS)


def third(finding: str, seed: int) -> str:
    return THIRDS[rank(finding, seed) // 2]


# --- data ------------------------------------------------------------------------------------------------------------


def prepare(work: Path, seed: int, size: Size) -> Path:
    """Shards of the long-tailed training patients, and of the held-out patients of each finding."""
    folder = work / f"seed{seed}"
    shares = {finding: SHARES[rank(finding, seed)] for finding in FINDINGS}
    _shards(folder / "train", size.train, 1000 + seed, shares, (1.0, 0.0, 0.0))
    for k, finding in enumerate(FINDINGS):
        _shards(folder / finding, size.held_out, 2000 + 10 * seed + k, shares | {finding: 0.5}, (0.0, 0.2, 0.8))
    return folder


def _shards(folder: Path, patients: int, seed: int, shares: dict[str, float], splits: tuple) -> None:
    from pretrain.importing import Conversation, ImportOptions, SimulatedFolder, import_source
    from pretrain.sources.chest import simulate

    done = folder / "done"
    if done.exists():
        return
    films = folder.with_name(folder.name + "-films")
    simulate(
        films, patients, seed, size=128, workers=1, shares=splits, lateral_share=0.0, findings=FINDINGS,
        prevalence=shares,
    )  # fmt: skip
    options = ImportOptions(conversation=Conversation(mode="report"), max_samples=500)
    import_source(SimulatedFolder(films, folder.name), folder, options)
    shutil.rmtree(films)
    done.touch()


# --- a run -----------------------------------------------------------------------------------------------------------


def run(work: Path, seed: int, exponent: float, size: Size, max_pos_weight: float | None = None) -> dict[str, Any]:
    """Train with one exponent and measure; the figures of a finished run are read back."""
    variant = "" if max_pos_weight is None else f"_pos{max_pos_weight:g}"
    name = f"seed{seed}_a{exponent:g}_steps{size.steps}{variant}"
    figures = work / "figures" / f"{name}.json"
    if figures.exists():
        return json.loads(figures.read_text())
    folder = prepare(work, seed, size)
    weights, table = _weights(folder, exponent)
    trainer = _train(work / "runs" / name, folder, weights, seed, size, max_pos_weight)
    result = {"seed": seed, "exponent": exponent, "max_pos_weight": max_pos_weight, "steps": size.steps}
    result |= {"batch": BATCH, "findings": _measure(trainer, folder, seed, table)}
    figures.parent.mkdir(parents=True, exist_ok=True)
    part = figures.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1))
    part.replace(figures)
    shutil.rmtree(work / "runs" / name)
    means = {t: np.mean([f["accuracy"] for f in result["findings"].values() if f["third"] == t]) for t in THIRDS}
    log.warning("%s: accuracy %s", name, "  ".join(f"{t} {m:.3f}" for t, m in means.items()))
    return result


def _weights(folder: Path, exponent: float) -> tuple[Path, dict[str, Any]]:
    """The weights file of the training shards, and its table by entity."""
    from pretrain.weighting.make import WeightSettings, make_weights

    out = folder / f"weights{exponent:g}.parquet"
    make_weights(folder / "train" / "train", out, WeightSettings(exponent=exponent))
    table = json.loads(out.with_suffix(".json").read_text())
    return out, {row["entity"]: row for row in table["entities"]}


def _train(run: Path, folder: Path, weights: Path, seed: int, size: Size, max_pos_weight: float | None) -> Any:
    """The vision warm-up of the quickstart on a smaller picture, without words (the decoder takes no part)."""
    from pretrain.training.loop import Trainer
    from pretrain.training.recipe import TrainRecipe
    from pretrain.training.runfolder import RunFolder
    from vlm.recipe import load_recipe

    train = [{"path": str(folder / "train" / "train"), "weights": str(weights)}]
    recipe = load_recipe(
        TrainRecipe,
        ROOT / "recipes" / "quickstart_warmup.yaml",
        [
            f"run={run}",
            f"seed={seed}",
            f"steps={size.steps}",
            f"batch.samples={BATCH}",
            f"data.train={json.dumps(train)}",
            "data.val=null",
            "eval.samples=0",
            "warmup.word_weight=0",
            "model.decoder=tiny",
            f"model.tower={size.tower}",
            "model.options={max_pixels: 16384}",  # 128 x 128 pixels: 64 patches
            "threads=1",
            "tensorboard=false",
            "log_every=100",
            "checkpoint.every=1000000",
            *([] if max_pos_weight is None else [f"warmup.max_pos_weight={max_pos_weight}"]),
        ],
    )
    trainer = Trainer(recipe, RunFolder(run))
    trainer.run_to_end()
    if trainer.stopped:
        raise SystemExit(f"{run} was stopped: run the same command again to go on")
    return trainer


# --- figures ---------------------------------------------------------------------------------------------------------


def _measure(trainer: Any, folder: Path, seed: int, table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By finding: accuracy on as many patients with as without it, fixed and chosen threshold, AUC, and blind."""
    figures = {}
    for finding in FINDINGS:
        column = trainer.stage.objective.findings.index(finding)
        val, truth_val = _logits(trainer, folder / finding / "val", column)
        test, truth = _logits(trainer, folder / finding / "test", column)
        blind, _ = _logits(trainer, folder / finding / "test", column, blank=True)
        kept, kept_val = balanced(truth), balanced(truth_val)
        threshold = best_threshold(val[kept_val], truth_val[kept_val])
        row = table.get(finding, {})
        figures[finding] = {
            "third": third(finding, seed),
            "training samples": row.get("samples", 0),
            "times an epoch": row.get("epochs", 0.0),
            "share of draws": row.get("after", 0.0),
            "held out": len(kept),
            "accuracy": accuracy(test[kept], truth[kept], 0.0),
            "accuracy, threshold of validation": accuracy(test[kept], truth[kept], threshold),
            "accuracy, blank image": accuracy(blind[kept], truth[kept], 0.0),
            "auc": auc(test[kept], truth[kept]),
            "validation accuracy": accuracy(val[kept_val], truth_val[kept_val], 0.0),
        }
    return figures


def _logits(trainer: Any, shards: Path, column: int, blank: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Picture logits (N,) and truth (N,) of one finding."""
    import torch

    from pretrain.shards import ShardReader, ShardSet
    from pretrain.training.batches import make_batches
    from pretrain.training.recipe import BatchSection

    reader = ShardReader(ShardSet.open(shards))
    examples = [trainer.stage.encode(reader.sample(n), n) for n in range(len(reader))]
    batches, _ = make_batches(examples, BatchSection(row_samples=32, pack=False), trainer.stage.pad_id)
    objective, scores, truth = trainer.accelerator.unwrap_model(trainer.module), [], []
    objective.eval()
    for batch in batches:
        if blank:
            batch.tensors["pixel_values"] = torch.zeros_like(batch.tensors["pixel_values"])
        with trainer.accelerator.autocast():
            image, _ = objective.predict(batch.to(trainer.accelerator.device).tensors)
        scores.append(image[:, column].cpu())
        truth.append(batch.tensors["image_targets"][:, column].cpu())
    return torch.cat(scores).numpy(), torch.cat(truth).numpy() > 0


def balanced(truth: np.ndarray) -> np.ndarray:
    """Numbers of the first k patients with and the first k without, k being as large as it can."""
    with_it, without = np.flatnonzero(truth), np.flatnonzero(~truth)
    k = min(len(with_it), len(without))
    return np.sort(np.concatenate([with_it[:k], without[:k]]))


def accuracy(scores: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    return float(((scores > threshold) == truth).mean())


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """Midway between two scores where accuracy is best; of several, the one nearest to 0."""
    ordered = np.unique(scores)
    between = np.concatenate([[0.0], (ordered[1:] + ordered[:-1]) / 2])
    return float(max(between, key=lambda t: (accuracy(scores, truth, t), -abs(t))))


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    from pretrain.training.evaluate import area_under_curve

    return area_under_curve(scores, truth)


# --- report ----------------------------------------------------------------------------------------------------------


def mean_of(result: dict[str, Any], which: str, key: str) -> float:
    """Mean over the findings of one third."""
    return float(np.mean([row[key] for row in result["findings"].values() if row["third"] == which]))


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: by exponent over seeds, and the difference to uniform by seed."""
    seeds = sorted({r["seed"] for r in results})
    exponents = sorted({r["exponent"] for r in results})
    by = {(r["seed"], r["exponent"]): r for r in results}
    lines = []
    for key in ("accuracy", "accuracy, threshold of validation", "auc"):
        lines += [f"{key}, mean (and deviation) over seeds {', '.join(map(str, seeds))}", ""]
        lines += ["| exponent | head | middle | tail | tail - uniform | head - uniform |", "|---:|" + "---:|" * 5]
        for a in exponents:
            done = [s for s in seeds if (s, a) in by and (s, 0.0) in by]
            cells = []
            for t in THIRDS:
                values = [mean_of(by[s, a], t, key) for s in done]
                cells.append(f"{np.mean(values):.3f} ({np.std(values, ddof=len(values) > 1):.3f})")
            for t in ("tail", "head"):
                gains = [100 * (mean_of(by[s, a], t, key) - mean_of(by[s, 0.0], t, key)) for s in done]
                cells.append(f"{np.mean(gains):+.1f} ({', '.join(f'{g:+.1f}' for g in gains)})")
            lines.append(f"| {a:g} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [
        "| exponent | validation accuracy, all findings | blank image | tail: times an epoch |",
        "|---:|---:|---:|---:|",
    ]
    for a in exponents:
        own = [by[s, a] for s in seeds if (s, a) in by]
        validation, blank = (
            np.mean([row[key] for r in own for row in r["findings"].values()])
            for key in ("validation accuracy", "accuracy, blank image")
        )
        often = np.mean([mean_of(r, "tail", "times an epoch") for r in own])
        lines.append(f"| {a:g} | {validation:.3f} | {blank:.3f} | {often:.1f} |")
    return "\n".join(lines)


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy by exponent and third, with every seed; and each finding before and after by its training samples."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    exponents = sorted({r["exponent"] for r in results})
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = {"head": "#8a8f98", "middle": "#0b6bcb", "tail": "#c2620a"}
    for name in THIRDS:
        points = [[mean_of(r, name, "accuracy") for r in results if r["exponent"] == a] for a in exponents]
        left.plot(exponents, [np.mean(p) for p in points], "-o", color=colours[name], label=name)
        for a, values in zip(exponents, points, strict=True):
            left.plot([a] * len(values), values, ".", color=colours[name], alpha=0.4)
    left.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    left.set(xlabel="exponent (0: uniform)", ylabel="held-out accuracy, half with the finding", xticks=exponents)
    left.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    for a, marker, colour in ((0.0, "o", "#8a8f98"), (0.5, "^", "#0b6bcb"), (1.0, "s", "#c2620a")):
        rows = [row for r in results if r["exponent"] == a for row in r["findings"].values()]
        right.semilogx(
            [row["training samples"] for row in rows], [row["accuracy"] for row in rows], marker, color=colour,
            label="uniform" if a == 0 else f"exponent {a:g}", alpha=0.8,
        )  # fmt: skip
    right.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    right.set(xlabel="training samples that show the finding", ylabel="held-out accuracy")
    right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    figure.suptitle("Simulated radiographs: entity-driven sampling at equal steps (dots: seeds)")
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of data and figures; a temporary one with --quick")
    parser.add_argument("--seed", type=int, action="append", help="only this seed; may be repeated")
    parser.add_argument("--exponent", type=float, action="append", help="only this exponent; may be repeated")
    parser.add_argument("--steps", type=int, default=Size.steps, help="optimizer steps of a run")
    parser.add_argument("--max-pos-weight", type=float, help="cap of the loss weight of positives; the recipe has 20")
    parser.add_argument("--plot", type=Path, help="draw the figure there from what is finished")
    parser.add_argument("--quick", action="store_true", help="a handful of patients: does it run?")
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    log.setLevel(logging.WARNING)
    if args.quick:
        with tempfile.TemporaryDirectory() as scratch:
            small = Size(train=60, held_out=20, steps=2, tower="test")
            print(tables([run(Path(scratch), 0, a, small) for a in (0.0, 1.0)]))
        return
    if args.out is None:
        parser.error("give --out FOLDER, or --quick")
    wanted = [(s, a) for s in args.seed or SEEDS for a in args.exponent or EXPONENTS]
    results = [run(args.out, s, a, Size(steps=args.steps), args.max_pos_weight) for s, a in wanted]
    print(tables(results))
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
