"""A chest tree for the tests of tagging and of what stands on it; what it is made of is in chest_entities.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib: helpers of this folder are found by path

from chest_entities import build_chest_tree

from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree


@pytest.fixture(scope="session")
def chest_tree(tmp_path_factory) -> Tree:
    return build_chest_tree(tmp_path_factory.mktemp("met") / "tree")


@pytest.fixture(scope="session")
def tagger(chest_tree) -> Tagger:
    return Tagger.of(chest_tree)


@pytest.fixture(scope="session")
def package_tree(tmp_path_factory) -> Tree:
    """The tree of all packages (half a minute): for slow tests."""
    from med_entity_tree.build import build_tree

    folder = tmp_path_factory.mktemp("packages") / "tree"
    build_tree(folder)
    return Tree(folder)
