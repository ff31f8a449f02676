import hashlib
import logging
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from med_entity_tree import tagger as tagger_module
from med_entity_tree import tagger_store
from med_entity_tree.errors import OntologyError
from med_entity_tree.tagger import Patterns, Tagger, compile_patterns, patterns_of
from med_entity_tree.tagger_store import RULES, STORED, load, stamp_of, store
from med_entity_tree.tree import DECISIONS, EDGES, ENTITIES, MANIFEST, Tree, write_tree

FILES = (ENTITIES, EDGES, DECISIONS, MANIFEST)
TEXT = "Small pleural effusions. No pneumothorax. PE: pulmonary embolism (PE), CT scan, 左侧胸腔积液"
PIECES = """pleural effusion effusions Pneumothorax lobar pneumonia lower lobe of left lung lungs . , ; 气胸 胸 水 PE CT
scan COPD copd pulmonary embolism no No 3.5 É""".split()


@pytest.fixture
def folder(small_tree, tmp_path) -> Path:
    """A tree that nobody has tagged with."""
    return copied(small_tree, tmp_path / "tree")


@pytest.fixture(scope="module")
def both(small_tree, tmp_path_factory) -> tuple[Tagger, Tagger]:
    """The tagger of the small tree as built and as loaded."""
    folder = copied(small_tree, tmp_path_factory.mktemp("both") / "tree")
    Tagger.of_folder(folder)
    (folder / MANIFEST).unlink()  # without which no tree is read
    return Tagger.of(small_tree), Tagger.of_folder(folder)


def copied(tree: Tree, to: Path) -> Path:
    return shutil.copytree(tree.folder, to, ignore=shutil.ignore_patterns(f"{STORED}*"))


def stored(folder: Path):
    return load(folder / STORED, stamp_of(folder / ENTITIES))


def signed(folder: Path, body: bytes) -> None:
    """Store ``body`` with a stamp and a sum that are right."""
    (folder / STORED).write_bytes(stamp_of(folder / ENTITIES) + hashlib.sha256(body).digest() + body)


@settings(max_examples=300)
@given(
    st.lists(
        st.builds(str.join, st.sampled_from([" ", "", "-"]), st.lists(st.sampled_from(PIECES), max_size=15))
        | st.text(max_size=60),
        max_size=5,
    )
)
def test_a_loaded_tagger_finds_and_tags_what_a_built_one_does(both, texts):
    built, loaded = both
    assert loaded.find_many(texts) == built.find_many(texts)
    assert loaded.tag_many(texts) == built.tag_many(texts)


def test_the_same_tree_is_stored_as_the_same_bytes(folder):
    Tagger.of_folder(folder)
    first = (folder / STORED).read_bytes()
    (folder / STORED).unlink()
    Tagger.of_folder(folder)
    assert (folder / STORED).read_bytes() == first
    assert sorted(p.name for p in folder.iterdir()) == sorted([STORED, *FILES])


def test_a_tree_without_names_is_stored_as_well(tmp_path):
    made = compile_patterns(Patterns())
    store(made, tmp_path / STORED, b"s" * 32)
    again = load(tmp_path / STORED, b"s" * 32)
    assert again is not None and Tagger(again).find(TEXT) == []


def test_a_folder_without_a_tree_is_refused(tmp_path):
    with pytest.raises(OntologyError, match="medvlm met build"):
        Tagger.of_folder(tmp_path)


def renamed(tree: Tree, folder: Path) -> None:
    """Write the tree to ``folder`` with another name for the effusion."""
    entities = list(Tree(tree.folder))
    next(e for e in entities if e.id == "HP:11").name = "Zebra sign"
    write_tree(folder, entities, list(tree.edges()), [], tree.manifest)


def test_another_tree_in_the_folder_is_compiled_anew(small_tree, folder):
    assert Tagger.of_folder(folder).find("zebra sign") == []
    renamed(small_tree, folder)
    for _ in range(2):
        assert Tagger.of_folder(folder).find("zebra sign") == [(0, 10, "HP:11")]


def test_a_tree_that_is_replaced_while_it_is_read_is_not_stored(small_tree, folder, monkeypatch):
    def read_too_early(path):
        tree = Tree(path)
        renamed(small_tree, folder)
        return tree

    monkeypatch.setattr(tagger_module, "Tree", read_too_early)
    Tagger.of_folder(folder)
    assert not (folder / STORED).exists()


@pytest.mark.parametrize("rule", RULES)
def test_a_changed_rule_makes_another_stamp(folder, tmp_path, monkeypatch, rule):
    before = stamp_of(folder / ENTITIES)
    rules = tmp_path / "rules"
    rules.mkdir()
    for name in RULES:
        shutil.copy(Path(tagger_store.__file__).with_name(name), rules)
    monkeypatch.setattr(tagger_store, "files", lambda package: rules)
    assert stamp_of(folder / ENTITIES) == before
    with (rules / rule).open("a") as file:
        file.write("# changed\n")
    assert stamp_of(folder / ENTITIES) != before


def test_every_module_of_the_tagger_is_a_rule_or_known_not_to_be():
    """A module that patterns come to depend on must join RULES; one that only says what spans mean joins the list."""
    script = "import sys, med_entity_tree.tagger; print(*(m for m in sys.modules if m.startswith('med_entity_tree.')))"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    named = {module.partition(".")[2] + ".py" for module in modules}
    deciding = {name for name in named if not name.startswith("scope")} - {"concept.py", "errors.py", "graph.py"}
    assert deciding | {"too_common.tsv", "read_over.tsv"} == set(RULES)


def test_a_file_cut_short_is_made_again(folder):
    Tagger.of_folder(folder)
    whole = (folder / STORED).read_bytes()
    for length in (0, 10, 32, 64, 65, 120, len(whole) // 2, len(whole) - 1):
        (folder / STORED).write_bytes(whole[:length])
        assert stored(folder) is None
        assert Tagger.of_folder(folder).find("pneumothorax") == [(0, 12, "HP:10")]
        assert (folder / STORED).read_bytes() == whole
    (folder / STORED).write_bytes(whole + b"\0")
    assert stored(folder) is None


def test_one_wrong_bit_anywhere_is_seen(folder):
    Tagger.of_folder(folder)
    whole = (folder / STORED).read_bytes()
    random = np.random.default_rng(0)
    for place in (*range(112), *random.integers(112, len(whole), 300).tolist(), len(whole) - 1):
        wrong = bytearray(whole)
        wrong[place] ^= 1 << int(random.integers(8))
        (folder / STORED).write_bytes(wrong)
        assert stored(folder) is None
    Tagger.of_folder(folder)
    assert (folder / STORED).read_bytes() == whole


def no_free_slot(targets: np.ndarray) -> None:
    np.maximum(targets, 1, out=targets)


@pytest.mark.parametrize("harm", [lambda t: np.put(t, 0, -1), lambda t: np.put(t, 0, 1 << 30), no_free_slot])
def test_a_forged_trie_that_a_walk_would_not_come_back_from_is_refused(small_tree, folder, harm):
    made = compile_patterns(patterns_of(small_tree))
    targets = made.trie.arrays.targets.copy()
    harm(targets)
    made.trie.arrays = made.trie.arrays._replace(targets=targets)
    store(made, folder / STORED, stamp_of(folder / ENTITIES))
    assert stored(folder) is None


class Trap:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(folder, tmp_path):
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    (folder / STORED).write_bytes(trap)
    assert stored(folder) is None
    signed(folder, trap)
    assert stored(folder) is None
    signed(folder, np.array([0, 0, 0, 0, 0, len(trap)], np.uint64).tobytes() + trap)
    assert stored(folder) is None
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists()


TAG = """
import resource, sys
from pathlib import Path
from med_entity_tree.tagger import Tagger
folder, most = Path(sys.argv[1]), int(sys.argv[2])
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    (folder / "probe").write_bytes(bytes(2000))
    print("written")
except OSError:
    print("refused")
(folder / "probe").unlink(missing_ok=True)
print(Tagger.of_folder(folder).find(sys.argv[3]))
"""
# Root writes into any folder until it has given up CAP_DAC_OVERRIDE (1) for the programs that it starts.
AS_ANYBODY = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


def tagging(folder: Path, most: int = 0, first: str = "") -> subprocess.Popen:
    """A process that tags TEXT; ``most`` bytes a file, ``first`` a program that starts it."""
    programs = ["-c", first, TAG] if first else ["-c", TAG]
    return subprocess.Popen(
        [sys.executable, *programs, str(folder), str(most), TEXT], stdout=subprocess.PIPE, text=True
    )


def test_a_folder_that_may_only_be_read_is_enough(small_tree, folder):
    folder.chmod(0o555)
    try:
        out, _ = tagging(folder, first=AS_ANYBODY).communicate(timeout=120)
    finally:
        folder.chmod(0o755)
    said, found = out.splitlines()
    if said == "written":
        pytest.skip("this user writes into any folder, and may not give that up")
    assert found == str(Tagger.of(small_tree).find(TEXT)) and not (folder / STORED).exists()


def test_a_full_disk_does_not_stop_a_tagger(small_tree, folder):
    out, _ = tagging(folder, most=1000).communicate(timeout=120)
    assert out.splitlines() == ["refused", str(Tagger.of(small_tree).find(TEXT))]
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)


def test_several_processes_at_once_leave_one_good_file(small_tree, folder):
    running = [tagging(folder) for _ in range(3)]
    found = str(Tagger.of(small_tree).find(TEXT))
    assert [process.communicate(timeout=120)[0].splitlines()[-1] for process in running] == [found] * 3
    assert stored(folder) is not None and not list(folder.glob("*.part"))


def test_something_in_the_way_is_left_alone_and_said_in_the_log(folder, caplog):
    (folder / STORED).mkdir()
    with caplog.at_level(logging.DEBUG, "med_entity_tree.tagger_store"):
        assert Tagger.of_folder(folder).find("pneumothorax") == [(0, 12, "HP:10")]
    assert "not kept" in caplog.text and (folder / STORED).is_dir() and not list(folder.glob(f"{STORED}.*"))
    assert all(record.levelno == logging.DEBUG for record in caplog.records)
