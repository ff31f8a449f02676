"""What the connector is told to say: words of findings that can be told apart, and faint findings that count."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pretrain.training.errors import TrainingError
from pretrain.training.objectives import WarmupObjective
from pretrain.training.recipe import WarmupSection
from pretrain.training.stages import word_embeddings

WORDS = {" effusion": [1, 2, 3], " pneumothorax": [4, 5, 6, 7], " left": [8], " right": [9], " normal": [10]}
PHRASES = [" effusion left", " effusion right", " pneumothorax left", " pneumothorax right", " normal"]


class Decoder:
    """An embedding table with a common part, as those of language models have."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        table = torch.randn(16, 48, generator=generator) + 0.7 * torch.randn(48, generator=generator)
        self.embedding = nn.Embedding(16, 48, _weight=table)

    def get_input_embeddings(self):
        return self.embedding


TOKENIZER = SimpleNamespace(encode=lambda text, add_special_tokens: WORDS[text])


def test_targets_are_orthogonal_and_nearest_to_their_own_words():
    decoder = Decoder()
    table = decoder.embedding.weight.detach()
    targets = word_embeddings(decoder, TOKENIZER, PHRASES, 2.0)
    length = 2.0 * table.norm(dim=-1).mean()
    assert torch.allclose(targets @ targets.T, torch.eye(len(PHRASES)) * length**2, atol=1e-3 * float(length) ** 2)
    said = torch.stack(
        [sum(F.normalize(table[WORDS[f" {w}"]].mean(0), dim=0) for w in p.split()) for p in PHRASES]  # type: ignore[misc]
    )
    likeness = F.normalize(targets, dim=-1) @ F.normalize(said, dim=-1).T
    assert likeness.argmax(-1).tolist() == list(range(len(PHRASES))) and likeness.diagonal().min() > 0.6


@pytest.mark.parametrize("phrases", [[" effusion left", " effusion left"], [" left", "  "]])
def test_two_findings_of_one_name_and_empty_names_are_refused(phrases):
    with pytest.raises(TrainingError, match=r"warmup\.names"):
        word_embeddings(Decoder(), TOKENIZER, phrases, 1.0)


class Tower(nn.Module):
    hidden_size = 4


class Merge(nn.Module):
    """A connector that says the same of every square of 2 x 2 patches."""

    merge_size = 2

    def forward(self, features: torch.Tensor, grids: list) -> torch.Tensor:
        return features.new_zeros(sum(h * w // 4 for h, w in grids), 3)


@pytest.mark.parametrize("focus", [0.0, 4.0])
def test_focus_weighs_the_tokens_that_show_something(focus):
    section = WarmupSection(word_weight=1.0, word_focus=focus)
    words, ones = torch.tensor([[3.0, 0, 0], [0, 0, 3.0]]), {"patch": torch.ones(1), "image": torch.ones(1)}
    objective = WarmupObjective(Tower(), Merge(), ["effusion"], section, words, ones)
    shown = torch.zeros(8, 1)
    shown[0] = 0.5  # half of one patch of the first of two squares
    loss = objective._word_loss(torch.zeros(1, 8, 4), shown, [(2, 4)])
    faint, plain = (1.5**2 + 1.5**2) / 3, 3.0**2 / 3
    assert float(loss) == pytest.approx((faint * (1 + focus * 0.5) + plain) / 2 / 3.0)
