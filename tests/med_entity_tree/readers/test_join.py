"""Rows come back under their keys, whatever their order and number, and the disk is left as it was."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from med_entity_tree.errors import ScratchSpaceError
from med_entity_tree.readers.join import Join

text = st.text(st.characters(codec="utf-8", exclude_characters="\t\n"), max_size=8)


@given(st.lists(st.tuples(st.text("C0129", min_size=1, max_size=3), text, text), max_size=60), st.integers(1, 400))
def test_groups_are_those_of_a_dictionary(rows, budget):
    expected: dict[str, list[list[str]]] = {}
    for key, *fields in rows:
        expected.setdefault(key, []).append(fields)
    with Join(budget=budget) as join:
        for row in rows:
            join.add(*row)
        groups = list(join.groups())
    assert [key for key, _ in groups] == sorted(expected)
    assert {key: sorted(fields) for key, fields in groups} == {key: sorted(rows) for key, rows in expected.items()}


def test_rows_of_a_key_come_by_their_first_field():
    with Join(budget=10) as join:
        for field in ("2", "0", "1", "0"):
            join.add("k", field)
        assert list(join.groups()) == [("k", [["0"], ["0"], ["1"], ["2"]])]


def test_temporary_files_are_closed(tmp_path):
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    with Join(tmp_path, budget=1) as join:
        for n in range(20):
            join.add(str(n), "x")
        assert open_files() == before + 20
    assert open_files() == before and not list(tmp_path.iterdir())


def test_a_full_disk_is_told(monkeypatch):
    full = Path("/dev/full").open("w")  # noqa: SIM115 - the join closes it
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *_, **__: full)
    with pytest.raises(ScratchSpaceError, match="/some/folder is full"), Join(Path("/some/folder"), budget=1) as join:
        join.add("key", "field")
    assert full.closed
