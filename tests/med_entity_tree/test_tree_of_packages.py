"""The tree of the installed ontologies: its size, its order, and that its sources say what they are read to say."""

import json
from collections import Counter

import pytest

from med_entity_tree.build import build_tree
from med_entity_tree.entity import LEVELS, ROOTS
from med_entity_tree.packages import ONTOLOGIES, report_names
from med_entity_tree.skeleton import anchors, check
from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import Tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Tree:
    folder = tmp_path_factory.mktemp("met") / "packages"
    build_tree(folder)
    return Tree(folder)


def test_it_is_large_and_in_order(tree):
    assert len(tree) >= 150_000
    assert tree.manifest["entities"] == len(tree) and tree.manifest["synonyms"] >= 100_000
    assert check(tree.entities) == []  # no orphan, no wrong level, no node without a source
    concepts = [source for entity in tree for source in entity.sources]
    assert (
        len(concepts)
        == len(set(concepts))
        == sum(s["concepts"] for s in tree.manifest["sources"].values())
        + len([c for c in concepts if c.startswith("MET:")])
    )
    levels = {root: {e.level for e in tree if e.root == root} for root in ROOTS}
    assert levels == {root: set(range(LEVELS + 1)) for root in ROOTS}
    for entity in tree:  # no cycle: a walk up ends at the root in as many steps as the level says
        assert len(tree.ancestors(entity.id)) == entity.level


def test_every_branch_of_the_first_level_is_filled(tree):
    """What an anchor stands for was recognised: its concepts are part of it, and entities hang below it."""
    for anchor in anchors():
        assert tree.children(anchor.id), anchor.name
        assert set(anchor.same) <= set(tree[anchor.id].sources), anchor.name


def test_every_source_is_there_with_its_version_and_licence(tree):
    sources = tree.manifest["sources"]
    assert {o.source for o in ONTOLOGIES} == set(sources)
    assert all(row["version"] and row["licence"] for row in sources.values())
    assert all(row["concepts"] > 1000 for source, row in sources.items() if source != "REPORT")
    assert sources["ICD10CM"]["concepts"] + tree.manifest["dropped"]["ICD10CM: id twice"] == 98_505


@pytest.mark.parametrize(
    ("name", "entity", "holds", "below"),
    [
        ("pneumothorax", "MONDO:0002076", {"HP:0002107", "MESH:D011030"}, "MET:respiratory"),
        ("Cardiomegaly", "HP:0001640", {"ICD10CM:I51.7", "MESH:D006332"}, "MET:finding-cardiovascular"),
        ("tuberculosis", "MONDO:0018076", {"ICD10CM:A15-A19", "MESH:D014376"}, "MET:infection"),
        ("scoliosis", "MONDO:0005392", {"HP:0002650", "ICD10CM:M41"}, "MET:musculoskeletal"),
        ("hiatal hernia", "MONDO:0007721", {"HP:0002036", "MESH:D006551"}, "MET:digestive"),
        ("right upper lobe", "UBERON:0002170", set(), "MET:anatomy-respiratory"),
        ("CT", "DCM:CT", {"MESH:D014057"}, "MET:modality"),
        ("X-ray", "DCM:DX", set(), "MET:modality"),
    ],
)
def test_entities_that_a_radiologist_would_look_up(tree, name, entity, holds, below):
    found = tree.search(name)[0]
    assert found.id == entity and holds <= set(found.sources)
    assert below in [a.id for a in tree.ancestors(entity)]


def test_the_graph_knows_what_the_annotations_say(tree):
    path = tree.graph.shortest_path(tree["MONDO:0007947"].id, tree["HP:0002107"].id, frozenset({"has_finding"}))
    assert path is not None and [s.edge.source for s in path] == ["HPOA"]  # Marfan syndrome has pneumothorax
    kinds = Counter(edge.kind for edge in tree.edges())
    assert min(kinds[k] for k in ("has_finding", "is_a", "located_in", "seen_on", "predisposes_to")) > 100
    ids = set(tree.entities)
    assert all(e.head in ids and e.tail in ids and e.head != e.tail and e.source for e in tree.edges())


def test_the_chinese_names_all_found_their_entities(tree):
    assert "Chinese names of an entity that is not in the tree" not in tree.manifest["dropped"]
    assert {s.text for s in tree["HP:0002202"].synonyms if s.language == "zh"} >= {"胸腔积液", "胸水"}


def test_a_report_is_tagged_as_a_reader_would(tree):
    text = """INDICATION: Chest pain.

    FINDINGS: The heart is enlarged. There is a small left pleural effusion with adjacent atelectasis. No pneumothorax
    or focal consolidation. Possible right upper lobe nodule.

    IMPRESSION: 1. Cardiomegaly. 2. Pleural effusion."""
    tagger = Tagger.of(tree)
    present = {tree[e].name for e in tagger.present(text)}
    assert {"Pleural effusion", "Atelectasis", "Cardiomegaly"} <= present
    assert not {"pneumothorax", "Consolidation", "Nodule"} & present
    assert "upper lobe of right lung" in {tree[m.entity].name for m in tagger.tag(text)}


@pytest.fixture(scope="module")
def tagger(tree) -> Tagger:
    return Tagger.of(tree)


def test_names_of_reports_went_to_the_entities_that_they_are_written_for(tree):
    for concept in report_names(Counter()):
        found = tree[concept.id]
        assert set(concept.xrefs) <= set(found.sources) and (concept.xrefs or found.id == concept.id), concept.name
        assert set(concept.parents) <= {edge.tail for edge in tree.graph.out[found.id] if edge.kind == "is_a"}


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("Absent lung markings at the right apex.", {"Absent lung markings"}),  # no agenesis of the lung
        ("A small lung nodule.", {"Lung nodule"}),  # no hypoplasia
        ("A small chest tube.", {"Chest Tubes"}),
        ("A small kidney stone.", {"Kidney Calculi"}),
        ("Interstitial markings are prominent.", set()),  # no marking of a fish, and no finding
        ("The heart size is normal. Normal bowel gas pattern.", set()),
        ("Free of air space disease.", set()),
        ("A bone abnormality.", {"Bone"}),  # the place, no disease
        ("A cardiac pacemaker.", {"Artificial Pacemaker"}),  # no sinoatrial node
        ("A left-sided ICD.", set()),  # no impulse control disorder
        ("She was in an MVA.", set()),  # no mevalonic aciduria
        ("A common and localized thing.", set()),
        ("The heart is enlarged.", {"Cardiomegaly"}),
        ("Heart size is mildly enlarged.", {"Cardiomegaly"}),
        ("The lungs are hyperexpanded.", {"Hyperinflated lungs"}),
        ("Mild dextroscoliosis.", {"scoliosis"}),
        ("Emphysematous changes.", {"pulmonary emphysema"}),
        ("Eventration of the right hemidiaphragm.", {"diaphragmatic eventration"}),
    ],
)
def test_a_phrase_is_taken_whole(tree, tagger, text, entities):
    assert {tree[entity].name for entity in tagger.present(text)} == entities


@pytest.mark.slow
def test_it_is_built_in_time_and_memory_and_twice_the_same(tmp_path):
    """With embeddings, as `medvlm met build` does: three minutes, 4 GB, the same bytes (issue 3, line 1)."""
    import subprocess
    import sys
    import time

    took, kilobytes = [], []
    for name in ("one", "two"):
        start = time.monotonic()
        code = (
            "import resource, sys, medvlm\n"
            f"sys.argv = ['medvlm', 'met', 'build', '--out', r'{tmp_path / name}']\n"
            "try:\n    medvlm.main()\n"
            "finally:\n    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        took.append(time.monotonic() - start)
        kilobytes.append(int(run.stderr.split("peak")[-1]))
    for file in ("entities.parquet", "edges.parquet", "merges.parquet", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text("utf-8"))
    assert manifest["encoder"] == "all-MiniLM-L6-v2" and manifest["merges"]["embedding"] > 0
    assert max(kilobytes) < 4 * 1024**2
    assert min(took) < 600  # three minutes on a quiet machine (docs/performance.md); time alone decides no test
