"""Counted lengths are those that the processor makes; estimates come from the importer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pretrain.importing import Conversation, ImportOptions, TableSource, import_source
from pretrain.shards import DataError, PackPlan, Plan, ShardReader, ShardSet, estimated_lengths, measure_lengths
from pretrain.shards.lengths import lengths_path, processor_hash, rendered_shape
from vlm.imaging import MedicalImage, Provenance
from vlm.messages import attach_images


@pytest.fixture(scope="module")
def processor():
    from vlm.build import new_model

    return new_model(decoder="tiny", tower="test")[1]


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> ShardSet:
    folder = tmp_path_factory.mktemp("lengths")
    rng = np.random.default_rng(0)
    rows = ["image,question,answer"]
    for i in range(8):
        shape = (int(rng.integers(20, 200)), int(rng.integers(20, 200)))
        Image.fromarray(rng.integers(0, 255, shape).astype(np.uint8)).save(folder / f"{i}.png")
        rows += [f"{i}.png,Is there <|an| effusion? Ünïcode {i},{'no ' * int(rng.integers(1, 30))}"] * (1 + i % 3)
    rows.append(",Text alone?,Yes.")
    (folder / "t.csv").write_text("\n".join(rows))
    options = ImportOptions(conversation=Conversation("questions"), workers=0, max_samples=4)
    import_source(TableSource(folder / "t.csv"), folder / "out", options)
    return ShardSet.open(folder / "out/train")


@pytest.mark.parametrize("render_size", [None, 64])
def test_measured_lengths_are_those_of_the_processor(shards, processor, render_size):
    lengths = measure_lengths(shards, processor, render_size=render_size)
    for n, sample in enumerate(ShardReader(shards)):
        pictures = [image.decode().render(size=render_size) for image in sample.images]
        text = processor.apply_chat_template(attach_images(sample.messages, pictures), tokenize=False)
        made = processor(text=[text], images=pictures or None, return_tensors="np")
        assert lengths.tokens[n] == made["input_ids"].shape[1]
        patches = made["pixel_values"].shape[0] if pictures else 0
        assert lengths.patches[n] == patches
    assert (lengths.patches == 0).sum() == 1


def test_counts_are_kept_for_the_processor_and_the_data_they_hold_for(shards, processor, monkeypatch):
    first = measure_lengths(shards, processor)
    path = lengths_path(shards, processor_hash(processor))
    assert path.is_file() and processor_hash(processor) != processor_hash(processor, 64)
    monkeypatch.setattr(ShardReader, "record", None)  # nothing is read again
    again = measure_lengths(shards, processor)
    assert (again.tokens == first.tokens).all() and again.digest() == first.digest()
    monkeypatch.undo()
    path.write_bytes(path.read_bytes())
    monkeypatch.setattr(shards, "digest", "of other data")
    assert measure_lengths(shards, processor).digest() == first.digest()


def test_packing_with_measured_lengths_holds_its_budget_on_real_tokens(shards, processor):
    lengths = measure_lengths(shards, processor)
    pack = PackPlan(Plan(shards, seed=1, batch=4), lengths, max_tokens=int(lengths.tokens.max()) + 40)
    for b in range(4):
        for row in pack.pack(b):
            assert sum(pack.length(t)[0] for t in row) <= pack.max_tokens


def test_estimates_are_of_the_right_size(shards):
    estimate = estimated_lengths(shards)
    assert (estimate.tokens > 5).all() and (estimate.patches[:-1] > 0).all() and estimate.patches[-1] == 0


def test_a_text_that_spells_the_image_token_is_told(shards, processor, tmp_path):
    (tmp_path / "t.csv").write_text(f"question,answer\nWhat is {processor.image_token}?,A token.\n")
    import_source(TableSource(tmp_path / "t.csv"), tmp_path / "out", ImportOptions(workers=0))
    with pytest.raises(DataError, match=r"row-00000001.*1 image tokens for 0 images"):
        measure_lengths(ShardSet.open(tmp_path / "out/train"), processor)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 512))
def test_rendered_shape_is_that_of_render(height, width, size):
    image = MedicalImage(
        pixels=np.zeros((height % 300 + 1, width % 300 + 1), np.uint8),
        units="stored",
        spacing_mm=None,
        spacing_source="unknown",
        modality=None,
        inverted=False,
        windows=(),
        valid=None,
        provenance=Provenance(sha256="", kind="array"),
    )
    assert rendered_shape(*image.pixels.shape, size) == image.render("auto", size=size).shape
