"""Writers of small ontology files in the schemas of the real ones, with invented content."""

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path) -> Callable[[str, str], Path]:
    """Write text below the temporary folder, gzipped where the name ends in .gz, and return its path."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write_file


@pytest.fixture
def write_rrf(write) -> Callable[[str, Iterable[str]], Path]:
    """Rows given without the pipe behind the last column, which the format has."""
    return lambda name, rows: write(name, "".join(f"{row}|\n" for row in rows))
