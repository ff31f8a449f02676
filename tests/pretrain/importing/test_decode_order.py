"""Whatever is mixed, records leave the decoder in their order, each with its own images, and few are held at a time."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pretrain.importing.decode import decode_studies
from pretrain.importing.study import Drop, Study
from vlm.imaging import Limits


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(6):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG")
    return [folder / f"{i}.png" for i in range(6)]


image = st.integers(0, 5) | st.sampled_from(["bytes", "broken", "missing"])
record = st.just("drop") | st.lists(image, max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(record, max_size=12))
def test_records_keep_their_order_and_images(pictures, records):
    def source():
        for n, wanted in enumerate(records):
            if wanted == "drop":
                yield Drop(f"{n}", "because")
                continue
            images = {
                "bytes": pictures[1].read_bytes(),
                "broken": pictures[0].with_name("broken.png"),
                "missing": Path("none"),
            }
            yield Study(f"k{n}", f"{n}", tuple(pictures[i] if isinstance(i, int) else images[i] for i in wanted))

    outcomes = list(decode_studies(source(), workers=0, limits=Limits()))
    assert len(outcomes) == len(records)
    for n, (wanted, outcome) in enumerate(zip(records, outcomes)):
        if isinstance(outcome, Drop):
            assert outcome.where == f"{n}"
            assert wanted == "drop" or "broken" in wanted or "missing" in wanted
        else:
            study, encoded = outcome
            values = [int(e.decode().pixels[0, 0]) for e in encoded]
            assert study.key == f"k{n}" and values == [1 if i == "bytes" else i for i in wanted]


def test_text_alone_is_not_read_ahead_without_bound():
    taken = 0

    def source():
        nonlocal taken
        for n in range(5000):
            taken += 1
            yield Study(f"k{n}", "")

    for n, (study, images) in enumerate(decode_studies(source(), workers=1, limits=Limits())):
        assert study.key == f"k{n}" and images == [] and taken - n <= 600
    assert taken == 5000
