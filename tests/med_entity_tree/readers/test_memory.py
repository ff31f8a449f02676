"""Readers hold what they join and no more: three times the file does not take three times the memory."""

import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# VmHWM, not getrusage's ru_maxrss: that one starts at the peak of the process that forked.
PEAK = """
import re
from pathlib import Path
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
"""
READ = """
from med_entity_tree.readers.{module} import {function}
before = peak()
count = sum(1 for _ in {function}(Path({path!r})))
print(count, peak() - before)
"""
TEXT = "a name of some length that tells nothing " * 2


def peak(module: str, path: Path) -> tuple[int, int]:
    """Concepts read, and by how many MiB reading them raised the peak memory of a fresh process."""
    code = PEAK + READ.format(module=module, function=f"read_{module}", path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, mebibytes = done.stdout.split()
    return int(count), int(mebibytes)


def obo(folder: Path, size: int) -> Path:
    with (folder / "x.obo").open("w") as file:
        file.write("format-version: 1.4\n\n")
        for n in range(size):
            file.write(f'[Term]\nid: X:{n}\nname: {TEXT}{n}\ndef: "{TEXT}" []\nis_a: X:{n // 2}\n')
            file.writelines(f'synonym: "{TEXT}{n} {k}" EXACT []\n' for k in range(5))
            file.write("\n")
    return folder / "x.obo"


def owl(folder: Path, size: int) -> Path:
    ns = 'xmlns:{}="{}"'.format
    w3 = "http://www.w3.org"
    oio = ns("oio", "http://www.geneontology.org/formats/oboInOwl#")
    rdf, rdfs = ns("rdf", f"{w3}/1999/02/22-rdf-syntax-ns#"), ns("rdfs", f"{w3}/2000/01/rdf-schema#")
    with (folder / "x.owl").open("w") as file:
        file.write(f"<rdf:RDF {rdf} {rdfs} {ns('owl', f'{w3}/2002/07/owl#')} {oio}>\n")
        for n in range(size):
            file.write(f'<owl:Class rdf:about="http://purl.obolibrary.org/obo/X_{n}"><rdfs:label>{TEXT}</rdfs:label>\n')
            file.writelines(f"<oio:hasExactSynonym>{TEXT}{n} {k}</oio:hasExactSynonym>\n" for k in range(5))
            file.write("</owl:Class>\n")
        file.write("</rdf:RDF>")
    return folder / "x.owl"


def umls(folder: Path, size: int) -> Path:
    def rows(name: str, rows: Iterator[str]) -> None:
        with gzip.open(folder / f"{name}.RRF.gz", "wt", compresslevel=1) as file:
            file.writelines(rows)

    rows("MRCONSO", (f"C{n // 4:07d}|ENG|P|L|PF|S|Y|A{n}||||MTH|PT|NOCODE|{TEXT}{n}|0|N||\n" for n in range(size)))
    rows("MRSTY", (f"C{n:07d}|T047||||256|\n" for n in range(size // 4)))
    back = range(size - 1, -1, -1)
    rows("MRREL", (f"C{n // 4:07d}|A|AUI|RO|C{n // 9:07d}|A|AUI|r{n % 5}|||MTH|MTH|||N||\n" for n in back))
    return folder


def snomed(folder: Path, size: int) -> Path:
    def rows(name: str, columns: str, rows: Iterator[str]) -> None:
        with (folder / f"sct2_{name}_INT_20260101.txt").open("w") as file:
            file.write("\t".join(columns.split()) + "\n")
            file.writelines(rows)

    rows("Concept_Snapshot", "id effectiveTime active moduleId definitionStatusId",
        (f"{n}\t20260101\t1\t9\t9\n" for n in range(size // 4)))  # fmt: skip
    rows("Description_Snapshot-en",
        "id effectiveTime active moduleId conceptId languageCode typeId term caseSignificanceId",
        (f"{n}\t20260101\t1\t9\t{n * 7919 % size // 4}\ten\t9\t{TEXT}{n}\t9\n" for n in range(size)))  # fmt: skip
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "write, size, limit",
    [(obo, 30_000, 12), (owl, 30_000, 12), (umls, 400_000, 130), (snomed, 400_000, 110)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_memory_does_not_grow_with_the_file(tmp_path, write: Callable[[Path, int], Path], size, limit):
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    one, once = peak(write.__name__, write(small, size))
    three, thrice = peak(write.__name__, write(large, 3 * size))
    assert three >= 3 * one - 3 and one >= size // 4
    assert thrice <= limit and thrice <= once + max(10, once // 4), f"{once} MiB, then {thrice} MiB"


@pytest.mark.slow
def test_the_joined_rows_are_on_disk():
    """A join far beyond its budget: 200 MB of rows, 8 MB of them in memory."""
    code = """
from med_entity_tree.readers.join import Join
before = peak()
with Join(budget=8 << 20) as join:
    for n in range(2_000_000):
        join.add(str(n * 7919 % 500_009), "x" * 90)
    assert sum(len(rows) for _, rows in join.groups()) == 2_000_000
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", PEAK + code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 60
