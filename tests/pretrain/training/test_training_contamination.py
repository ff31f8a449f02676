"""A run does not start on benchmark items or on its own validation data, and says what it checked."""

import json

import pytest
from training_samples import make_sample, tiny_recipe, write_shards

from pretrain.decontamination.benchmarks import read_benchmark
from pretrain.decontamination.errors import ContaminationError, DecontaminationError
from pretrain.decontamination.exclude import write_excluded
from pretrain.decontamination.manifest import build_manifest
from pretrain.shards.index import ShardSet
from pretrain.training.data import check_contamination, open_plan
from pretrain.training.loop import train
from pretrain.training.recipe import TrainRecipe


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mix")
    mix = write_shards(folder / "mix", [make_sample(n) for n in range(12)])
    held = write_shards(folder / "held", [make_sample(n) for n in (3, 30, 31)], name="held")
    clean = write_shards(folder / "clean", [make_sample(n) for n in (40, 41)], name="clean")
    for name in ("held", "clean"):
        build_manifest(name, read_benchmark(folder / name)).save(folder / f"{name}.npz")
    return {"mix": mix, "held": held, "clean": clean, "manifest": folder / "held.npz", "other": folder / "clean.npz"}


def recipe(run, shards, val=None, **section) -> TrainRecipe:
    data = {"train": str(shards["mix"]), "val": val and str(val), "decontamination": section or None}
    return TrainRecipe.model_validate(tiny_recipe(run, shards["mix"], data=data, steps=2))


def test_a_benchmark_item_in_the_mix_stops_the_run_before_its_folder_is_made(shards, tmp_path):
    asked = recipe(tmp_path / "run", shards, manifests=[str(shards["manifest"])])
    with pytest.raises(ContaminationError, match=r"1 samples .* held: tiny/image0003 \(.*item image0003\).*exclude="):
        train(asked)
    assert not (tmp_path / "run").exists()


def test_an_excluded_sample_does_not_count_and_is_never_drawn(shards, tmp_path):
    source = ShardSet.open(shards["mix"])
    write_excluded(tmp_path / "x.json", {"tiny": ["image0003"]}, [source])
    asked = recipe(
        tmp_path / "run", shards, manifests=[str(shards["manifest"])], exclude=[str(tmp_path / "x.json")]
    )  # fmt: skip
    plan = open_plan(asked)
    assert plan.epoch_length() == 11
    drawn = {plan.sources[0].row(plan.sample(t).record).key for t in range(44)}
    assert len(drawn) == 11 and "image0003" not in drawn
    run = train(asked)
    said = json.loads((run.path / "data.json").read_text())["contamination"]
    assert said["samples_of_weight_0"] == 1 and said["samples"] == 12
    assert said["benchmarks"][0]["name"] == "held" and said["benchmarks"][0]["items"] == 3


def test_a_run_without_manifests_says_that_it_was_not_checked(shards, tmp_path, caplog):
    run = train(recipe(tmp_path / "run", shards))
    said = json.loads((run.path / "data.json").read_text())["contamination"]
    assert said["benchmarks"] == "not checked" and said["validation"] == "none"
    assert "not checked against any benchmark" in caplog.text


def test_validation_data_in_the_mix_is_refused_unless_allowed(shards, tmp_path):
    asked = recipe(tmp_path / "run", shards, shards["held"])
    with pytest.raises(
        ContaminationError, match=r"1 samples .* share 1 records, 1 patients with .* held: tiny/image0003"
    ):
        check_contamination(open_plan(asked), asked)
    allowed = recipe(tmp_path / "run", shards, shards["held"], allow_val_overlap=True)
    counts = check_contamination(open_plan(allowed), allowed)["validation"]
    assert counts == {"records": 1, "patients": 1, "studies": 0, "samples": 1}
    clean = recipe(tmp_path / "run", shards, shards["clean"])
    assert check_contamination(open_plan(clean), clean)["validation"]["samples"] == 0


def test_a_second_start_scans_nothing(shards, tmp_path, monkeypatch):
    asked = recipe(tmp_path / "run", shards, manifests=[str(shards["other"])])
    first = check_contamination(open_plan(asked), asked)
    monkeypatch.setattr("pretrain.decontamination.scan.scan_shard", lambda *_: pytest.fail("scanned again"))
    assert check_contamination(open_plan(asked), asked) == first


def test_a_run_of_before_resumes_and_may_gain_a_check(shards, tmp_path):
    """A null section is what older run folders hold; manifests only add a check."""
    run = train(recipe(tmp_path / "run", shards))
    stored = run.recipe.read_text()
    run.recipe.write_text("\n".join(line for line in stored.splitlines() if "decontamination" not in line))
    assert train(recipe(tmp_path / "run", shards)).finished
    assert train(recipe(tmp_path / "run", shards, manifests=[str(shards["other"])])).finished


def test_a_missing_manifest_is_an_error_and_not_a_pass(shards, tmp_path):
    asked = recipe(tmp_path / "run", shards, manifests=[str(tmp_path / "none.npz")])
    with pytest.raises(DecontaminationError, match="there is no benchmark manifest"):
        check_contamination(open_plan(asked), asked)
