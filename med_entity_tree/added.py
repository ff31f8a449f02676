"""Ontologies that a user holds as files, by what stands on the command line: ``snomed=SnomedCT/Snapshot``."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from med_entity_tree.concept import Concept
from med_entity_tree.errors import OntologyError

Reading = Callable[[Counter[str]], Iterator[Concept]]


def added_ontology(spec: str) -> tuple[str, Reading]:
    """``KIND=PATH`` -> a name for the manifest and the reader of that file or folder."""
    from med_entity_tree.readers.loinc import read_loinc
    from med_entity_tree.readers.mesh import read_mesh
    from med_entity_tree.readers.obo import read_obo
    from med_entity_tree.readers.owl import read_owl
    from med_entity_tree.readers.rxnorm import read_rxnorm
    from med_entity_tree.readers.snomed import read_snomed
    from med_entity_tree.readers.umls import read_umls

    readers = {
        "umls": read_umls,
        "snomed": read_snomed,
        "mesh": read_mesh,
        "loinc": read_loinc,
        "rxnorm": read_rxnorm,
        "obo": read_obo,
        "owl": read_owl,
    }
    kind, _, where = spec.partition("=")
    if kind not in readers or not where:
        raise OntologyError(f"--add {spec} is not KIND=PATH", f"KIND is one of {', '.join(readers)}")
    path = Path(where)
    if not path.exists():
        raise OntologyError("there is no such file or folder", "Give the place where you unpacked it", path)
    return f"{kind} ({path.name})", partial(_read, readers[kind], path)


def _read(reader: Callable[..., Iterator[Concept]], path: Path, dropped: Counter[str]) -> Iterator[Concept]:
    return reader(path, dropped=dropped)
