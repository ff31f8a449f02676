"""Each connector: counts, order of tokens, independence of padding, errors."""

import pytest
import torch

from connectors import CONNECTORS, ConnectorError, build_connector, resolve_connector_config
from connectors.base import merged_order
from connectors.perceiver import position_2d

KINDS = [
    {"type": "patch_merge_mlp"},
    {"type": "patch_merge_mlp", "merge_size": 4, "hidden_width": 24},
    {"type": "linear"},
    {"type": "linear", "merge_size": 2, "bias": False},
    {"type": "perceiver", "num_queries": 6, "heads": 2},
    {"type": "perceiver", "num_queries": 1, "heads": 2, "width": 24, "depth": 1, "position": "none"},
]


@pytest.mark.parametrize("config", KINDS)
def test_tokens_are_as_many_as_promised_and_ignore_padding(config):
    torch.manual_seed(0)
    connector = build_connector(config, 16, 20)
    grids = [(4, 8), (8, 4), (12, 4)]
    longest = max(h * w for h, w in grids)
    features = torch.randn(3, longest, 16)
    counts = [connector.num_tokens(*grid) for grid in grids]
    out = connector(features, grids)
    assert out.shape == (sum(counts), 20)
    noise = features.clone()
    for image, (height, width) in enumerate(grids):
        noise[image, height * width :] = 1e3
    torch.testing.assert_close(connector(noise, grids), out)
    start = 0
    for image, (grid, count) in enumerate(zip(grids, counts)):
        alone = connector(features[image : image + 1, : grid[0] * grid[1]], [grid])
        torch.testing.assert_close(alone, out[start : start + count], rtol=0, atol=1e-5)
        start += count
    out.sum().backward()
    assert all(p.grad is not None for p in connector.parameters())


def test_merged_order_by_hand():
    """A 2 x 4 grid in 2 x 2 squares: patches 0 1 / 4 5, then 2 3 / 6 7; the second image starts after the padding."""
    assert merged_order([(2, 4)], 10, 2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    assert merged_order([(2, 2), (2, 2)], 10, 2).tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert merged_order([(2, 3)], 6, 1).tolist() == list(range(6))


def test_grids_that_squares_do_not_tile_are_refused():
    with pytest.raises(ConnectorError, match="3 x 4 patches"):
        build_connector({"type": "patch_merge_mlp"}, 8, 8)(torch.zeros(1, 12, 8), [(3, 4)])


def test_perceiver_tells_places_apart_only_with_positions():
    torch.manual_seed(0)
    features = torch.randn(1, 16, 16)
    shuffled = features[:, torch.randperm(16)]
    for position, same in (("2d", False), ("none", True)):
        connector = build_connector({"type": "perceiver", "num_queries": 4, "heads": 2, "position": position}, 16, 16)
        with torch.no_grad():
            moved = (connector(features, [(4, 4)]) - connector(shuffled, [(4, 4)])).abs().max()
        assert (moved < 1e-5) == same, position


def test_positions_mean_the_same_place_at_every_resolution():
    """The centre patch of a 3 x 3 grid and of a 9 x 9 grid lie at the same place, the corners do not."""
    coarse, fine = position_2d([(3, 3), (9, 9)], 81, 16, torch.device("cpu"))
    torch.testing.assert_close(coarse[4], fine[40])
    assert (coarse[0] - fine[0]).abs().max() > 0.1
    assert coarse[9:].abs().max() == 0


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"type": "qformer"}, "unknown connector 'qformer': choose one of patch_merge_mlp, linear, perceiver"),
        ({"type": "linear", "queries": 3}, "'linear' has no option 'queries': it takes merge_size, bias"),
        ({"type": "perceiver", "position": "1d"}, "position must be '2d' or 'none'"),
        ({"type": "perceiver", "heads": 5}, "must divide by its 5 heads"),
        ({"type": "perceiver", "num_queries": 0}, "1 or more"),
        ({"merge_size": 0}, "merge_size must be 1 or more"),
    ],
)
def test_bad_configuration_is_met_with_a_sentence(config, sentence):
    with pytest.raises(ConnectorError, match=sentence):
        build_connector(config, 16, 16)


def test_configuration_is_filled_in():
    assert set(CONNECTORS) == {"patch_merge_mlp", "linear", "perceiver"}
    assert resolve_connector_config(None) == {
        "type": "patch_merge_mlp",
        "merge_size": 2,
        "hidden_width": None,
        "bias": True,
    }
