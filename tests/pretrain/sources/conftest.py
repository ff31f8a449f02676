"""One set of simulated studies for all tests of the simulator."""

import pytest

from pretrain.sources.chest import generate_case

SEED = 11


@pytest.fixture(scope="session")
def chest_cases():
    """200 small studies with full-size masks, half of the upright ones with a lateral film."""
    return [generate_case(SEED, k, size=128, lateral_share=0.5, full_masks=True) for k in range(200)]
