"""A folder as the simulator writes it, small, and endpoints that answer in known ways."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

CLOSED = {
    "effusion_left": "Is there a left pleural effusion?",
    "effusion_right": "Is there a right pleural effusion?",
    "nodule": "Is there a nodule?",
    "cardiomegaly": "Is the heart enlarged?",
}
SIDE_QUESTION = "Which side is the tube on?"
OPEN_QUESTION = "Where is the largest opacity, and how large is it?"


def write_dicom(path: Path, pixels: np.ndarray, view: str) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = data.SeriesInstanceUID = generate_uid(entropy_srcs=[str(path.parent)])
    data.Modality, data.ViewPosition = "DX", view
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.ImagerPixelSpacing = [1.0, 1.0]
    data.PixelIntensityRelationship, data.RescaleIntercept, data.RescaleSlope = "LIN", 0, 1
    data.PixelData = pixels.astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)


def write_split(folder: Path, split: str, patients: int, seed: int, first: int) -> dict[str, dict[str, str]]:
    """One split with two views a study; returns the truth by SHA-256 of the image bytes."""
    rng, truth, rows = random.Random(seed), {}, []
    for number in range(first, first + patients):
        patient, study = f"p{number:03d}", "s0"
        place = folder / split / patient / study
        place.mkdir(parents=True)
        size = (40, 32) if number % 2 else (32, 32)
        noise = np.random.default_rng(seed * 1000 + number)
        for i, view in enumerate(("PA", "LL")):
            write_dicom(place / f"{i}.dcm", noise.integers(0, 4096, size=size), view)
        mask = np.zeros((16, 16), dtype=np.uint16)
        mask[4:9, 2:6] = 1
        Image.fromarray(mask).save(place / "0.mask.png")
        labels = {finding: ("yes" if (number + i) % 2 else "no") for i, finding in enumerate(CLOSED)}
        side = rng.choice(["left", "right", "both"])
        opening = f"{rng.choice(['left', 'right'])} {rng.choice(['upper', 'lower'])} zone, {rng.randint(4, 40)} mm"
        qa = [
            {
                "id": f,
                "question": q,
                "answer": labels[f],
                "kind": "closed",
                "finding": f,
                "options": ["yes", "no"],
                "view": 0,
            }
            for f, q in CLOSED.items()
        ]
        sides = {"options": ["left", "right", "both"], "view": None}
        qa.append(
            {"id": "side", "question": SIDE_QUESTION, "answer": side, "kind": "closed", "finding": "tube", **sides}
        )
        free = {"options": None, "view": 1}
        qa.append(
            {"id": "where", "question": OPEN_QUESTION, "answer": opening, "kind": "open", "finding": None, **free}
        )
        base = f"{split}/{patient}/{study}"
        rows.append(
            {
                "patient": patient,
                "study": study,
                "images": [f"{base}/0.dcm", f"{base}/1.dcm"],
                "views": ["PA", "LL"],
                "report": {"findings": "Simulated.", "impression": "Simulated."},
                "qa": qa,
                "truth": {"views": [{"view": "PA", "boxes": {"nodule": [4, 6, 14, 20]}}, {"view": "LL", "boxes": {}}]},
                "masks": [f"{base}/0.mask.png"],
                "simulated": True,
                "licence": "CC0-1.0",
            }
        )
        for i in range(2):
            digest = hashlib.sha256((place / f"{i}.dcm").read_bytes()).hexdigest()
            truth[digest] = {q["question"]: q["answer"] for q in qa}
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return truth


@dataclass
class Films:
    """A data folder, and the file that tells the endpoint the truth about it."""

    folder: Path
    truth: Path


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    folder = tmp_path_factory.mktemp("films")
    write_split(folder, "train", 6, seed=1, first=100)
    truth = write_split(folder, "test", 12, seed=2, first=0)
    path = folder / "truth.json"
    path.write_text(json.dumps(truth))
    return Films(folder, path)


@dataclass
class Served:
    """A running endpoint."""

    url: str
    port: int
    process: subprocess.Popen
    log: Path

    def requests(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


@pytest.fixture
def serve(films: Films, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start endpoints: `serve("oracle", delay=0.01)`."""
    running: list[Served] = []

    def start(behaviour: str = "oracle", **options: object) -> Served:
        log = tmp_path / f"requests{len(running)}.jsonl"
        script = Path(__file__).with_name("openai_endpoint.py")
        command = [
            sys.executable,
            str(script),
            "--truth",
            str(films.truth),
            "--behaviour",
            behaviour,
            "--log",
            str(log),
        ]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        running.append(Served(f"http://127.0.0.1:{port}/v1", port, process, log))
        return running[-1]

    yield start
    for served in running:
        served.stop()
