import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from med_entity_tree.coding import END, ENDS, TOKEN, WordCoder
from med_entity_tree.names import normal_word
from med_entity_tree.tagger import Patterns, Tagger, patterns_of
from med_entity_tree.trie import PhraseTrie


@pytest.fixture(scope="module")
def tagger(small_tree):
    return Tagger.of(small_tree)


def found(tagger, text):
    return [(text[start:end], entity) for start, end, entity in tagger.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Small pleural effusions.", [("pleural effusions", "HP:11")]),
        ("PLEURAL\nEFFUSION", [("PLEURAL\nEFFUSION", "HP:11")]),
        ("pleural-effusion", [("pleural-effusion", "HP:11")]),
        ("pneumothoraces", [("pneumothoraces", "HP:10")]),
        ("left lower lobe pneumonia", [("left lower lobe", "UBERON:21"), ("pneumonia", "MONDO:4")]),
        ("lobar pneumonia", [("lobar pneumonia", "MONDO:5")]),  # the longest, not pneumonia
        ("bronchopneumonia hydropneumothorax", []),  # never inside a word
        ("the pleural. Effusion is", [("pleural", "UBERON:22")][:0]),  # never across sentences
        ("a pleural, effusion", [("pleural, effusion", "HP:11")]),
        ("CT scan and CT", [("CT scan", "DCM:CT"), ("CT", "DCM:CT")]),
        ("左侧胸腔积液,未见气胸", [("胸腔积液", "HP:11"), ("气胸", "HP:10")]),
        ("", []),
    ],
)
def test_what_is_found(tagger, text, expected):
    assert found(tagger, text) == expected


def test_an_abbreviation_needs_an_explanation(tagger):
    assert found(tagger, "PE was suspected") == []  # two candidates
    assert found(tagger, "pulmonary embolism (PE); no new PE") == [
        ("pulmonary embolism", "MONDO:2"),
        ("PE", "MONDO:2"),
        ("PE", "MONDO:2"),
    ]
    assert found(tagger, "known COPD") == [("COPD", "MONDO:1")]
    assert found(tagger, "she said pe and copd") == []  # written as an abbreviation or not at all


def test_a_negated_finding_is_a_mention_that_does_not_count(tagger):
    text = "No pneumothorax. Small pleural effusion. History of pneumonia."
    said = {m.entity: m.assertion for m in tagger.tag(text)}
    assert said["HP:10"].polarity == "negated"
    assert said["HP:11"].present and not said["HP:10"].present and not said["MONDO:4"].present
    assert tagger.present(text) == ["HP:11"]


def test_a_phrase_that_is_read_over_names_nothing_and_hides_what_it_holds():
    tagger = Tagger(Patterns({("heart", "size"): "", ("heart",): "UBERON:1", ("size", "of", "it"): "HP:1"}))
    assert found(tagger, "Heart size of it; the heart.") == [("heart", "UBERON:1")]
    assert tagger.find_many(["heart size", "", "heart"]) == [[], [], [(0, 5, "UBERON:1")]]
    assert all(patterns_of([]).names[key] == "" for key in patterns_of([]).names) and patterns_of([]).names


def test_the_name_of_several_entities_goes_to_the_one_that_prefers_it(small_tree):
    patterns = patterns_of(small_tree)
    assert patterns.abbreviations["PE"] == ["MONDO:2", "MONDO:3"]
    assert patterns.names["respiratory", "system", "disorder"] == "MET:respiratory"
    assert all(len("".join(key)) > 1 for key in patterns.names)


def by_hand(patterns: Patterns, text: str) -> list[tuple[int, int, str]]:
    """The longest name at each place, by trying every length: what the automaton must find (without abbreviations)."""
    tokens = list(TOKEN.finditer(text))
    words = [None if t.group()[0] in ENDS else normal_word(t.group()) for t in tokens]
    made, at, longest = [], 0, max(map(len, patterns.names))
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            entity = patterns.names.get(tuple(words[at : at + length]))
            if entity is not None:
                made.append((tokens[at].start(), tokens[at + length - 1].end(), entity))
                at += length
                break
        else:
            at += 1
    return made


PIECES = [
    *"""pleural effusion effusions Pneumothorax lobar pneumonia lower lobe of left lung lungs . , ; 气胸 胸 水
the 3.5 cm nodule É""".split(),
    "\n\n",
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from([" ", "", "-"]))
def test_the_automaton_finds_what_trying_every_length_finds(tagger, small_tree, pieces, joint):
    text = joint.join(pieces)
    assert tagger.find(text) == by_hand(patterns_of(small_tree), text)


@given(st.text(max_size=200))
def test_any_text_is_taken(tagger, text):
    last = 0
    for mention in tagger.tag(text):
        assert last <= mention.start < mention.end <= len(text)
        last = mention.end


def test_many_spellings_do_not_grow_the_memory_without_end(small_tree):
    tagger = Tagger.of(small_tree)
    tagger._coder._most = 50
    for number in range(500):
        tagger.find(f"pleural effusion x{number}")
        assert tagger._coder.known <= 60
    assert found(tagger, "pleural effusion") == [("pleural effusion", "HP:11")]


def test_a_batch_finds_what_each_text_alone_finds(tagger):
    texts = [
        "pleural",
        "effusion",
        "",
        "\n",
        "no pneumothorax.\n",
        "\n effusion",
        "pulmonary embolism",
        "PE",
        "气",
        "胸",
        "a\x1eb nodule",
    ]
    assert tagger.find_many(texts) == [tagger.find(text) for text in texts]
    assert tagger.tag_many(texts) == [tagger.tag(text) for text in texts]
    assert [tagger.find(text) for text in ("pleural", "effusion", "PE", "气", "胸")] == [[], [], [], [], []]


ALPHABET = "aZé0 9.'-;:!?。；\n\t\r\u2028\x1f气胸αβ\U0001f600×"


@settings(max_examples=1000)
@given(st.text(alphabet=ALPHABET, max_size=40) | st.text(max_size=40).filter(lambda t: "\x1e" not in t))
def test_the_compiled_scan_sees_the_tokens_of_the_regular_expression(text):
    coder = WordCoder({}, {})
    codes, starts, ends = coder(text)
    expected = [match.span() for match in TOKEN.finditer(text)]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == expected
    assert [code == END for code in codes.tolist()] == [text[a] in ENDS for a, _ in expected]


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=200))
def test_a_spelling_keeps_its_character_while_the_table_grows(spellings):
    words = {word: 1000 + number for number, word in enumerate(sorted(set(spellings)))}
    coder = WordCoder(words, {})
    coder._forget(4)
    for _ in range(2):
        codes, *_ = coder(" ".join(spellings))
        assert codes.tolist() == [words.get(normal_word(word), 1) for word in spellings]


def longest_by_trying(phrases, codes):
    """Leftmost-longest, by comparing every phrase at every place."""
    found, at = [], 0
    while at < len(codes):
        fits = [n for n, p in enumerate(phrases) if codes[at : at + len(p)] == p]
        if fits:
            best = max(fits, key=lambda n: (len(phrases[n]), -n))
            found.append((at, at + len(phrases[best]), best))
            at += len(phrases[best])
        else:
            at += 1
    return found


@settings(max_examples=500)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), max_size=30), st.lists(st.integers(0, 5), max_size=60)
)
def test_the_trie_finds_what_comparing_every_phrase_finds(phrases, codes):
    found = PhraseTrie(phrases, 6).find(np.array(codes, np.uint32))
    assert list(zip(*(column.tolist() for column in found), strict=True)) == longest_by_trying(phrases, codes)
