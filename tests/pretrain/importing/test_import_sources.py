"""Folders of DICOM with reports, tables and Hugging Face data sets as studies."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from pretrain.importing import (
    ColumnError,
    Conversation,
    DicomFolder,
    Drop,
    HuggingFaceSource,
    ImportOptions,
    ImportSourceError,
    TableSource,
    import_source,
)
from pretrain.importing.pipeline import split_of
from pretrain.importing.study import MAX_KEY, Study, safe_key
from pretrain.shards import ShardReader, ShardSet
from pretrain.shards.tar import check_member


def run(source, out, **options):
    """Import with the decoder of single images, which does not have to be started for each test."""
    return import_source(source, out, ImportOptions(workers=0, **options))


def read(folder):
    return list(ShardReader(ShardSet.open(folder)))


def answer(sample):
    return sample.messages[-1]["content"]


@given(st.text(max_size=200))
def test_any_key_becomes_one_that_a_tar_carries(text):
    key = safe_key(text)
    assert len(key) <= MAX_KEY
    check_member(key, "mask12.png", "test")


def test_keys_that_would_collide_stay_apart():
    assert safe_key("a.b") != safe_key("a/b") != safe_key("a b")


def test_reports_are_found_near_their_images(tmp_path, picture):
    root = tmp_path / "Doe^Jane"
    picture(root / "p1/s1/a.png", 1)
    picture(root / "p1/s1/series2/b.png", 2)
    (root / "p1/s1/report.txt").write_text("Report of study one.")
    picture(root / "p1/s2/c.png", 3)
    (root / "p1/s2.txt").write_text("Report beside the folder.")
    picture(root / "p2/x.png", 4)
    picture(root / "p2/y.png", 5)
    (root / "p2/x.txt").write_text("Report of x.")
    (root / "p2/y.txt").write_text("Report of y.")
    picture(root / "p3/z.png", 6)
    source = DicomFolder(root, name="ward")
    options = ImportOptions(workers=0, max_drop=0.5)
    (report,) = import_source(source, tmp_path / "out", options)
    assert report.dropped == {"no report": 1} and report.samples == 4
    samples = {answer(s): s for s in read(tmp_path / "out/train")}
    assert len(samples["Report of study one."].images) == 2
    assert set(samples) == {"Report of study one.", "Report beside the folder.", "Report of x.", "Report of y."}
    patients = {text: s.provenance.patient for text, s in samples.items()}
    assert patients["Report of study one."] == patients["Report beside the folder."] != patients["Report of x."]
    stored = b"".join(p.read_bytes() for p in (tmp_path / "out/train").iterdir() if p.name != "dropped.jsonl")
    for name in (b"Doe", b"s1/", b"p1", b"x.png"):
        assert name not in stored  # names of files and folders may be names of people


def test_dicom_keeps_its_bit_depth_and_refusals_are_counted_by_code(tmp_path):
    root = tmp_path / "in"
    for i, name in enumerate(("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")):
        (root / f"s{i}").mkdir(parents=True)
        shutil.copy(get_testdata_file(name), root / f"s{i}" / "IM0001")
        (root / f"s{i}" / "report.txt").write_text(f"Report {i}.")
    (report,) = run(DicomFolder(root, licence="MIT"), tmp_path / "out", max_drop=0.5)
    (reason,) = report.dropped
    assert reason.startswith("image refused: ") and report.samples == 2
    samples = {answer(s): s for s in read(tmp_path / "out/train")}
    ct = samples["Report 0."].images[0].decode()
    assert ct.units == "HU" and ct.pixels.shape == (128, 128) and ct.pixels.max() > 255
    assert samples["Report 1."].images[0].decode().modality == "MR"
    assert samples["Report 0."].provenance.licence == "MIT"


def test_a_csv_may_say_which_report_is_whose(tmp_path, picture):
    root = tmp_path / "in"
    picture(root / "a/1.png", 1)
    picture(root / "a/2.png", 2)
    picture(root / "b.png", 3)
    (tmp_path / "r.csv").write_text("file,befund,split\na,Two views.,train\nb.png,One view.,test\nc.png,Gone.,train\n")
    source = DicomFolder(root, tmp_path / "r.csv", {"image": "file", "text": "befund"})
    reports = run(source, tmp_path / "out", max_drop=0.5)
    assert {r.split: (r.samples, r.dropped) for r in reports} == {"test": (1, {}), "train": (1, {"missing image": 1})}
    (sample,) = read(tmp_path / "out/train")
    assert answer(sample) == "Two views." and len(sample.images) == 2


def test_long_series_are_thinned_evenly_and_counted(tmp_path, picture):
    for i in range(20):
        picture(tmp_path / f"in/s/{i:02d}.png", i)
    (tmp_path / "in/s/report.txt").write_text("A long series.")
    (report,) = run(DicomFolder(tmp_path / "in"), tmp_path / "out", max_images=3)
    assert report.notes == {"studies thinned to 3 images": 1}
    (sample,) = read(tmp_path / "out/train")
    expected = [np.array(Image.open(tmp_path / f"in/s/{i:02d}.png")) for i in (0, 9, 19)]
    assert all((image.decode().pixels == e).all() for image, e in zip(sample.images, expected, strict=True))


def test_an_empty_or_missing_folder_is_told(tmp_path):
    with pytest.raises(ImportSourceError, match="there is no folder"):
        DicomFolder(tmp_path / "nowhere")
    with pytest.raises(ImportSourceError, match="no image files"):
        DicomFolder(tmp_path)


ROWS = [
    {"img": "1.png", "question": "Where?", "answer": "Left.", "patient": "MRN-1"},
    {"img": "1.png", "question": "What?", "answer": "A nodule.", "patient": "MRN-1"},
    {"img": "2.png", "question": "Normal?", "answer": "Yes.", "patient": "MRN-2"},
]


def write_table(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        lines = [separator.join(rows[0])] + [separator.join(row.values()) for row in rows]
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_questions_about_one_image_become_one_conversation(tmp_path, picture, kind):
    picture(tmp_path / "1.png", 1)
    picture(tmp_path / "2.png", 2)
    source = TableSource(write_table(tmp_path / f"t.{kind}", ROWS), {"image": "img"})
    (report,) = run(source, tmp_path / "out", conversation=Conversation("questions"))
    assert report.samples == 2 and report.dropped == {}
    first, second = read(tmp_path / "out/train")
    assert {m["content"] for m in first.messages if m["role"] == "assistant"} == {"Left.", "A nodule."}
    assert len(first.images) == 1 and len(first.extra["qa"]) == 2 and len(second.messages) == 2
    assert first.provenance.patient and b"MRN-1" not in (tmp_path / "out/train/shard-000000.tar").read_bytes()


def test_rows_may_stay_apart(tmp_path, picture):
    picture(tmp_path / "1.png", 1)
    picture(tmp_path / "2.png", 2)
    source = TableSource(write_table(tmp_path / "t.csv", ROWS), {"image": "img"}, group=False)
    (report,) = run(source, tmp_path / "out")
    assert report.samples == 3


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"text": "captoin"}, r"no column 'captoin' \(asked for as text\); did you mean 'caption'\?"),
        ({"txt": "caption"}, r"'txt' is no field of a sample; did you mean 'text'\?"),
        ({"answer": "caption"}, "answers need questions"),
    ],
)
def test_wrong_columns_name_the_nearest(tmp_path, mapping, words):
    table = write_table(tmp_path / "t.csv", [{"image": "1.png", "caption": "A."}])
    with pytest.raises(ColumnError, match=words):
        TableSource(table, mapping)


def test_a_table_without_text_says_how_to_map_one(tmp_path):
    table = write_table(tmp_path / "t.csv", [{"image": "1.png", "texts": "A."}])
    with pytest.raises(ColumnError, match=r"--map text=NAME; did you mean 'texts'\?"):
        TableSource(table)


def test_a_row_that_cannot_be_used_is_counted(tmp_path, picture):
    picture(tmp_path / "1.png", 1)
    rows = [
        {"image": "1.png", "text": "Good."},
        {"image": "https://example.org/1.png", "text": "Remote."},
        {"image": "1.png", "text": "  "},
        {"image": None, "text": "Text alone."},
        {"messages": [{"role": "user", "content": [{"type": "image", "image": 4}]}]},
        {"image": "9.png", "text": "Missing."},
    ]
    table = write_table(tmp_path / "t.jsonl", rows)
    table.write_text(table.read_text() + "{oops\n")
    (report,) = run(TableSource(table), tmp_path / "out", max_drop=1)
    assert report.dropped == {
        "image is a URL (nothing is fetched)": 1,
        "empty text": 1,
        "messages are malformed or name an image that is not there": 1,
        "missing image": 1,
        "row is not JSON": 1,
    }
    assert [len(sample.images) for sample in read(tmp_path / "out/train")] == [1, 0]


def test_finished_conversations_are_kept_as_they_are(tmp_path, picture):
    picture(tmp_path / "1.png", 1)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "And?"}, {"type": "image", "image": 0}]},
        {"role": "assistant", "content": "Clear."},
    ]
    table = write_table(tmp_path / "t.jsonl", [{"image": "1.png", "messages": messages}])
    run(TableSource(table), tmp_path / "out")
    (sample,) = read(tmp_path / "out/train")
    assert sample.messages == messages


def test_own_splits_are_kept_and_made_by_patient(tmp_path, picture):
    rows = [{"image": f"{i}.png", "text": f"Case {i}.", "patient": f"m{i // 2}"} for i in range(60)]
    for i in range(60):
        picture(tmp_path / f"{i}.png", i, (4, 4))
    table = write_table(tmp_path / "t.csv", rows)
    reports = run(TableSource(table), tmp_path / "out", shares={"train": 0.7, "val": 0.3})
    assert sum(r.samples for r in reports) == 60 and min(r.samples for r in reports) >= 6
    patients = [{s.provenance.patient for s in read(tmp_path / "out" / part)} for part in ("train", "val")]
    assert not patients[0] & patients[1]
    marked = write_table(tmp_path / "m.csv", [row | {"split": "ab"[i % 2]} for i, row in enumerate(rows)])
    assert [r.split for r in run(TableSource(marked), tmp_path / "two")] == ["a", "b"]
    with pytest.raises(ImportSourceError, match="comes with the splits a, b"):
        run(TableSource(marked), tmp_path / "three", shares={"train": 1})


def test_split_shares_are_met(tmp_path):
    shares = {"train": 8, "val": 1, "test": 1}
    counts = Counter(split_of(Study(f"k{i}", "", patient=f"p{i}"), shares) for i in range(5000))
    assert abs(counts["train"] / 5000 - 0.8) < 0.02 and abs(counts["val"] / 5000 - 0.1) < 0.02


def test_hugging_face_data_keep_sixteen_bits(tmp_path, picture):
    import datasets

    paths = [str(picture(tmp_path / f"{i}.png", i)) for i in range(4)]
    rows = datasets.Dataset.from_dict({"picture": paths, "caption": [f"Case {i}." for i in range(4)]})
    rows = rows.cast_column("picture", datasets.Image())
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "saved")
    source = HuggingFaceSource(tmp_path / "saved", {"image": "picture", "text": "caption"})
    reports = run(source, tmp_path / "out")
    assert [(r.split, r.samples) for r in reports] == [("train", 4), ("test", 1)]
    for i, sample in enumerate(read(tmp_path / "out/train")):
        pixels = sample.images[0].decode().pixels
        assert pixels.dtype == np.uint16 and (pixels == np.array(Image.open(tmp_path / f"{i}.png"))).all()


def test_hugging_face_errors_are_told(tmp_path):
    with pytest.raises(ImportSourceError, match="cannot be loaded"):
        HuggingFaceSource("nobody/nothing-of-this-name")


def test_a_parquet_that_is_none_is_told(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(ImportSourceError, match="not a Parquet file"):
        TableSource(tmp_path / "t.parquet")


def test_iterating_twice_gives_the_same(tmp_path, picture):
    picture(tmp_path / "1.png", 1)
    picture(tmp_path / "2.png", 1)
    source = TableSource(write_table(tmp_path / "t.csv", ROWS), {"image": "img"})
    first, second = list(source.studies("train")), list(source.studies("train"))
    assert first == second and not any(isinstance(record, Drop) for record in first)
