"""The two-stage filter: checks with hand-computed cases, contradictions with the header, and the judge over HTTP."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from chest_entities import CARDIOMEGALY, CHEST, EFFUSION, NODULE, picture, sample, write_samples
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from judge_server import Server

from pretrain.alignment import run as align_run
from pretrain.alignment.checks import Limits, check_picture, check_sample
from pretrain.alignment.claims import claims_of, disagreements
from pretrain.alignment.cli import register
from pretrain.alignment.judge import Pair, Referee, Verdict, agreement, data_url, judge, planted_pairs, score
from pretrain.alignment.pixels import aspect, entropy_bits, luma, sharpness
from pretrain.alignment.run import AlignmentError, align_shards
from pretrain.shards import ShardReader, ShardSet
from pretrain.shards.verify import verify
from vlm.asking import JsonAsker, Unanswered
from vlm.chat_client import Patience
from vlm.sample import EncodedImage

QUICK = Patience(attempts=4, first_pause_s=0.01, longest_pause_s=0.05)
TAGS = {"present": {"header": ["DCM:DX", CHEST]}, "sides": [""], "views": [""]}


def test_entropy_of_known_pictures():
    assert entropy_bits(np.full((8, 8), 7, np.uint8)) == 0
    assert entropy_bits(np.arange(256, dtype=np.uint8).reshape(16, 16)) == pytest.approx(8)
    assert entropy_bits(np.array([[0, 255], [0, 255]], np.uint8)) == pytest.approx(1)


def test_sharpness_of_a_hand_computed_picture():
    grey = np.zeros((3, 4), np.uint8)
    grey[1, 1] = 9
    # Laplacian at the two inner pixels: -36 and 9; variance 22.5^2. The picture: mean 0.75, variance 81/12 - 0.5625.
    assert sharpness(grey) == pytest.approx(22.5**2 / (81 / 12 - 0.5625))
    assert sharpness(np.full((9, 9), 3, np.uint8)) == 0


@given(st.integers(0, 50), st.floats(0.3, 0.9), st.integers(0, 20))
def test_sharpness_does_not_depend_on_contrast_and_falls_with_blur(seed, gain, offset):
    grey = np.random.default_rng(seed).integers(0, 200, (32, 32)).astype(np.float64)
    darker = grey * gain + offset
    assert sharpness(darker) == pytest.approx(sharpness(grey), rel=1e-6)
    assert sharpness(gaussian_filter(grey, 2)) < 0.2 * sharpness(grey)


def test_luma_and_aspect():
    assert luma(np.full((2, 2, 3), (255, 0, 0), np.uint8)).tolist() == [[76, 76], [76, 76]]
    assert aspect((10, 40)) == aspect((40, 10)) == 4


@pytest.mark.parametrize(
    ("text", "header", "found"),
    [
        ("Chest radiograph. No pneumothorax.", {"modalities": ["DX"], "regions": ["chest"]}, []),
        ("CT of the chest with contrast.", {"modalities": ["DX"], "regions": ["chest"]}, ["modality"]),
        ("MRI of the brain.", {"modalities": ["CT"], "regions": ["chest"]}, ["modality", "body part"]),
        ("Opacity of the lung. CT is recommended.", {"modalities": ["DX"], "regions": ["chest"]}, []),
        ("The lungs are clear compared with the prior CT.", {"modalities": ["CR"], "regions": ["chest"]}, []),
        ("TECHNIQUE: CT abdomen. FINDINGS: normal.", {"modalities": ["CT"], "regions": ["head"]}, ["body part"]),
        ("This ultrasound shows a cyst.", {"modalities": ["MR"]}, ["modality"]),
        ("PET/CT of the chest.", {"modalities": ["PT"]}, []),
        ("Fracture of the left wrist.", {"modalities": ["CR"], "sides": ["R"]}, ["laterality"]),
        ("Fracture of the left wrist, right normal.", {"sides": ["R"]}, []),
        ("Bilateral wrists.", {"sides": ["R"]}, []),
        ("Fracture of the wrist.", {"sides": ["R"]}, []),
        ("Fracture of the left wrist.", {"sides": ["R", "L"]}, []),
        ("Radiograph of the left hand.", {"modalities": ["CR"], "regions": ["manus"], "sides": ["L"]}, []),
        ("CT of the head.", {}, []),
    ],
)
def test_only_what_the_text_claims_of_this_study_can_contradict_the_header(text, header, found):
    assert disagreements(text, header) == found


def test_a_picture_is_refused_for_one_reason_at_a_time():
    limits = Limits()
    film = picture(1, shape=(200, 160)).render(size=256)

    def reasons(grey, shape=(200, 160)):
        return [fault.reason for fault in check_picture(grey, shape, limits)]

    assert reasons(film) == []
    assert reasons(film, (40, 40)) == ["image too small"]
    assert reasons(film, (100, 700)) == ["image too narrow"]
    assert reasons(np.full((64, 64), 80, np.uint8)) == ["image blank or nearly so"]
    blurred = gaussian_filter(np.random.default_rng(0).normal(size=(200, 160)), 10)
    stretched = (blurred - blurred.min()) / np.ptp(blurred) * 255
    assert reasons(stretched.astype(np.uint8)) == ["image blurred"]


def test_all_faults_of_a_sample_with_value_and_limit():
    one = sample("a", "x", seed=1)
    small = replace(one, images=[EncodedImage.encode(picture(1, shape=(20, 20)))])
    faults = {f.reason: (f.value, f.limit) for f in check_sample(small, Limits())}
    assert faults == {"image too small": (20, 64), "text too short": (1, 2)}
    twice = sample("b", "Clear lungs.", seed=2, images=2)
    again = replace(twice, images=[twice.images[0], twice.images[0]])
    wide = Limits(least_side=None)
    assert check_sample(twice, wide) == []
    assert [f.reason for f in check_sample(again, wide)] == ["duplicate image in the sample"]


def test_an_encoder_pair_may_be_asked_too():
    one, limits = sample("a", "Clear lungs.", seed=1, images=2), Limits(least_side=None, least_similarity=0.3)
    asked = []

    def like(pictures, texts):
        asked.append((len(pictures), set(texts)))
        return np.linspace(0.1, 0.25, len(pictures))

    (fault,) = check_sample(one, limits, similarity=like)
    assert (fault.reason, fault.value) == ("image and text are not alike", 0.25) and asked == [(2, {"Clear lungs."})]


def corpus():
    """Forty studies, half with an effusion, half with a large heart; tagged as `medvlm data tag` writes it."""
    for n in range(40):
        entity, text = ((EFFUSION, "Pleural effusion on the left."), (CARDIOMEGALY, "The heart is enlarged."))[n % 2]
        tags = {"present": {"header": ["DCM:DX", CHEST], "text": [entity]}, "sides": [""], "views": [""]}
        yield sample(f"s{n:02d}", f"{text} Case {n}.", seed=n, entities=["DCM:DX", entity], extra={"tags": tags})


def truth_by_picture(samples):
    return {
        hashlib.sha256(_png_of(s)).hexdigest(): ("effusion" if EFFUSION in s.entities else "heart") for s in samples
    }


def _png_of(one) -> bytes:
    import base64

    return base64.b64decode(data_url(one.images[0].decode().render(size=768)).split(",", 1)[1])


def oracle(truth, wrong=lambda digest: False):
    def answer(digest, text):
        right = truth[digest] in text.split("Text:")[1].split("Answer with one JSON")[0]
        if wrong(digest):
            right = not right
        return {"shows_node": right, "text_supported": 9 if right else 2, "problems": [] if right else ["other study"]}

    return answer


def test_the_judge_sees_the_picture_itself_and_survives_faults(tmp_path):
    samples = list(corpus())
    truth = truth_by_picture(samples)
    with Server(oracle(truth), flaky=True) as server:
        asker = JsonAsker(server.url, Verdict, cache=tmp_path / "c", patience=QUICK, concurrency=2)
        verdicts = judge([Pair(s, "Pleural effusion", ("Pleural effusion",)) for s in samples], asker, batch=7)
    assert [v.shows_node for v in verdicts if isinstance(v, Verdict)] == [EFFUSION in s.entities for s in samples]
    assert all(data.startswith(b"\x89PNG") for data in server.pictures)
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert set(schema["required"]) == {"shows_node", "text_supported", "problems"}
    assert max(server.asked.values()) > 1  # faults did happen


def test_planted_pairs_never_share_what_they_are_about():
    samples = list(corpus())
    pairs = planted_pairs(samples, lambda entity: entity)
    assert sum(p.matched for p in pairs) == sum(not p.matched for p in pairs) == 40
    for pair in pairs:
        own = next(e for e in pair.sample.entities if e != "DCM:DX")
        assert (own in pair.nodes) == pair.matched
    assert pairs == planted_pairs(samples, lambda entity: entity)


def test_agreement_is_what_was_planted(tmp_path):
    samples = list(corpus())
    truth = truth_by_picture(samples)
    liars = set(sorted(truth)[:4])  # a tenth of the pictures: wrong on both of their pairs
    with Server(oracle(truth, lambda digest: digest in liars)) as server:
        asker = JsonAsker(server.url, Verdict, cache=tmp_path / "c", patience=QUICK)
        pairs = planted_pairs(samples, lambda entity: entity)
        found = agreement(pairs, judge(pairs, asker))
    assert (found.precision, found.recall) == (pytest.approx(0.9), pytest.approx(0.9))
    assert (found.matched, found.shuffled, found.unanswered) == (40, 40, 0) and found.threshold == 9


def test_an_unanswered_pair_is_not_believed():
    pairs = [Pair(sample("a", "x"), "x", ()), Pair(sample("b", "y"), "y", (), matched=False)]
    found = agreement(pairs, [Unanswered("cut off"), Verdict(shows_node=True, text_supported=9, problems=[])], 5)
    assert (found.precision, found.recall, found.unanswered) == (0.0, 0.0, 1)
    assert score(Verdict(shows_node=False, text_supported=9, problems=[])) == 0


def mixed(folder):
    good = list(corpus())[:10]
    bad = [
        replace(sample("tiny", "Clear lungs.", seed=50), images=[EncodedImage.encode(picture(50, shape=(20, 30)))]),
        replace(sample("blank", "Clear lungs.", seed=51), images=[EncodedImage.encode(picture(51, flat=True))]),
        sample("wrong", "CT of the chest: clear.", seed=52, extra={"tags": TAGS}),
    ]
    return write_samples(folder, [*good, *bad], per_shard=5)


LIMITS = Limits(least_side=32)


def test_what_passes_is_written_whole_and_the_rest_says_why(tmp_path):
    shards = mixed(tmp_path / "in")
    report = align_shards(shards.folder, tmp_path / "out", LIMITS, anatomy={CHEST: "chest"})
    assert (report.samples, report.kept) == (13, 10)
    assert report.refused == {
        "image too small": 1, "image blank or nearly so": 1, "text contradicts the header: modality": 1,
    }  # fmt: skip
    kept = {s.key: s for s in ShardReader(ShardSet.open(tmp_path / "out"))}
    before = {s.key: s for s in ShardReader(shards)}
    assert all(kept[key].to_record() == before[key].to_record() for key in kept)
    assert verify(tmp_path / "out", decode=True).problems == []
    lines = [json.loads(line) for line in (tmp_path / "out" / "refused.jsonl").open()]
    assert [line["key"] for line in lines] == ["tiny", "blank", "wrong"] and lines[0]["faults"][0]["limit"] == 32
    align_shards(shards.folder, tmp_path / "again", LIMITS, anatomy={CHEST: "chest"})
    for name in ("shard-000000.tar", "shard-000000.parquet", "dataset.json", "refused.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_second_stage_asks_only_about_what_passed_and_never_twice(tmp_path):
    shards = mixed(tmp_path / "in")
    truth = truth_by_picture(list(corpus())[:10])
    lied_about = sorted(truth)[:2]
    with Server(oracle(truth, lambda digest: digest in lied_about)) as server:

        def run(out):
            asker = JsonAsker(server.url, Verdict, cache=tmp_path / "cache", patience=QUICK)
            names = {EFFUSION: "effusion", CARDIOMEGALY: "heart"}
            referee = Referee(asker, lambda entity: names.get(entity, entity))
            return align_shards(shards.folder, out, LIMITS, anatomy={CHEST: "chest"}, referee=referee)

        report = run(tmp_path / "out")
        assert sum(server.asked.values()) == 10 and report.kept == 8
        assert report.refused["judge: picture does not show the node"] == 2
        again = run(tmp_path / "again")  # a run that was killed after its answers were kept
        assert sum(server.asked.values()) == 10 and again.refused == report.refused
    assert ShardSet.open(tmp_path / "out").digest == ShardSet.open(tmp_path / "again").digest


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_killed_run_goes_on_with_what_was_checked_and_gives_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(align_run, "_CHUNK", 4)
    shards, out, seen = mixed(tmp_path / "in"), tmp_path / "out", []
    align_shards(shards.folder, tmp_path / "whole", LIMITS, anatomy={CHEST: "chest"})

    def dies(samples: int) -> None:
        seen.append(samples)
        if sum(seen) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_shards(shards.folder, out, LIMITS, anatomy={CHEST: "chest"}, progress=dies)
    with (out / align_run.JOURNAL).open("ab") as journal:
        journal.write(b'{"start": 8, "fau')  # the line that was being written
    checked, told = [], []
    monkeypatch.setattr(align_run, "check_sample", lambda s, *rest: checked.append(s.key) or check_sample(s, *rest))
    report = align_shards(shards.folder, out, LIMITS, anatomy={CHEST: "chest"}, progress=told.append)
    assert checked == [row.key for row in shards.rows()][8:] and sum(told) == 13 and report.kept == 10
    assert content(out) == content(tmp_path / "whole")
    again = align_shards(shards.folder, out, LIMITS, anatomy={CHEST: "chest"})
    assert (again, len(checked)) == (report, 5), "a finished folder is left as it is"
    align_shards(shards.folder, out, Limits(least_side=40), anatomy={CHEST: "chest"})
    assert len(checked) == 18, "other limits check everything anew"


def test_the_command_measures_the_judge_and_filters(tmp_path, chest_tree):
    samples = list(corpus())
    write_samples(tmp_path / "in", samples)
    truth = truth_by_picture(samples)
    app = typer.Typer()
    register(app)
    with Server(oracle(truth)) as server:
        args = [str(tmp_path / "in"), "--tree", str(chest_tree.folder), "--out", str(tmp_path / "out")]
        args += ["--least-side", "32", "--judge", server.url, "--measure", "20"]
        done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert "20 matched" in done.output and "precision 1.00, recall 1.00" in " ".join(done.output.split())
    assert "40 of 40 samples pass" in done.output
    assert "Examples" in CliRunner().invoke(app, ["--help"]).output


def test_refusals(tmp_path):
    shards = mixed(tmp_path / "in")
    with pytest.raises(AlignmentError, match="source itself"):
        align_shards(shards.folder, shards.folder, LIMITS)
    write_samples(tmp_path / "other", [sample("x", "Clear lungs.", seed=3, entities=[NODULE])])
    with pytest.raises(AlignmentError, match="did not write"):
        align_shards(shards.folder, tmp_path / "other", LIMITS)


def test_a_report_is_no_claim_of_another_modality():
    assert claims_of("Heart size is normal. Chest x-ray in one year.").modalities == frozenset()
