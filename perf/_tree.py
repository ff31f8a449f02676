"""The entity tree that scripts measure with: the folder of --tree, or with --quick one that is built where none is."""

import argparse
import atexit
import shutil
import tempfile
from pathlib import Path

from med_entity_tree.build import build_tree
from med_entity_tree.tree import ENTITIES


def add_options(parser: argparse.ArgumentParser) -> None:
    """--tree and --quick."""
    parser.add_argument("--tree", type=Path, default=Path("runs/met"), help="Folder of `medvlm met build`.")
    parser.add_argument("--quick", action="store_true", help="Little data, to see that it runs.")


def tree_folder(options: argparse.Namespace) -> Path:
    """Folder of the tree. One built for --quick has nothing merged by embedding, and goes when the script ends."""
    if not options.quick or (options.tree / ENTITIES).is_file():
        return options.tree
    folder = Path(tempfile.mkdtemp(prefix="medvlm-tree-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build_tree(folder)
    return folder
