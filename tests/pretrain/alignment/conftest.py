"""The chest tree of the tagging tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tagging"))

from chest_entities import build_chest_tree

from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree


@pytest.fixture(scope="session")
def chest_tree(tmp_path_factory) -> Tree:
    return build_chest_tree(tmp_path_factory.mktemp("met") / "tree")


@pytest.fixture(scope="session")
def tagger(chest_tree) -> Tagger:
    return Tagger.of(chest_tree)
