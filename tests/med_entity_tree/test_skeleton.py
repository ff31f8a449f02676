from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.build import entity_of_group, merge
from med_entity_tree.concept import Concept
from med_entity_tree.entity import LEVELS, ROOTS
from med_entity_tree.skeleton import Placer, anchors, check, skeleton_concepts


def placed(*concepts: Concept):
    every = [*skeleton_concepts(), *concepts]
    merger = merge(every)
    entities = {group[0].id: entity_of_group(group) for group in merger.groups()}
    Placer(entities, merger.concepts).place()
    assert check(entities) == []
    return entities


def icd(code: str, *parents: str, kind: str = "disease") -> Concept:
    return Concept(f"ICD10CM:{code}", f"name of {code}", "ICD10CM", kind, parents=[f"ICD10CM:{p}" for p in parents])


def test_the_skeleton_stands_alone_with_four_roots_and_no_fault():
    entities = placed()
    assert [e.id for e in entities.values() if e.level == 0] == sorted(f"MET:{root}" for root in ROOTS)
    assert sum(e.level == 1 for e in entities.values()) == len(anchors()) > 60


def test_a_chain_is_folded_at_the_fifth_level():
    chain = [icd("10"), icd("J90-J94", "10"), icd("J93", "J90-J94"), icd("J93.8", "J93")]
    chain += [icd("J93.81", "J93.8"), icd("J93.811", "J93.81"), icd("J93.8111", "J93.811")]
    entities = placed(*chain)
    assert entities["MET:respiratory"].sources[1] == "ICD10CM:10"
    assert [entities[c.id].level for c in chain[1:]] == [2, 3, 4, 5, 5, 5]
    assert {entities[c.id].parent for c in chain[4:]} == {"ICD10CM:J93.8"}
    assert entities["ICD10CM:J93.8111"].placed_by == "ICD10CM, level"


def test_a_root_is_never_left_and_other_roots_are_passed_through():
    lesion = Concept("HP:1", "respiratory sign", "HP", "finding", parents=["HP:0002086"])
    disease = Concept("HP:2", "sign that is a disease", "HP", "finding", parents=["HP:1"])
    mondo = Concept("MONDO:2", "sign that is a disease", "MONDO", "disease", parents=["MONDO:0005087"])
    below = Concept("HP:3", "sign below the disease", "HP", "finding", parents=["HP:2"])
    system = [Concept("HP:0002086", "Abnormality of the respiratory system", "HP", "finding")]
    system += [Concept("MONDO:0005087", "respiratory disease", "MONDO", "disease")]
    entities = placed(*system, lesion, disease, mondo, below)
    assert entities["MONDO:2"].root == "disease" and entities["MONDO:2"].sources == ["MONDO:2", "HP:2"]
    assert entities["HP:3"].root == "finding" and entities["HP:3"].parent == "HP:1"


def test_a_code_keeps_its_icd_parent_and_a_term_without_one_hangs_below_its_nearest_coded_ancestor():
    coded = Concept("MONDO:1", "name of J93", "MONDO", "disease", parents=["MONDO:9"])
    rare = Concept("MONDO:3", "rare pneumothorax", "MONDO", "disease", parents=["MONDO:2"])
    between = Concept("MONDO:2", "kind of pneumothorax", "MONDO", "disease", parents=["MONDO:1"])
    entities = placed(
        icd("10"), icd("J93", "10"), coded, between, rare, Concept("MONDO:9", "other tree", "MONDO", "disease")
    )
    assert entities["MONDO:1"].parent == "MET:respiratory" and entities["MONDO:1"].placed_by == "ICD10CM"
    assert [entities["MONDO:2"].parent, entities["MONDO:3"].parent] == ["MONDO:1", "MONDO:2"]


def test_what_nothing_places_hangs_below_the_name_that_it_ends_with_or_below_other():
    known = Concept("HP:1", "Cardiomegaly", "HP", "finding", parents=["HP:0001626"])
    mild = Concept("RADDICT:mild", "Mild cardiomegaly", "RADDICT", "finding")
    odd = Concept("RADDICT:odd", "Bunny sign", "RADDICT", "finding")
    rare = Concept("MONDO:1", "nameless rarity", "MONDO", "disease")
    heart = Concept("HP:0001626", "Abnormality of the cardiovascular system", "HP", "finding")
    entities = placed(heart, known, mild, odd, rare)
    assert entities["RADDICT:mild"].parent == "HP:1" and entities["RADDICT:mild"].placed_by == "name"
    assert entities["RADDICT:odd"].parent == "MET:imaging-finding"
    assert entities["MONDO:1"].parent == "MET:other-disease"


def test_rings_of_parents_are_broken():
    ring = [Concept(f"MONDO:{n}", f"ring {n}", "MONDO", "disease", parents=[f"MONDO:{(n + 1) % 3}"]) for n in range(3)]
    entities = placed(*ring)
    assert {entities[c.id].root for c in ring} == {"disease"}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60), st.sets(st.integers(0, 30), max_size=4)
)
def test_any_hierarchy_becomes_a_tree_of_five_levels(pairs, under_a_system):
    """Rings, several parents, missing ones: ``check`` finds no fault and every entity has a place."""
    parents: dict[int, list[str]] = {n: [] for n in range(31)}
    for child, parent in pairs:
        parents[child].append(f"MONDO:{parent}")
    for n in under_a_system:
        parents[n].append("MONDO:0005087")
    concepts = [Concept(f"MONDO:{n}", f"thing number{n}x", "MONDO", "disease", parents=p) for n, p in parents.items()]
    entities = placed(Concept("MONDO:0005087", "respiratory disease", "MONDO", "disease"), *concepts)
    assert all(1 <= entities[c.id].level <= LEVELS for c in concepts)
