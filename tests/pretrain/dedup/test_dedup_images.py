"""The same exposure against other exposures: verification by itself, and the whole image step."""

import io
import os
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pretrain.dedup import align
from pretrain.dedup.errors import DedupError
from pretrain.dedup.image import ImageSettings, hashes_of, image_signatures, pixel_hash, square_of
from pretrain.dedup.image_run import PAIRS, image_duplicates, summary
from pretrain.dedup.neighbours import embedding_pairs, hash_pairs
from pretrain.dedup.store import write_parquet
from pretrain.sources.chest import generate_case

USUAL = ImageSettings()


@cache
def film(patient: int) -> np.ndarray:
    """(H, W) uint8 of a simulated patient."""
    raw = generate_case(11, patient, size=320, lateral_share=0).images[0].astype(float)
    low, high = np.percentile(raw, (0.5, 99.5))
    return (np.clip((raw - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int = 60) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def match(a: np.ndarray, b: np.ndarray) -> align.Match:
    return align.compare(align.detail_of(square_of(a)), align.detail_of(square_of(b)))


@pytest.mark.parametrize(
    "alter",
    [
        lambda x: jpeg(x),
        lambda x: np.array(Image.fromarray(x).resize((224, 224))),
        lambda x: x[9:-5, 4:-14],
        lambda x: np.pad(x, ((30, 10), (0, 40))),
        lambda x: np.clip(x * 0.7 + 40, 0, 255).astype(np.uint8),
        lambda x: (255 * (x / 255.0) ** 1.7).astype(np.uint8),
        lambda x: np.repeat(x[:, :, None], 3, axis=2),
        lambda x: 255 - x,
    ],
    ids=["jpeg", "squashed", "cropped", "bordered", "brighter", "gamma", "colour channels", "negative"],
)
def test_an_altered_film_is_the_same_exposure(alter):
    found = match(film(0), alter(film(0)))
    assert found.same and found.agreement > 0.9
    assert found.negative == np.array_equal(alter(film(0)), 255 - film(0))


def test_other_patients_and_the_mirror_image_are_not():
    for a in range(4):
        assert not match(film(a), film(a)[:, ::-1]).same
        for b in range(a):
            assert match(film(a), film(b)).agreement < 0.5


def test_what_has_no_detail_proves_nothing():
    flat = np.full((200, 300), 90, np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 300).astype(np.uint8), (200, 300)).copy()
    for a in (flat, ramp):
        assert not match(a, a).same
    assert not match(flat, film(0)).same
    noise = np.random.default_rng(0).integers(0, 255, (2, 200, 300)).astype(np.uint8)
    assert match(noise[0], noise[0]).same and not match(noise[0], noise[1]).same


def test_registration_finds_a_known_warp():
    noise = gaussian_filter(np.random.default_rng(4).normal(size=(256, 256)), 2)
    texture = np.clip(127 + 300 * noise, 0, 255).astype(np.uint8)
    cut = Image.fromarray(texture[10:240, 20:250]).resize((256, 256), Image.Resampling.BILINEAR)  # 230 of 256 pixels
    a, b = align.detail_of(texture), align.detail_of(np.asarray(cut))
    start, peak = align._start(a.coarse, b.coarse)
    warp = align._grown(start, align.COARSE, align.SIDE)
    row, down, column, right = align._refine(a.fine, b.fine, warp, ((1.5, 8), (0.7, 6)))
    scale = 256 / 230  # the cut's pixel of the texture's pixel i is scale * (i + 1/2 - 10) - 1/2
    assert peak > 0.7 and (row, column) == pytest.approx((scale, scale), abs=0.003)
    assert (down, right) == pytest.approx((scale * (0.5 - 10) - 0.5, scale * (0.5 - 20) - 0.5), abs=0.3)


def test_hash_of_the_mirror_image_is_the_last_one():
    square = square_of(film(2))
    assert (hashes_of(square[:, ::-1])[0] == hashes_of(square)[-1]).all()


def test_nearest_hashes_against_brute_force():
    chance = np.random.default_rng(1)
    hashes = chance.integers(0, 2**63, (40, 13, 4)).astype(np.uint64)
    hashes[20:] = hashes[:20] ^ (np.uint64(1) << chance.integers(0, 60, (20, 13, 4)).astype(np.uint64))
    hashes[7, 0] = ~hashes[3, 0]

    def distance(a, b):
        bits = int(np.bitwise_count(a ^ b).sum())
        return bits

    near, _, crowded = hash_pairs(hashes, 100, 40)
    expected = set()
    for i in range(40):
        for j in range(i + 1, 40):
            d = [distance(hashes[i, 0], hashes[j, v]) for v in range(12)] + [
                distance(hashes[i, v], hashes[j, 0]) for v in range(12)
            ]
            if min(*d, 256 - d[0]) <= 100:
                expected.add((i, j))
    assert {tuple(p) for p in near.tolist()} == expected and (3, 7) in expected and not crowded.any()
    few, _, full = hash_pairs(hashes, 128, 1)
    assert full.all() and len(few) < len(near) + 40
    assert {(i, i + 20) for i in range(20) if i not in (3, 7)} <= {tuple(p) for p in few.tolist()}


def test_embedding_pairs_against_brute_force(monkeypatch):
    monkeypatch.setattr("pretrain.dedup.neighbours._BLOCK", 7)
    vectors = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs, crowded = embedding_pairs(vectors, 0.8, 30)
    similar = np.round(vectors @ vectors.T, 5)
    assert {tuple(p) for p in pairs.tolist()} == {
        (i, j) for i in range(30) for j in range(i + 1, 30) if similar[i, j] >= 0.8
    }
    assert not crowded.any() and embedding_pairs(vectors, 0.5, 1)[1].any()


def rows() -> tuple[list[str], list[np.ndarray]]:
    pictures = {
        "a-film": film(0), "a-again": film(0).copy(), "a-jpeg": jpeg(film(0)), "a-crop": film(0)[10:-4, 6:-10],
        "a-mirror": np.ascontiguousarray(film(0)[:, ::-1]), "a-negative": 255 - film(0), "b-film": film(1),
        "c-film": film(2), "black-1": np.zeros((64, 64), np.uint8), "black-2": np.zeros((64, 64), np.uint8),
    }  # fmt: skip
    return list(pictures), list(pictures.values())


def decide(folder, size=100, reverse=False, workers=1, encode=None, how=USUAL):
    keys, pictures = rows()
    table = image_signatures(pictures, encode).add_column(0, "key", pa.array(keys))
    table = table.add_column(1, "order", pa.array([0 if k.endswith("film") else 1 for k in keys]))
    (folder / "signatures").mkdir(parents=True)
    table = table.take(list(range(len(table)))[:: -1 if reverse else 1])
    for start in range(0, len(table), size):
        write_parquet(table.slice(start, size), folder / "signatures" / f"p{start}.parquet")
    return image_duplicates(folder / "signatures", folder / "work", how, workers=workers)


def test_the_whole_step_and_that_parts_do_not_matter(tmp_path):
    decided = decide(tmp_path / "one")
    found = {r["key"]: r for r in pq.read_table(decided).to_pylist()}
    assert {k: (r["relation"], r["keeper"]) for k, r in found.items()} == {
        "a-film": ("unique", "a-film"), "a-again": ("same pixels", "a-film"), "a-jpeg": ("same exposure", "a-film"),
        "a-crop": ("same exposure", "a-film"), "a-mirror": ("unique", "a-mirror"), "a-negative": ("negative", "a-film"),
        "b-film": ("unique", "b-film"), "c-film": ("unique", "c-film"), "black-1": ("blank", "black-1"),
        "black-2": ("blank", "black-2"),
    }  # fmt: skip
    assert found["a-mirror"]["cluster"] == "a-mirror" and found["a-mirror"]["group"] == "a-film"
    counts = summary(decided)
    assert counts["pairs of mirror images"] >= 1 and counts["blank"] == 2
    other = decide(tmp_path / "many", size=3, reverse=True, workers=2)
    assert decided.read_bytes() == other.read_bytes()
    assert decided.with_name(PAIRS).read_bytes() == other.with_name(PAIRS).read_bytes()


def test_verified_chunks_are_not_done_again_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr("pretrain.dedup.image_run._CHUNK", 2)
    whole = decide(tmp_path / "whole").read_bytes()
    real, calls = align.compare, []

    def dying(a, b):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(a, b)

    monkeypatch.setattr(align, "compare", dying)
    with pytest.raises(KeyboardInterrupt):
        decide(tmp_path / "killed")
    chunks = {p.name: os.stat(p).st_mtime_ns for p in (tmp_path / "killed/work").glob("verified-*.npy")}
    assert len(chunks) == 2
    folder = tmp_path / "killed"
    decided = image_duplicates(folder / "signatures", folder / "work", ImageSettings())
    assert decided.read_bytes() == whole
    assert all(os.stat(folder / "work" / name).st_mtime_ns == at for name, at in chunks.items())


def test_an_embedding_proposes_and_pixels_still_decide(tmp_path):
    def blind(pictures):  # calls everything the same
        return np.ones((len(pictures), 3))

    found = pq.read_table(decide(tmp_path, encode=blind, how=ImageSettings(radius=0))).to_pylist()
    assert {r["key"] for r in found if r["keeper"] == "a-film"} == {
        "a-film",
        "a-again",
        "a-jpeg",
        "a-crop",
        "a-negative",
    }
    with pytest.raises(DedupError, match="encoder gave"):
        image_signatures([film(0)], lambda pictures: np.ones((2, 3)))


def test_pictures_that_are_none_are_refused():
    with pytest.raises(DedupError, match="uint8"):
        image_signatures([np.zeros((4, 4), np.uint16)])
    assert pixel_hash(np.zeros((2, 8), np.uint8)) != pixel_hash(np.zeros((4, 4), np.uint8))
    with pytest.raises(DedupError, match="proves nothing"):
        ImageSettings(agreement=0.1)


def test_parts_without_rows_are_no_reason_to_fail(tmp_path):
    table = image_signatures([film(0)]).add_column(0, "key", pa.array(["a"]))
    for name, rows in (("empty", [0]), ("both", [0, 1])):
        folder = tmp_path / name
        folder.mkdir()
        for length in rows:
            write_parquet(table.slice(0, length), folder / f"p{length}.parquet")
        decided = pq.read_table(image_duplicates(folder, tmp_path / f"{name}-work", USUAL)).to_pylist()
        assert [row["key"] for row in decided] == ["a"] * max(rows)


@pytest.mark.slow
def test_the_tower_of_a_checkpoint_embeds_pictures(tmp_path):
    from pretrain.dedup.encoders import checkpoint_encoder
    from vlm.build import new_model, save

    save(*new_model(decoder="tiny", tower="test", max_pixels=128 * 128), tmp_path / "model")
    encode = checkpoint_encoder(tmp_path / "model", batch=2)
    pictures = [film(0), film(1)[:200], np.repeat(film(2)[:, :, None], 3, axis=2)]
    vectors = np.asarray(image_signatures(pictures, encode)["embedding"].to_pylist())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    alone = np.asarray(image_signatures(pictures[1:2], encode)["embedding"].to_pylist())
    assert alone[0] == pytest.approx(vectors[1], abs=1e-4) and abs(vectors[0] - vectors[1]).max() > 1e-3
    assert encode([]).shape == (0, vectors.shape[1])
