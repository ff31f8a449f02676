"""PubMed citations and PMC articles (JATS) as text passages and figures with captions.

Read are PubMed sets (``PubmedArticleSet``), PMC articles, one a file or many (``article``), and the Open-i report sets
(``eCitation``), as files or folders, plain or gzipped. Figures count when their files lie beside the XML. Retracted
papers and notices of retraction are dropped by reason: a model should not learn from them.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from pretrain.importing.article_records import Damaged, article_records
from pretrain.importing.article_text import local, paragraphs, plain
from pretrain.importing.documents import (
    DEFAULT_PASSAGES,
    Document,
    DocumentFolder,
    Figure,
    Passages,
    document_studies,
)
from pretrain.importing.study import Drop, Study

_XLINK = "{http://www.w3.org/1999/xlink}href"
_PICTURES = ("", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".gif", ".JPG", ".PNG")
_CREATIVE = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)(?:/(\d(?:\.\d)?))?", re.I)
_RETRACTED = frozenset(("retracted publication", "retraction of publication", "retraction notice", "retraction"))
_LICENCE_LENGTH = 200


class PubMedSource(DocumentFolder):
    """Articles of XML files; one article gives its passages and figures.

    Args:
        path: an XML file or a folder of them, at any depth.
        passages: how long texts are cut.
        body: False keeps title and abstract alone.
        licence: of articles that state none.
        salt: keeps cluster keys from being guessed.

    Raises:
        ImportSourceError: nothing is there.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        passages: Passages = DEFAULT_PASSAGES,
        body: bool = True,
        licence: str = "unknown",
        name: str | None = None,
        simulated: bool = False,
        salt: str = "",
    ):
        super().__init__(path, "pubmed", passages, licence=licence, name=name, simulated=simulated, salt=salt)
        self.body = body

    def settings(self) -> str:
        return f"{super().settings()} {self.body}"

    def studies(self, split: str) -> Iterator[Study | Drop]:
        for path in self.files:
            place = path.relative_to(self.root).as_posix()
            none = True
            for record in article_records(path):
                none = False
                if isinstance(record, Damaged):
                    yield Drop(f"{place}, byte {record.offset}", record.reason)
                    continue
                offset, element = record
                document = self._document(element, f"{place}, byte {offset}", path.parent)
                if isinstance(document, Drop):
                    yield document
                else:
                    yield from document_studies(document, self.passages, self.salt)
            if none:
                yield Drop(place, "no article in this file")

    def _document(self, record: Element, where: str, folder: Path) -> Document | Drop:
        if local(record) == "article":
            return jats_document(record, where, folder, self.body)
        return citation_document(record, where)


def citation_document(record: Element, where: str) -> Document | Drop:
    """Title and abstract of a PubMed citation, the labels of a structured abstract as headings."""
    kinds = {plain(kind).lower() for kind in record.iter("PublicationType")}
    if kinds & _RETRACTED:
        return Drop(where, "retracted")
    texts = [
        f"{label.capitalize()}\n{text}" if (label := part.get("Label", "").strip()) else text
        for part in record.iterfind(".//Article/Abstract/AbstractText")
        if (text := plain(part))
    ]
    if not texts:
        return Drop(where, "no abstract")
    report = local(record) == "eCitation"
    identity = record.find("uId") if report else None
    pmid = plain(record.find(".//MedlineCitation/PMID"))
    ids = {kind: plain(i) for i in record.iterfind("./PubmedData/ArticleIdList/ArticleId") if (kind := i.get("IdType"))}
    key = (identity.get("id", "") if identity is not None else "") or (f"pmid-{pmid}" if pmid else _hashed(texts))
    known = {"pmid": pmid, "pmcid": ids.get("pmc", ""), "doi": ids.get("doi", "")}
    return Document(
        key=key,
        where=where,
        paragraphs=("\n\n".join(text.replace("\n", ": ") for text in texts),) if report else tuple(texts),
        title="" if report else plain(record.find(".//Article/ArticleTitle")),
        licence=licence_id(plain(record.find("licenseURL"))),
        kind="report" if report else "article",
        extra={name: value for name, value in known.items() if value},
    )


def jats_document(record: Element, where: str, folder: Path, body: bool = True) -> Document | Drop:
    """Title, abstract, body and figures of a PMC article, under the licence that the article itself states."""
    strip_namespaces(record)
    meta = record.find("front/article-meta")
    if meta is None:
        return Drop(where, "article without front matter")
    if (record.get("article-type") or "").lower() in _RETRACTED:
        return Drop(where, "retracted")
    ids = {i.get("pub-id-type", ""): plain(i) for i in meta.iterfind("article-id")}
    pmcid = ids.get("pmc") or ids.get("pmcid") or ids.get("pmcaid") or ""
    pmcid = f"PMC{pmcid}" if pmcid.isdigit() else pmcid
    known = {"pmid": ids.get("pmid", ""), "pmcid": pmcid, "doi": ids.get("doi", "")}
    texts: list[str] = []
    for abstract in meta.iterfind("abstract"):
        if abstract.get("abstract-type") in (None, "", "summary", "structured"):
            texts += paragraphs(abstract)
    if body:
        texts += paragraphs(record.find("body"))
    figures = tuple(_figures(record, folder)) if body else ()
    if not texts and not figures:
        return Drop(where, "no abstract and no body")
    return Document(
        key=pmcid or (f"pmid-{known['pmid']}" if known["pmid"] else _hashed(texts)),
        where=where,
        paragraphs=tuple(texts),
        figures=figures,
        title=plain(meta.find("title-group/article-title")),
        licence=_licence(meta),
        extra={name: value for name, value in known.items() if value},
    )


def strip_namespaces(record: Element) -> None:
    """MathML and others keep their local names alone, so that they can be left out by name."""
    for element in record.iter():
        if isinstance(element.tag, str) and element.tag.startswith("{"):
            element.tag = local(element)


def _figures(record: Element, folder: Path) -> Iterator[Figure]:
    for figure in record.iter("fig"):
        caption = figure.find("caption")
        title = plain(caption.find("title")) if caption is not None else ""
        said = [plain(p) for p in caption.iterfind("p")] if caption is not None else []
        text = " ".join(part for part in (title, *said) if part)
        graphics = [g for g in figure.iter("graphic") if g.get(_XLINK)]
        image = _beside(folder, graphics[0].get(_XLINK, "")) if len(graphics) == 1 else None
        if text and image is not None:
            yield Figure(image, text, plain(figure.find("label")))


def _beside(folder: Path, name: str) -> Path | None:
    """The picture of that name beside the XML; a name that leads elsewhere is none."""
    if not name or PurePosixPath(name).name != name or "\\" in name or "\0" in name:
        return None
    return next((p for end in _PICTURES if (p := folder / f"{name}{end}").is_file()), None)


def _licence(meta: Element) -> str:
    for found in meta.iterfind("permissions/license"):
        links = [found.get(_XLINK, ""), *(e.get(_XLINK, "") for e in found.iter()), *map(plain, found.iter())]
        for link in links:
            if _CREATIVE.search(link):
                return licence_id(link)
        if text := plain(found):
            return text[:_LICENCE_LENGTH]
        if any(links):
            return next(filter(None, links))[:_LICENCE_LENGTH]
    return ""


def licence_id(text: str) -> str:
    """The SPDX id of a Creative Commons address, else the text itself.

    >>> licence_id("https://creativecommons.org/licenses/by-nc/4.0/")
    'CC-BY-NC-4.0'
    """
    match = _CREATIVE.search(text)
    if match is None:
        return text[:_LICENCE_LENGTH]
    family, kind, version = match[1].lower(), match[2].upper(), match[3]
    if family == "publicdomain":
        return "CC0-1.0" if kind == "ZERO" else "public domain"
    return f"CC-{kind}-{version}" if version else f"CC-{kind}"


def _hashed(texts: list[str]) -> str:
    return "text-" + hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
