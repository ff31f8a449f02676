"""Headers, the image-text filter and synthesis as stages of the engine: what goes, what stays, and after a kill too."""

import json
from pathlib import Path

import numpy as np
import pytest
from chest_entities import CARDIOMEGALY, CHEST, EFFUSION, NODULE, PNEUMOTHORAX, build_chest_tree
from engine_runs import content, killed_when, run, samples
from judge_server import Server
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from pretrain.engine.recipe import EngineRecipe
from pretrain.shards.verify import verify
from vlm.recipe import RecipeError, load_recipe

NAMES = {EFFUSION: "pleural effusion", CARDIOMEGALY: "cardiomegaly", NODULE: "pulmonary nodule",
         PNEUMOTHORAX: "pneumothorax", "HP:0031944": "pleural thickening", "HP:0100750": "atelectasis"}  # fmt: skip


def film(path: Path, seed: int, *, flat: bool = False, side: int = 72, uid: str = "1.2.3") -> None:
    """A chest film as DICOM: grain over a smooth field, with modality, body part and view in its header."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    field = 2000 + 900 * np.sin(x / (5 + seed % 5)) * np.cos(y / (7 + seed % 3)) + random.normal(0, 250, (side, side))
    pixels = (np.full((side, side), 900) if flat else field.clip(0, 4095)).astype(np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = (
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
    )
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(seed)])
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.Rows = ds.Columns = side
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = pixels.tobytes()
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    """30 chest films with reports, and three that must go: a blank one, a tiny one, a report of a CT."""
    folder = tmp_path_factory.mktemp("films")
    names = sorted(NAMES.values())
    for number in range(33):
        place = folder / f"p{number:02d}"
        place.mkdir()
        here, away = names[number % 6], names[(number + 1 + number // 6) % 6]
        away = away if away != here else names[(number + 5) % 6]
        text = f"There is {here}. No {away}. The bones of case number {number} are unremarkable for the age."
        if number == 32:
            text = f"CT of the chest. {text}"
        film(place / "film.dcm", number, flat=number == 30, side=40 if number == 31 else 72)
        (place / "film.txt").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def chest(tmp_path_factory) -> Path:
    return build_chest_tree(tmp_path_factory.mktemp("met") / "tree").folder


@pytest.fixture
def recipe(tmp_path, chest, studies):
    def write(**changes) -> Path:
        data = {
            "name": "chest",
            "tree": str(chest),
            "part": 5,
            "sources": [{"path": str(studies), "identity": "removed", "kind": "report", "licence": "ours"}],
            "dedup": None,
            "align": {},
            "synthesis": {},
            "split": {"train": 1.0},
            "shards": {"samples": 7},
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(data), "utf-8")
        return path

    return write


def made(out: Path) -> dict[str, str]:
    return content(out) | {f"synthesis/{k}": v for k, v in content_of(out / "synthesis" / "train").items()}


def content_of(folder: Path) -> dict[str, str]:
    return {p.name: p.read_bytes().hex() for p in folder.iterdir() if p.is_file()}


def test_unusable_pictures_and_contradictions_go_and_say_why(recipe, tmp_path):
    report = run(recipe(), tmp_path / "out")
    assert report.stages["align"].dropped == {
        "image blank or nearly so": 1, "image too small": 1, "text contradicts the header: modality": 1,
    }  # fmt: skip
    (split,) = report.splits
    written = samples(split.folder)
    assert len(written) == 30 and verify(split.folder, decode=True).problems == []
    for sample in written:
        tags = sample.extra["tags"]
        assert set(tags["present"]["header"]) == {"DCM:DX", CHEST} and tags["views"] == ["PA"]
        present = {i for i, name in NAMES.items() if f"There is {name}." in sample.messages[-1]["content"]}
        denied = {i for i, name in NAMES.items() if f"No {name}." in sample.messages[-1]["content"]}
        assert set(sample.entities) == present | {"DCM:DX", CHEST} and set(tags["negated"]) == denied


def test_captions_and_questions_of_the_first_split_stand_beside_the_shards(recipe, tmp_path):
    report = run(recipe(), tmp_path / "out")
    folder = report.beside["captions and questions about train"]
    assert folder == tmp_path / "out" / "synthesis" / "train" and verify(folder, decode=True).problems == []
    assert report.beside["weights of train"].is_file()
    assert len(samples(folder)) == 30 and {s.key for s in samples(folder)} == {
        s.key for s in samples(report.splits[0].folder)
    }
    card = report.card.read_text("utf-8")
    assert "## Captions and questions about split train" in card and "30 samples of 30 studies" in card
    assert "align | 33 | 30 | image blank or nearly so: 1" in card


def test_two_workers_give_the_same_bytes(recipe, tmp_path):
    run(recipe(), tmp_path / "one")
    run(recipe(), tmp_path / "two", workers=2)
    assert made(tmp_path / "one") == made(tmp_path / "two")


def test_the_judge_decides_about_what_passes_is_asked_once_and_its_server_may_move(recipe, tmp_path):
    def answer(picture, text):
        right = "cardiomegaly" not in text.split("Text:")[1].split("No ")[0]
        return {"shows_node": True, "text_supported": 9 if right else 1, "problems": [] if right else ["no such heart"]}

    def judged(server, **more):
        return recipe(align={"judge": {"url": server.url, "model": "scripted", **more}}, synthesis=None)

    with Server(answer) as server:
        report = run(judged(server), tmp_path / "out")
        asked = sum(server.asked.values())
        assert asked == 30 and report.stages["align"].dropped["judge: text not supported"] == 5
        again = run(judged(server, threshold=0), tmp_path / "out", overwrite=True)
        assert sum(server.asked.values()) == asked, "another threshold is no other question"
        assert again.stages["align"].kept == 30
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "work").rglob("*.parquet")}
    with Server(answer) as moved:
        run(judged(moved, threshold=0), tmp_path / "out")
        assert not moved.asked
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "work").rglob("*.parquet")} == parts


def test_killed_in_these_stages_it_goes_on_and_gives_the_same_files(recipe, tmp_path):
    path, out = recipe(part=1, shards={"samples": 3}), tmp_path / "killed"
    run(path, tmp_path / "whole")
    moments = [
        lambda: len(list((out / "work" / "3-align").glob("*.json"))) > 3,
        lambda: len(list((out / "work" / "3-align").glob("*.json"))) > 20,
        lambda: (out / "synthesis" / "train" / "synthesis.json").is_file(),
        lambda: len(list((out / "synthesis" / "train").glob("shard-*.tar"))) > 1,
    ]
    killed = [killed_when(path, out, moment) for moment in moments]
    assert sum(killed) >= 3, f"the run was too fast to be killed: {killed}"
    run(path, out)
    assert made(out) == made(tmp_path / "whole")


def test_a_judge_without_a_model_and_synthesis_without_a_tree_are_refused(recipe):
    with pytest.raises(RecipeError, match="model"):
        load_recipe(EngineRecipe, recipe(align={"judge": {"url": "http://127.0.0.1:1"}}))
    with pytest.raises(RecipeError, match="name a tree"):
        load_recipe(EngineRecipe, recipe(tree=None))
