"""A whole folder: images, report objects, report texts in two languages, tables; killed and gone on with."""

# ruff: noqa: E501  (planted sentences are not folded)

import csv
import errno
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from pretrain.cli_data import app
from pretrain.deidentify.errors import SettingsError, StorageError
from pretrain.deidentify.keys import load_key
from pretrain.deidentify.options import Options
from pretrain.deidentify.run import Request, deidentify

ENGLISH = """Patient: QUIXOTZER, BRAMMELDA   MRN: QZ-0048151623   DOB: 07/17/1931   Acc# ACX5550199
Exam: CT chest of 03/05/2021 at Klinikum Zurbelfingen, compared with 06/02/2019.
FINDINGS: 34.5 mm mass in the left lower lobe, T2 bright, L4-L5 disc, 12/5 mm nodule. No pneumothorax on the right.
Mrs. Quixotzer (93-year-old) lives at 4815 Zwirbelnock Terrace, phone +49 6221 5550147, mail b.quix@zurbel.org.
Discussed with Dr. Ogilthorpe. Dictated by: Nadine Scribequist, MD. See http://zurbel.org/q?id=48151623.
Wife of patient Frobisherquist^Hal, SSN 481-51-6234, device ZURBELCT07.
"""
CHINESE = """姓名：欧阳青莲 性别：女 年龄：93岁 住院号：ZY4815162 身份证号：110105193107170026 手机号：13812345678
检查日期：2021年3月5日，与2019年6月2日比较。于祖尔贝尔医院就诊。左肺上叶见34.5mm肿块，L4-L5椎间盘突出，12/5 mm结节，右侧未见气胸。
报告医师：司徒远山 地址：北京市朝阳区建国路88号
"""
MORE = {
    "dictating doctor": "Scribequist",
    "wife": "Frobisherquist",
    "mail": "b.quix@zurbel.org",
    "ssn": "481-51-6234",
    "report date": "03/05/2021",
    "prior date": "06/02/2019",
    "link": "zurbel.org",
    "Chinese name": "欧阳青莲",
    "Chinese id": "110105193107170026",
    "Chinese number": "ZY4815162",
    "Chinese phone": "13812345678",
    "Chinese date": "2021年3月5日",
    "Chinese hospital": "祖尔贝尔医院",
    "Chinese doctor": "司徒远山",
    "Chinese address": "建国路88号",
    "file name": "Filequistname",
    "folder name": "Folderquistname",
    "table staff": "Staffquistel",
    "table column": "Columnquistel",
    "column left out": "Leftoutquist",
}
CLINICAL = (
    "34.5 mm mass in the left lower lobe",
    "T2 bright",
    "L4-L5 disc",
    "12/5 mm nodule",
    "No pneumothorax on the right",
)


@pytest.fixture
def source(tmp_path, real_file, plant_file, planted, report_object, file_bytes) -> Path:
    root = tmp_path / "raw"
    folder = root / "Folderquistname Zora"
    folder.mkdir(parents=True)
    ct = real_file("CT_small.dcm")
    (folder / "Filequistname.dcm").write_bytes(plant_file(ct))
    mr = real_file("MR_small.dcm")
    mr.PatientID, mr.PatientName, mr.AccessionNumber = "ZY4815162", "欧阳^青莲", "ACC2200119"
    mr.SpecificCharacterSet = "ISO_IR 192"
    (root / "two").mkdir()
    (root / "two" / "1").write_bytes(file_bytes(mr))
    sr = report_object(ENGLISH, planted["patient name"], planted["patient id"], planted["instance uid"], ct.SOPClassUID)
    (folder / "sr.dcm").write_bytes(file_bytes(sr))
    (folder / "Filequistname.txt").write_text(ENGLISH, encoding="utf-8")
    (root / "two" / "report.txt").write_text(CHINESE, encoding="gb18030")
    (root / "lost.txt").write_text(f"Accession ACX5550199. {ENGLISH}", encoding="utf-8")
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            "PatientID PatientName StudyDate DOB report radiologist image Columnquistel Laterality age label".split()
        )
        writer.writerow(
            [planted["patient id"], "Quixotzer, Brammelda", "2021-03-05", "1931-07-17", ENGLISH, "Staffquistel, Rod"]
            + ["Folderquistname Zora/Filequistname.dcm", "Leftoutquist", "left", "93", "1"]
        )
        writer.writerow(
            ["ZY4815162", "欧阳青莲", "2021年3月5日", "", CHINESE, "司徒远山", "two/1", "x", "R", "41", "0"]
        )
    rows = [
        {
            "patient": "ZY4815162",
            "findings": CHINESE,
            "split": "train",
            "images": ["two/1"],
            "secret": {"a": "Leftoutquist"},
        }
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows) + "not json\n")
    (root / "scan.pdf").write_bytes(b"%PDF Leftoutquist")
    (root / "link.dcm").symlink_to(folder / "sr.dcm")
    return root


def run(source: Path, tmp_path: Path, **more):
    options = Options(clean_pixels=False, **more.pop("options", {}))
    return deidentify(Request(source, tmp_path / "out", tmp_path / "keys" / "a.key", options, **more))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_nothing_planted_survives_in_any_output(
    source, tmp_path, planted, scan_tree, scan_bytes, caplog, capfd, workers
):
    caplog.set_level(logging.DEBUG)
    every = {**planted, **MORE}
    there = set().union(*scan_tree(source, every).values())
    assert len(every) >= 75 and len(there) >= 70, set(every) - there
    report = run(source, tmp_path, workers=workers, mapping=tmp_path / "keys" / "map")
    assert report.written == {"dicom": 3, "text": 3, "table": 2} and report.refused == {"kind": 2}
    assert scan_tree(tmp_path / "out", every) == {}
    out, err = capfd.readouterr()
    assert scan_bytes((out + err + caplog.text).encode(), every) == []
    assert scan_bytes((tmp_path / "keys" / "map").read_bytes(), every) == []
    refused = (tmp_path / "keys" / "a.key.refused.jsonl").read_text()
    assert "scan.pdf" in refused and "link.dcm" in refused


def test_findings_survive_and_dates_move_together(source, tmp_path):
    run(source, tmp_path)
    keys = load_key(tmp_path / "keys" / "a.key")
    out = tmp_path / "out"
    days = timedelta(keys.shift_days("QZ-0048151623"))
    images = {p: pydicom.dcmread(p) for p in out.rglob("*.dcm")}
    ct = next(ds for ds in images.values() if ds.Modality == "CT")
    text = next(p for p in out.rglob("*.txt") if p.with_suffix(".dcm") in images).read_text()
    moved = date(2021, 3, 5) + days
    assert ct.StudyDate == f"{moved:%Y%m%d}" and f"{moved:%m/%d/%Y}" in text
    assert f"{date(2019, 6, 2) + days:%m/%d/%Y}" in text and not [c for c in CLINICAL if c not in text]
    assert "90+-year-old" in text and "93" not in text
    chinese = next(out.rglob("report.txt")).read_text()
    for phrase in ("左肺上叶见34.5mm肿块", "L4-L5椎间盘突出", "12/5 mm结节", "右侧未见气胸"):
        assert phrase in chinese
    other = date(2021, 3, 5) + timedelta(keys.shift_days("ZY4815162"))
    assert f"{other.year}年{other.month}月{other.day}日" in chinese
    with next(out.glob("*.csv")).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["PatientID", "StudyDate", "report", "image", "Laterality", "label"]
    assert rows[0]["PatientID"] == ct.PatientID and rows[0]["StudyDate"] == f"{moved:%Y-%m-%d}"
    assert (out / rows[0]["image"]).is_file() and rows[0]["Laterality"] == "left" and rows[0]["label"] == "1"
    assert not [c for c in CLINICAL if c not in rows[0]["report"]]
    table = next(p for p in out.glob("*.jsonl") if p.name != "deidentify.jsonl")
    line = json.loads(table.read_text())
    assert line["split"] == "train" and (out / line["images"][0]).is_file() and "secret" not in line
    lost = next(p for p in out.glob("*.txt"))
    assert f"{moved:%m/%d/%Y}" in lost.read_text()  # whose it is was told by the accession number


def test_the_importer_finds_reports_beside_their_images(source, tmp_path):
    from pretrain.importing import DicomFolder

    run(source, tmp_path)
    studies = list(DicomFolder(tmp_path / "out").studies("train"))
    with_text = [s for s in studies if getattr(s, "report", None) is not None]
    assert len(with_text) >= 2 and any("34.5 mm mass" in s.report.findings for s in with_text)


def test_the_same_key_gives_the_same_files_and_another_others(source, tmp_path):
    run(source, tmp_path)
    first = everything(tmp_path / "out")
    again = tmp_path / "again"
    deidentify(Request(source, again, tmp_path / "keys" / "a.key", Options(clean_pixels=False)))
    assert everything(again) == first
    other = tmp_path / "other"
    deidentify(Request(source, other, tmp_path / "keys" / "b.key", Options(clean_pixels=False)))
    names = {n for n in everything(other) if n.endswith((".dcm", ".csv"))}
    assert not names & set(first)


def test_a_finished_run_does_nothing_and_other_settings_are_refused(source, tmp_path):
    report = run(source, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.dcm")}
    again = run(source, tmp_path)
    assert again.before == 8 and again.written == report.written and again.refused == report.refused
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.dcm")} == before
    with pytest.raises(SettingsError, match="options"):
        run(source, tmp_path, options={"keep_uids": True})
    run(source, tmp_path, options={"keep_uids": True}, overwrite=True)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3
    (source / "new.txt").write_text("A later file. 5 mm nodule.")
    assert run(source, tmp_path, options={"keep_uids": True}).written["text"] == 4


def test_folders_that_do_not_fit(source, tmp_path):
    for bad in (
        Request(source, source / "out", tmp_path / "k"),
        Request(tmp_path / "none", tmp_path / "o", tmp_path / "k"),
    ):
        with pytest.raises(SettingsError):
            deidentify(bad)
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("y")
    with pytest.raises(SettingsError, match="empty folder"):
        deidentify(Request(source, full, tmp_path / "k", Options(clean_pixels=False)))


DRIVER = """
import sys
from pathlib import Path
from pretrain.deidentify.options import Options
from pretrain.deidentify.run import Request, deidentify
source, out, key = map(Path, sys.argv[1:4])
deidentify(Request(source, out, key, Options(clean_pixels=False), workers=int(sys.argv[4])))
"""


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_killed_anywhere_it_goes_on_to_the_same_files(tmp_path, real_file, plant_file, planted, scan_tree, workers):
    source, out = tmp_path / "raw", tmp_path / "out"
    source.mkdir()
    data = plant_file(real_file("MR_small.dcm"))
    for n in range(24):
        (source / f"Filequist{n:02d}.dcm").write_bytes(data.replace(b"48151623.3", b"48151%03d.3" % n))
        (source / f"Filequist{n:02d}.txt").write_text(ENGLISH)
    command = [sys.executable, "-c", DRIVER, str(source), str(out), str(tmp_path / "k"), workers]
    kills = 0
    for wanted in (5, 30):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[3], start_new_session=True)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(out.rglob("*.dcm"))) + len(list(out.rglob("*.txt"))) >= wanted:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.wait()
        written = [p for p in out.rglob("*") if p.is_file()]
        assert scan_tree(out, planted) == {}  # also what was on the way when it was killed
        assert all(pydicom.dcmread(p).PatientIdentityRemoved == "YES" for p in written if p.suffix == ".dcm")
    assert kills == 2
    deidentify(Request(source, out, tmp_path / "k", Options(clean_pixels=False)))
    deidentify(Request(source, tmp_path / "whole", tmp_path / "k", Options(clean_pixels=False)))
    once, whole = everything(out), everything(tmp_path / "whole")
    assert {n: d for n, d in once.items() if n != "deidentify.jsonl"} == {
        n: d for n, d in whole.items() if n != "deidentify.jsonl"
    }
    assert len([n for n in once if n.endswith(".dcm")]) == 24 and not [n for n in once if n.endswith(".part")]


def test_a_damaged_file_costs_itself(source, tmp_path):
    good = (source / "two" / "1").read_bytes()
    (source / "two" / "2").write_bytes(good[:3000])
    (source / "two" / "3").write_bytes(b"\0" * 128 + b"DICM" + os.urandom(4000))
    (source / "binary.txt").write_bytes(bytes(range(256)) * 10)
    (source / "bad.csv").write_text("a,b\n1,2\n")
    report = run(source, tmp_path)
    assert report.written == {"dicom": 3, "text": 3, "table": 2}
    assert sum(report.refused.values()) == 6 and report.refused["no_column"] == 1 and report.refused["not_text"] == 1


def test_the_command(source, tmp_path, planted, scan_bytes):
    key, out = tmp_path / "k.key", tmp_path / "out"
    (tmp_path / "staff.txt").write_text("Frobisherquist, Hal\n")
    arguments = [
        "deidentify",
        str(source),
        "--out",
        str(out),
        "--key",
        str(key),
        "--no-ocr",
        "--mapping",
        str(tmp_path / "map"),
    ]
    result = CliRunner().invoke(
        app, [*arguments, "--names", str(tmp_path / "staff.txt"), "--column", "Columnquistel=drop"]
    )
    assert result.exit_code == 0, result.output
    assert "refused 2: kind" in re.sub(r"\x1b\[[0-9;]*m", "", result.output) and "3 dicom" in result.output
    assert scan_bytes(result.output.replace(str(source), "").encode(), {**planted, **MORE}) == []
    pseudonym = pydicom.dcmread(next(out.rglob("*.dcm"))).PatientID
    found = CliRunner().invoke(app, ["reidentify", pseudonym, "--mapping", str(tmp_path / "map"), "--key", str(key)])
    assert found.exit_code == 0 and ("Quixotzer" in found.output or "ZY4815162".lower() in found.output)
    assert (
        CliRunner().invoke(app, ["deidentify", str(source), "--out", str(out), "--key", str(out / "k")]).exit_code != 0
    )


def test_a_table_whose_first_line_is_data_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "t.csv").write_text("Quixotzer,QZ-1,1931-07-17\nDoe,QZ-2,1950-01-01\n")
    report = run(tmp_path / "raw", tmp_path)
    assert report.refused == {"no_column": 1} and not list((tmp_path / "out").glob("*.csv"))


def test_patient_characteristics_of_a_table(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "t.csv").write_text(
        "patient,age,sex,report\nQZ-481516,93,F,Clear lungs.\nQZ-2,41,M,5 mm nodule.\n"
    )
    run(tmp_path / "raw", tmp_path, options={"keep_patient_characteristics": True})
    rows = list(csv.DictReader(io.StringIO(next((tmp_path / "out").glob("*.csv")).read_text())))
    assert [(r["age"], r["sex"], r["report"]) for r in rows] == [
        ("90", "F", "Clear lungs."),
        ("41", "M", "5 mm nodule."),
    ]


def test_a_full_disk_leaves_whole_files_and_a_run_that_goes_on(tmp_path, source, planted, scan_tree, monkeypatch):
    """The disk takes no more after some files, in the middle of a write."""
    real_fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) in (7, 12):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    for _ in range(2):
        with pytest.raises(StorageError, match="make room"):
            run(source, tmp_path)
        out = tmp_path / "out"
        assert not list(out.rglob("*.part")) and scan_tree(out, {**planted, **MORE}) == {}
        assert all(pydicom.dcmread(p).PatientIdentityRemoved == "YES" for p in out.rglob("*.dcm"))
    monkeypatch.undo()
    run(source, tmp_path)
    deidentify(Request(source, tmp_path / "whole", tmp_path / "keys" / "a.key", Options(clean_pixels=False)))
    once, whole = everything(tmp_path / "out"), everything(tmp_path / "whole")
    assert set(once) == set(whole)
    assert all(once[name] == whole[name] for name in whole if name != "deidentify.jsonl")


@pytest.mark.parametrize("cut", [0, 40, -1])
def test_a_journal_that_was_cut_off_anywhere_is_gone_on_with(tmp_path, source, cut):
    run(source, tmp_path)
    whole = everything(tmp_path / "out")
    journal = tmp_path / "out" / "deidentify.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    content = b"".join(lines[:4]) + lines[4][:cut]
    journal.write_bytes(content)
    run(source, tmp_path)
    again = everything(tmp_path / "out")
    lines_of = [sorted(files.pop("deidentify.jsonl").splitlines()) for files in (again, whole)]
    assert again == whole and lines_of[0] == lines_of[1]


def test_a_folder_of_others_is_not_touched(tmp_path, source):
    foreign = tmp_path / "out"
    foreign.mkdir()
    (foreign / "download.part").write_text("somebody's")
    with pytest.raises(SettingsError, match="no run of this command left"):
        run(source, tmp_path)
    assert (foreign / "download.part").read_text() == "somebody's"


def test_the_order_of_the_output_says_nothing_of_the_order_of_the_names(tmp_path):
    """In a source that is sorted by the patients' names, an order that is kept would rank them."""
    (tmp_path / "raw").mkdir()
    for n in range(30):
        (tmp_path / "raw" / f"{chr(97 + n % 26)}{n:02d}.txt").write_text(f"{n} mm nodule.")
    run(tmp_path / "raw", tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "out" / "deidentify.jsonl").read_text().splitlines()[1:]]
    sizes = [int((tmp_path / "out" / line["out"]).read_text().split()[0]) for line in lines]
    assert [line["out"] for line in lines] == sorted(line["out"] for line in lines)
    assert sorted(sizes) == list(range(30)) != sizes


def test_the_public_side_does_not_say_what_was_asked_for(tmp_path, source):
    run(source, tmp_path, columns={"Columnquistel": "drop"}, names=("Frobisherquist, Hal",))
    public = b"".join(everything(tmp_path / "out").values())
    assert b"Columnquistel" not in public and b"Frobisherquist" not in public


def test_a_table_that_names_people_without_numbers(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "t.csv").write_text('name,report\n"Quixotzer, Bram","Quixotzer has a 5 mm nodule."\n')
    (tmp_path / "raw" / "n.jsonl").write_text(
        json.dumps({"report": "Clear.", "label": 48151623, "split": "val"}) + "\n"
    )
    run(tmp_path / "raw", tmp_path)
    written = "".join(p.read_text() for p in (tmp_path / "out").iterdir() if p.suffix in (".csv", ".jsonl"))
    assert "[NAME] has a 5 mm nodule." in written and "Quixotzer" not in written
    assert "48151623" not in written and '"split": "val"' in written


def test_without_the_reader_of_pixels_the_run_does_not_begin(tmp_path, source, monkeypatch):
    monkeypatch.setattr("pretrain.deidentify.ocr.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="--no-ocr"):
        deidentify(Request(source, tmp_path / "out", tmp_path / "k"))
    assert not list((tmp_path / "out").rglob("*.dcm"))
