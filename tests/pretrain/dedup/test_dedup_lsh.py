"""Bands and rows: the formula by hand, the choice, and that Daft's MinHash is what the formula needs."""

import numpy as np
import pytest

from pretrain.dedup.errors import DedupError
from pretrain.dedup.lsh import band_hashes, candidate_probability, choose_bands
from pretrain.dedup.text import TextSettings, minhash


def test_the_s_curve_by_hand():
    # s = 1/2, r = 2: a band agrees with 1/4, two bands miss with (3/4)^2 = 9/16
    assert candidate_probability(0.5, bands=2, rows=2) == pytest.approx(7 / 16)
    assert candidate_probability(0.8, bands=1, rows=3) == pytest.approx(0.512)
    assert candidate_probability(1.0, bands=3, rows=9) == 1.0
    assert candidate_probability(0.0, bands=3, rows=9) == 0.0


def test_the_choice_is_the_most_selective_that_suffices():
    bands, rows = choose_bands(0.8, at_least=0.995, hashes=256)
    assert (bands, rows) == (32, 8)
    assert (
        candidate_probability(0.8, 32, 8) == pytest.approx(1 - (1 - 0.8**8) ** 32)
        and candidate_probability(0.8, 32, 8) >= 0.995
    )
    assert candidate_probability(0.8, 256 // 9, 9) < 0.995
    with pytest.raises(DedupError, match="give more hashes"):
        choose_bands(0.3, at_least=0.9999, hashes=4)
    with pytest.raises(DedupError, match="threshold"):
        choose_bands(0.0)


def test_band_hashes_agree_exactly_where_a_whole_band_does():
    signatures = np.array([[1, 2, 3, 4], [1, 2, 9, 4], [2, 1, 3, 4]], np.uint32)
    hashes = band_hashes(signatures, bands=2, rows=2)
    assert hashes[0, 0] == hashes[1, 0] != hashes[2, 0]
    assert hashes[0, 1] == hashes[2, 1] != hashes[1, 1]
    same = band_hashes(np.array([[5, 6, 5, 6]], np.uint32), 2, 2)
    assert same[0, 0] != same[0, 1]  # the same values in another band are another bucket


@pytest.mark.parametrize("common", [10, 40, 80, 95])
def test_dafts_minhash_estimates_jaccard_without_bias(common):
    settings = TextSettings(ngram=1)
    texts = []
    for trial in range(60):
        shared = [f"s{trial}x{i}" for i in range(common)]
        rest = (100 - common) // 2
        for side in "ab":
            texts.append(" ".join(shared + [f"{side}{trial}x{i}" for i in range(rest)]))
    values = minhash(texts, settings)
    true = common / (common + 2 * ((100 - common) // 2))
    estimate = (values[0::2] == values[1::2]).mean()
    assert estimate == pytest.approx(true, abs=0.02)  # 60 pairs x 256 values: deviation 0.004 at most
