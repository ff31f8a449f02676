"""The memory of encoded pictures: the same picture once, and never that of another data set."""

from dataclasses import replace

import pytest
import torch
from training_samples import TINY_MODEL, make_sample

from pretrain.sources.chest import FINDINGS
from pretrain.training.encode import MaskEncoder


@pytest.fixture(scope="module")
def image_processor():
    from vlm.build import new_model

    _, processor = new_model(decoder=TINY_MODEL["decoder"], tower=TINY_MODEL["tower"], **TINY_MODEL["options"])
    return processor.image_processor


def test_samples_of_two_data_sets_with_one_key_keep_their_own_pictures_and_truth(image_processor):
    left, right = make_sample(1), make_sample(2)
    namesake = replace(right, key=left.key)  # keys are unique within a data set only
    cached, fresh = (MaskEncoder(image_processor, FINDINGS, cached=c) for c in (True, False))
    for sample in (left, namesake, left, namesake):
        seen, wanted = cached(sample, 0), fresh(sample, 0)
        assert torch.equal(seen.image_targets, wanted.image_targets)
        assert torch.equal(seen.image_grid_thw, wanted.image_grid_thw)
        assert torch.equal(seen.pixel_values, wanted.pixel_values.half())


def test_a_picture_is_decoded_once(image_processor):
    calls = []
    encoder = MaskEncoder(lambda **given: calls.append(1) or image_processor(**given), FINDINGS, cached=True)
    for _ in range(3):
        encoder(make_sample(1), 0)
    assert len(calls) == 1
