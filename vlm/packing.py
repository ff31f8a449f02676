"""Attention of packed rows on a CPU: each sample by itself, so that its cost is the sum of their squares.

transformers recognises packed samples by positions that start again and masks the square of the whole row: eight
samples of like length cost eight times what they cost alone. GPUs have kernels for this (flash attention takes the
lengths); here the row is cut, which needs none.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "medvlm_sdpa_by_sample"


def sample_lengths(position_ids: torch.Tensor) -> torch.Tensor | None:
    """(1, 1, 1, S) int64 lengths of the samples packed in ``position_ids`` (1, T); None where there is but one.

    Four axes, because transformers hands such a "mask" on to the attention as it is.
    """
    if position_ids.ndim != 2 or position_ids.shape[0] != 1:
        return None
    starts = (position_ids[0, 1:] != position_ids[0, :-1] + 1).nonzero().flatten() + 1
    if not len(starts):
        return None
    edges = torch.cat([starts.new_zeros(1), starts, starts.new_full((1,), position_ids.shape[1])])
    return edges.diff().view(1, 1, 1, -1)


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """``sdpa`` of transformers; where ``attention_mask`` holds lengths (1, 1, 1, S), once for each sample.

    Args:
        query: (1, heads, T, D); key, value: (1, heads of keys, T, D).

    Returns:
        (1, T, heads, D) and None, as transformers wants it.
    """
    if attention_mask is None or attention_mask.dtype != torch.int64:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    lengths = attention_mask.flatten().tolist()
    samples = zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    parts = [sdpa_attention_forward(module, q, k, v, None, **kwargs)[0] for q, k, v in samples]
    return torch.cat(parts, dim=1), None


def attend_by_sample(decoder: Any) -> bool:
    """Have a decoder attend so, and say whether it does. Only where every layer sees all earlier tokens through sdpa.

    What the model computes does not change, and nothing of it is saved with the configuration.
    """
    config = decoder.config
    plain = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    if config._attn_implementation != "sdpa" or not plain or getattr(config, "sliding_window", None):
        return False
    decoder.set_attn_implementation(NAME)
    return True


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
