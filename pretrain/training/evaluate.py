"""Held-out figures during training: loss, findings read off the tower, closed questions answered.

These steer training; the figures that are published come from ``medvlm bench`` through the served model.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from pretrain.shards.index import ShardSet
from pretrain.shards.reader import ShardReader
from pretrain.training.batches import Example, make_batches, packed_batch
from pretrain.training.encode import ConversationEncoder
from pretrain.training.recipe import BatchSection, TrainRecipe
from vlm.sample import Sample


def area_under_curve(scores: np.ndarray, truth: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties half (Mann-Whitney); NaN if one kind is missing."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[truth.astype(bool)].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def balanced_accuracy(predicted: Sequence[str], truth: Sequence[str]) -> float:
    """Mean over the answers that occur in ``truth`` of the share that was predicted right."""
    shares = []
    for answer in sorted(set(truth)):
        where = [p == t for p, t in zip(predicted, truth, strict=True) if t == answer]
        shares.append(sum(where) / len(where))
    return float(np.mean(shares)) if shares else float("nan")


class Evaluation:
    """What a stage measures on ``data.val``; encoded once, kept in memory."""

    def __init__(self, recipe: TrainRecipe, stage: Any):
        self.recipe, self.stage = recipe, stage
        self._samples: list[Sample] | None = None
        self._examples: list[Example] = []

    def run(self, module: Any, accelerator: Any) -> dict[str, Any]:
        """Figures by name; empty without validation data. Every rank computes the same, so that shards stay in step."""
        recipe = self.recipe
        if not recipe.data.val or not recipe.eval.samples:
            return {}
        if self._samples is None:
            reader = ShardReader(ShardSet.open(recipe.data.val))
            self._samples = [reader.sample(n) for n in range(min(recipe.eval.samples, len(reader)))]
            self._examples = [self.stage.encode(s, n) for n, s in enumerate(self._samples)]
        module.eval()
        try:
            with torch.no_grad():
                result = self._loss(module, accelerator)
                if recipe.stage == "vision_warmup":
                    result |= self._findings(module, accelerator)
                elif recipe.strategy in ("single", "ddp"):
                    result |= self._closed(accelerator)
        finally:
            module.train()
        return result

    def describe(self, result: dict[str, Any]) -> str:
        """The figures in one line."""
        parts = [f"loss {result['loss']:.4f}"]
        for name in ("auc", "closed", "closed_blank"):
            if name in result:
                each = "  ".join(f"{k} {v:.2f}" for k, v in result[name].items())
                parts.append(f"{name} mean {result[f'{name}_mean']:.3f} ({each})")
        return "; ".join(parts)

    def _loss(self, module: Any, accelerator: Any) -> dict[str, float]:
        batches, _ = make_batches(self._examples, self.recipe.batch, self.stage.pad_id, self.stage.dummy)
        total = sum(float(module(b.to(accelerator.device).tensors)["loss"]) for b in batches)
        return {"loss": total / max(1, sum(b.targets for b in batches))}

    def _findings(self, module: Any, accelerator: Any) -> dict[str, Any]:
        objective = accelerator.unwrap_model(module)
        section = BatchSection(row_samples=32, pack=False)
        batches, _ = make_batches(self._examples, section, self.stage.pad_id)
        scores, truth = [], []
        for batch in batches:
            with accelerator.autocast():
                image, _ = objective.predict(batch.to(accelerator.device).tensors)
            scores.append(image.cpu())
            truth.append(batch.tensors["image_targets"])
        s, t = torch.cat(scores).numpy(), torch.cat(truth).numpy()
        names = objective.findings
        auc = {n: area_under_curve(s[:, k], t[:, k]) for k, n in enumerate(names)}
        accuracy = {
            n: balanced_accuracy([str(x > 0) for x in s[:, k]], [str(x > 0) for x in t[:, k]])
            for k, n in enumerate(names)
        }
        return {
            "auc": auc,
            "balanced_accuracy": accuracy,
            "auc_mean": float(np.nanmean(list(auc.values()))),
            "balanced_accuracy_mean": float(np.nanmean(list(accuracy.values()))),
        }

    def _closed(self, accelerator: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if not isinstance(self.stage.encode, ConversationEncoder):
            return result
        for name, blank in (("closed", False), ("closed_blank", True)):
            answers = closed_answers(self.stage.base, self.stage.encode, self._samples or [], accelerator, blank)
            if answers:
                by_finding = balanced_by_finding(answers)
                result[name] = by_finding
                result[f"{name}_mean"] = float(np.nanmean(list(by_finding.values())))
                result["closed_questions"] = len(answers)
        return result


@dataclass(frozen=True)
class ClosedAnswer:
    """One closed question: its finding, the true answer, and the option whose first token the model finds likeliest."""

    finding: str
    answer: str
    predicted: str


def balanced_by_finding(answers: Sequence[ClosedAnswer]) -> dict[str, float]:
    """Balanced accuracy of each finding that was asked about."""
    groups: dict[str, list[ClosedAnswer]] = defaultdict(list)
    for answer in answers:
        groups[answer.finding].append(answer)
    return {f: balanced_accuracy([a.predicted for a in g], [a.answer for a in g]) for f, g in sorted(groups.items())}


@torch.no_grad()
def closed_answers(
    model: Any, encoder: ConversationEncoder, samples: Sequence[Sample], accelerator: Any, blank: bool
) -> list[ClosedAnswer]:
    """Ask every closed question of ``samples`` on its own (all questions about an image in one pass).

    ``blank`` puts a uniform grey picture in place of the image: what is answered then was not seen.
    """
    answers = []
    for sample in samples:
        closed = [q for q in sample.extra.get("qa") or [] if q["kind"] == "closed" and q.get("options")]
        for view in sorted({q.get("view") for q in closed}, key=str):
            asked = [q for q in closed if q.get("view") == view]
            shown = encoder.images_shown(sample, view)
            example = encoder.ask(sample, asked, shown)
            if blank and example.pixel_values is not None:
                example.pixel_values = torch.zeros_like(example.pixel_values)
            batch = packed_batch([example]).to(accelerator.device)
            first = _first_targets(example)
            with accelerator.autocast():
                inputs = {k: v for k, v in batch.tensors.items() if k != "labels"}
                hidden = model.model(**inputs, use_cache=False).last_hidden_state[0]
                logits = model.compute_logits(hidden[first - 1]).float().cpu()
            for question, scores in zip(asked, logits, strict=True):
                ids = [encoder.tokenizer.encode(option, add_special_tokens=False)[0] for option in question["options"]]
                best = question["options"][int(scores[ids].argmax())]
                answers.append(ClosedAnswer(question["finding"], question["answer"], best))
    return answers


def _first_targets(example: Example) -> torch.Tensor:
    """Positions of the first answer token of each question, in order."""
    assert example.labels is not None
    labelled = example.labels >= 0
    before = torch.cat([torch.zeros(1, dtype=torch.bool), labelled[:-1]])
    return (labelled & ~before).nonzero().flatten()
