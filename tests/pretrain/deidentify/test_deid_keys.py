"""Keyed maps, and the two files that must never travel with the data."""

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from pretrain.deidentify.errors import KeyFileError
from pretrain.deidentify.keys import SHIFT_DAYS, Keys, MappingFile, load_key, open_key


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    made = open_key(tmp_path / "k" / "a.key", output=tmp_path / "out", source=tmp_path / "in")
    path = tmp_path / "k" / "a.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = open_key(path, output=tmp_path / "out", source=tmp_path / "in")
    assert again.uid("1.2.3") == made.uid("1.2.3") and again.fingerprint == made.fingerprint
    other = open_key(tmp_path / "b.key", output=tmp_path / "out", source=tmp_path / "in")
    assert other.uid("1.2.3") != made.uid("1.2.3") and other.fingerprint != made.fingerprint


def test_a_key_is_refused_where_others_could_have_it(tmp_path):
    out, source = tmp_path / "out", tmp_path / "in"
    (out / "deep").mkdir(parents=True)
    for place in (out / "a.key", out / "deep" / "a.key", source / "a.key"):
        with pytest.raises(KeyFileError, match="inside"):
            open_key(place, output=out, source=source)
        assert not place.exists()
    (tmp_path / "link").symlink_to(out / "deep")
    with pytest.raises(KeyFileError, match="inside"):
        open_key(tmp_path / "link" / "a.key", output=out, source=source)
    path = tmp_path / "a.key"
    open_key(path, output=out, source=source)
    os.chmod(path, 0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_key(path, output=out, source=source)
    path.write_text("{}")
    os.chmod(path, 0o600)
    with pytest.raises(KeyFileError, match="key file"):
        load_key(path)


@given(st.binary(min_size=32, max_size=32), st.text(max_size=64))
def test_maps_are_well_formed(master, value):
    keys = Keys(master)
    uid = keys.uid(value)
    assert UID(uid).is_valid and uid.startswith("2.25.") and len(uid) <= 44
    assert int(uid[5:]) >> 76 & 0xF == 8 and int(uid[5:]) >> 62 & 0b11 == 0b10
    assert SHIFT_DAYS[0] <= -keys.shift_days(value) <= SHIFT_DAYS[1]
    for code in (keys.patient_id(value), keys.accession(value)):
        assert len(code) == 16 and code.isalnum() and code.isupper()
    assert keys.patient_id(value) == keys.patient_id(f"  {value}\0") or value != value.strip("\0 \t\r\n")
    assert keys.digest("a", value) != keys.digest("b", value)


def test_values_do_not_collide():
    keys = Keys(b"\5" * 32)
    for make in (keys.uid, keys.patient_id, keys.accession):
        assert len({make(str(n)) for n in range(20_000)}) == 20_000
    shifts = [keys.shift_days(str(n)) for n in range(3000)]
    assert min(shifts) < -3500 and max(shifts) > -500 and len(set(shifts)) > 1500


def test_the_mapping_is_unreadable_without_its_key(tmp_path):
    keys, path = Keys(b"\1" * 32), tmp_path / "map"
    mapping = MappingFile(path, keys)
    mapping.add("patient", "P1", "Quixotzer^Brammelda")
    mapping.add("patient", "P1", "Quixotzer^Brammelda")
    mapping.add("patient", "P2", "Doe")
    content = path.read_bytes()
    assert b"Quixotzer" not in content and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert MappingFile(path, keys).read() == [("patient", "P1", "Quixotzer^Brammelda"), ("patient", "P2", "Doe")]
    with pytest.raises(KeyFileError, match="another key"):
        MappingFile(path, Keys(b"\2" * 32))
    path.write_bytes(content[:-9])  # a crash in the middle of the last line
    whole = MappingFile(path, keys)
    whole.add("patient", "P3", "Roe")
    assert [new for _, new, _ in MappingFile(path, keys).read()] == ["P1", "P3"]
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], lines[1][:-8] + b"AAAAAAA=", *lines[2:]]) + b"\n")
    with pytest.raises(KeyFileError):
        MappingFile(path, keys)
