"""Texts of this machine for perf/quality_classifier.py: medical ones, and others, each from a source with a name.

Nothing is downloaded and nothing is copied into the project. A source that is not on a machine is left out, and said.
``made`` marks sources that this file writes itself, by a rule that is told.
"""

# ruff: noqa: E501  (word lists and patterns are not folded)

import ast
import gzip
import hashlib
import re
import subprocess
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

SITE = Path(sysconfig.get_paths()["purelib"])
MOST = 1500  # texts of a source
_SIZES = (60, 1200)  # characters


@dataclass(frozen=True)
class Origin:
    """A source of texts; ``medical`` is the label of all of them."""

    name: str
    medical: bool
    what: str
    texts: tuple[str, ...]
    made: bool = False


def reports() -> Iterator[str]:
    from pretrain.importing.pubmed import PubMedSource
    from pretrain.importing.study import Study

    with tempfile.TemporaryDirectory() as folder:
        archive = SITE / "torchxrayvision/data/NLMCXR_reports.tgz"
        subprocess.run(["tar", "xzf", archive, "-C", folder], check=True)
        for study in PubMedSource(folder).studies("train"):
            if isinstance(study, Study):
                yield study.messages[0]["content"]


def definitions(name: str) -> Callable[[], Iterator[str]]:
    def read() -> Iterator[str]:
        from med_entity_tree.packages import ONTOLOGIES

        ontology = next(o for o in ONTOLOGIES if o.source == name)
        for concept in ontology.read(Counter()):
            if concept.definition:
                yield re.sub(r"\s*\[[^\]]*\]\s*$", "", concept.definition).strip('" ')

    return read


def icd_notes() -> Iterator[str]:
    import simple_icd_10_cm as icd

    for code in icd.get_all_codes():
        notes = [
            *icd.get_includes(code),
            *icd.get_inclusion_term(code),
            *icd.get_excludes1(code),
            *icd.get_excludes2(code),
        ]
        if len(notes) >= 2:
            name = re.sub(r"\s*\([A-Z0-9]{3}(?:-[A-Z0-9]{3})?\)$", "", icd.get_description(code))
            yield f"{name}. {'; '.join(notes)}."


def readmes() -> Iterator[str]:
    for path in sorted(SITE.glob("*.dist-info/METADATA")):
        text = path.read_text(encoding="utf-8", errors="ignore").partition("\n\n")[2]
        yield from blocks(text)


def licences() -> Iterator[str]:
    for path in sorted(
        p for p in SITE.glob("*.dist-info/**/*") if re.match(r"(licen[cs]e|copying|notice)", p.name, re.I)
    ):
        if path.is_file():
            yield from blocks(path.read_text(encoding="utf-8", errors="ignore"))


def docstrings(*packages: str) -> Callable[[], Iterator[str]]:
    def read() -> Iterator[str]:
        for package in packages:
            for path in sorted((SITE / package).rglob("*.py")):
                try:
                    tree = ast.parse(path.read_text(encoding="utf-8"))
                except (SyntaxError, ValueError):
                    continue
                for node in ast.walk(tree):
                    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) and (
                        said := ast.get_docstring(node)
                    ):
                        yield from blocks(said)

    return read


def code() -> Iterator[str]:
    for package in ("requests", "networkx", "jinja2", "httpx", "rich", "sympy/core", "PIL", "aiohttp"):
        for path in sorted((SITE / package).rglob("*.py")):
            lines = path.read_text(encoding="utf-8", errors="ignore").split("\n")
            for start in range(40, len(lines) - 20, 60):
                yield "\n".join(lines[start : start + 18])


def manual_pages(language: str = "") -> Callable[[], Iterator[str]]:
    """Paragraphs of man pages; ``language`` as in /usr/share/man/de, "" for English."""

    def read() -> Iterator[str]:
        for path in sorted(Path("/usr/share/man", language).glob("man[1358]/*.gz"))[::4]:
            try:
                roff = gzip.decompress(path.read_bytes()).decode("utf-8")
            except (OSError, ValueError):
                continue
            text = re.sub(r"^[.'](?:PP|P|LP|SH|SS|TP|IP|br|sp)\b.*$", "", roff, flags=re.M)
            text = re.sub(r"^[.'](?:[BIR]{1,2}|SM)\s+", "", text, flags=re.M)
            kept = "\n".join(line for line in text.split("\n") if not line.startswith((".", "'")))
            yield from blocks(re.sub(r"\\f[BIRP]|\\f\(..|\\[-&]|\\\(..", "", kept))

    return read


def package_descriptions() -> Iterator[str]:
    status = Path("/var/lib/dpkg/status").read_text(encoding="utf-8")
    for found in re.finditer(r"^Description: (.+)\n((?: .*\n)*)", status, re.M):
        yield " ".join((found[1] + ". " + found[2].replace("\n .", "\n")).split())


def fortunes() -> Iterator[str]:
    packed = sorted(Path("/var/cache/apt/archives").glob("fortunes*.deb"))
    with tempfile.TemporaryDirectory() as folder:
        for deb in packed:
            subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
        for path in sorted(Path(folder, "usr/share/games/fortunes").rglob("*")):
            if path.is_file() and not path.suffix:
                yield from (
                    " ".join(p.split()) for p in path.read_text(encoding="utf-8", errors="ignore").split("\n%\n")
                )


def html_pages() -> list[Path]:
    roots = [Path("/usr/share/doc/nodejs"), Path("/usr/lib/node_modules/npm/docs"), Path("/usr/share/doc/libxslt1-dev")]
    rust = Path.home() / ".rustup/toolchains/stable-x86_64-unknown-linux-gnu/share/doc/rust/html"
    found = [p for root in roots for p in sorted(root.rglob("*.html"))]
    return found + [p for part in ("book", "cargo", "reference") for p in sorted((rust / part).rglob("*.html"))]


def navigation() -> Iterator[str]:
    """Menus of real pages: the texts of links, a line each, in runs of a menu's length."""
    from lxml import html

    for path in html_pages():
        links = [" ".join(a.text_content().split()) for a in html.parse(str(path)).iter("a")]
        links = [link for link in dict.fromkeys(links) if link]
        for start in range(0, min(len(links), 120) - 12, 24):
            yield "\n".join(links[start : start + 24])


def web_texts() -> Iterator[str]:
    """Main texts of the same pages."""
    from pretrain.importing.page_reader import read_page

    for path in html_pages()[::3]:
        yield from read_page(path).get("paragraphs", ())


def shuffled() -> Iterator[str]:
    """Definitions with their words in another order: the right words, no text."""
    for text in definitions("MONDO")():
        words = text.split()
        Random(text).shuffle(words)
        yield " ".join(words)


def misread() -> Iterator[str]:
    """Definitions as a bad scan reads them: one letter in five replaced or lost, blanks out of place."""
    for text in definitions("MONDO")():
        draw = Random(text)
        letters = [c if draw.random() > 0.2 else draw.choice("il1|rnm0Oc e.,;~^") for c in text]
        yield "".join(letters)


_MARKETING = (
    "{brand} {device} sets a new standard in {field}. Request a free demo today and see how leading hospitals save up to {n}% with our award-winning platform.",
    "Looking for affordable {field}? {brand} Clinic offers {service} from only ${n}99. Book online now and get {n}% off your first visit!",
    "Our AI-powered {field} solution integrates seamlessly with your PACS and RIS. Contact our sales team to learn more about pricing and financing options.",
    "Shop {brand} {device} with free next-day shipping. {n},000 five-star reviews. Order before midnight and receive a complimentary carrying case.",
    "{brand} announces record quarterly revenue of ${n} million, driven by strong demand for its {device} portfolio in {field}.",
    "Join {brand} at the {field} congress, booth {n}00. Register now for our lunch symposium and win a {device}.",
    "Tired of pain? This one {field} trick that doctors do not want you to know works in {n} days. Click here to claim your discount!",
    "The {device} by {brand} features a {n}-inch touch screen, wireless charging and an intuitive workflow. Financing available. Download the brochure.",
)


def marketing() -> Iterator[str]:
    """Advertising in words of medicine, from eight sentences and word lists."""
    lists = {
        "brand": ["MediNova", "CardioPlus", "RadiantView", "PulmoCare", "NeuroLine", "OrthoMax", "VitaScan"],
        "device": [
            "ultrasound system",
            "MRI scanner",
            "digital stethoscope",
            "X-ray detector",
            "blood pressure monitor",
        ],
        "field": [
            "cardiology",
            "chest imaging",
            "lung cancer screening",
            "knee surgery",
            "diabetes care",
            "dermatology",
        ],
        "service": ["whole-body MRI", "laser eye surgery", "dental implants", "a heart check", "allergy testing"],
    }
    draw = Random(0)
    for _ in range(4 * MOST):
        yield draw.choice(_MARKETING).format(n=draw.randint(2, 90), **{k: draw.choice(v) for k, v in lists.items()})


SOURCES: tuple[tuple[str, bool, bool, str, Callable[[], Iterable[str]]], ...] = (
    ("IU reports", True, False, "chest radiograph reports of torchxrayvision", reports),
    ("HPO", True, False, "definitions of findings", definitions("HP")),
    ("MONDO", True, False, "definitions of diseases", definitions("MONDO")),
    ("UBERON", True, False, "definitions of anatomy", definitions("UBERON")),
    ("ICD-10-CM", True, False, "codes with their notes", icd_notes),
    ("radiology dictionary", True, False, "definitions of radiology-semantic-dict", definitions("RADDICT")),
    ("READMEs", False, False, "long descriptions of Python packages", readmes),
    ("licences", False, False, "licence files of Python packages", licences),
    ("docstrings", False, False, "of numpy, scipy, pandas, torch", docstrings("numpy", "scipy/stats", "pandas/core", "torch/nn")),
    ("medical software", False, False, "docstrings of monai, pydicom, nibabel, torchxrayvision", docstrings("pydicom", "torchxrayvision", "nibabel", "monai")),
    ("code", False, False, "runs of 18 lines of Python", code),
    ("manual pages", False, False, "man pages without roff", manual_pages()),
    ("Debian packages", False, False, "descriptions", package_descriptions),
    ("fortunes", False, False, "quotes and jokes of Debian's fortunes, some about medicine", fortunes),
    ("menus", False, False, "link texts of HTML manuals", navigation),
    ("HTML manuals", False, False, "their main texts (trafilatura)", web_texts),
    ("shuffled", False, True, "MONDO definitions, words in another order", shuffled),
    ("misread", False, True, "MONDO definitions, one letter in five wrong", misread),
    ("marketing", False, True, "advertising in medical words", marketing),
)  # fmt: skip


def blocks(text: str, by_line: bool = False) -> Iterator[str]:
    """Paragraphs between empty lines, or lines."""
    parts = text.split("\n") if by_line else re.split(r"\n\s*\n", text)
    yield from (part.strip() for part in parts)


def origins(most: int = MOST) -> tuple[list[Origin], list[str]]:
    """All sources that are here, each text once and ``most`` of a source, drawn by hash; and names of those that are not."""
    found, missing, seen = [], [], set()
    for name, medical, made, what, read in SOURCES:
        try:
            texts = list(islice(read(), 200_000))
        except (OSError, subprocess.CalledProcessError):
            texts = []
        low, high = _SIZES
        sized = {t[:high] for t in texts if len(t) >= low} - seen
        drawn = sorted(sized, key=lambda t: hashlib.sha256(t.encode("utf-8", "surrogatepass")).digest())[:most]
        seen |= sized
        if len(drawn) < 50:
            missing.append(name)
        else:
            found.append(Origin(name, medical, what, tuple(drawn), made))
    return found, missing
