"""`medvlm data weights`: what it writes, refuses and says, on real shards."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from med_entity_tree.build import build_tree
from med_entity_tree.concept import Concept
from med_entity_tree.weights import SamplingError
from pretrain.shards import DatasetInfo, Plan, ShardSet, ShardWriter
from pretrain.weighting.cli import register
from pretrain.weighting.make import WeightSettings, make_weights
from pretrain.weighting.stored import read_weights, write_weights

TAIL = [["common"]] * 80 + [["common", "rare"]] * 4 + [[]] * 16  # common 84 times, rare 4 times


def write_set(folder: Path, entities: list[list[str]], name: str = "set", per_shard: int = 30) -> ShardSet:
    with ShardWriter(folder, DatasetInfo(name, "test", "CC0-1.0", True), max_samples=per_shard) as writer:
        for i, row in enumerate(entities):
            head = {"messages": [{"role": "user", "content": str(i)}], "images": [], "entities": row, "masks": []}
            head |= {"extra": {}, "provenance": {"source": name, "licence": "CC0-1.0", "simulated": True}}
            writer.write_record(
                f"{name}-{i:05d}", {"json": json.dumps(head).encode()},
                tokens=1, patches=0, images=0, heights=[], widths=[], entities=row, patient=f"p{i}", study=f"s{i}",
            )  # fmt: skip
    return ShardSet.open(folder)


@pytest.fixture
def shards(tmp_path) -> ShardSet:
    return write_set(tmp_path / "set", TAIL)


def test_weights_in_the_file_are_those_of_the_formula(shards, tmp_path):
    make_weights(shards.folder, tmp_path / "w.parquet", WeightSettings(exponent=0.5, cap=100, floor=0, least_count=1))
    weights = read_weights(tmp_path / "w.parquet", shards).weights
    ratio = (84 / 4) ** 0.5
    scale = 100 / (96 + 4 * ratio)
    assert weights[:80] == pytest.approx(scale)
    assert weights[80:84] == pytest.approx(scale * ratio)
    assert weights[84:] == pytest.approx(scale)  # without entity: as the commonest


def test_an_epoch_of_the_plan_draws_what_the_table_says(shards, tmp_path):
    report = make_weights(shards.folder, tmp_path / "w.parquet", WeightSettings(exponent=1.0, cap=6, least_count=1))
    plan = Plan(shards, seed=3, batch=5, weights={"set": read_weights(tmp_path / "w.parquet", shards).weights})
    assert plan.epoch_length() == len(shards) == 100
    drawn = np.zeros(100, int)
    for epoch in range(20):
        start = plan.epoch_start(epoch)
        counts = np.bincount([plan.sample(t).record for t in range(start, start + 100)], minlength=100)
        assert (abs(counts - report.weights) < 1).all()  # each epoch gives the floor or the ceiling of the weight
        drawn += counts
    rare = next(row for row in report.exposures if row.entity == "rare")
    assert rare.epochs == 6  # held by the cap
    assert drawn[80:84].sum() == 20 * 4 * 6
    for row in report.buckets:
        own = {"1-9": drawn[80:84], "10-99": drawn[:80], "no entity": drawn[84:]}[row.name]
        assert own.sum() / drawn.sum() == pytest.approx(row.after, abs=0.01)


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(tmp_path):
    digests = []
    for place in ("one", "other"):
        source = write_set(tmp_path / place / "set", TAIL)
        report = make_weights(source.folder, tmp_path / place / "w.parquet", WeightSettings())
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in report.files])
    assert digests[0] == digests[1]


def test_entities_below_the_least_count_are_weighed_alike(tmp_path):
    source = write_set(tmp_path / "set", [["once"]] + [["few"]] * 5 + [["ten"]] * 10 + [["many"]] * 40)
    weights = make_weights(source.folder, tmp_path / "w.parquet", WeightSettings(exponent=0.5)).weights
    assert len(set(weights[:16])) == 1
    assert weights[0] == pytest.approx(2 * weights[-1])  # (10 / 40) ** -0.5
    with pytest.raises(SamplingError, match="least count is 0"):
        make_weights(source.folder, tmp_path / "w.parquet", WeightSettings(least_count=0))


def test_weights_of_other_data_are_refused_by_name(shards, tmp_path):
    make_weights(shards.folder, tmp_path / "w.parquet", WeightSettings())
    other = write_set(tmp_path / "other", TAIL[1:], name="other")
    with pytest.raises(SamplingError, match=r"100 samples of 'set'.*99 samples of 'other'.*medvlm data weights"):
        read_weights(tmp_path / "w.parquet", other)
    same_size = write_set(tmp_path / "changed", TAIL[1:] + [["rare"]])
    with pytest.raises(SamplingError, match="100 samples of 'set'"):
        read_weights(tmp_path / "w.parquet", same_size)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:60], lambda data: b"no parquet at all"])
def test_a_damaged_file_is_refused(shards, tmp_path, damage):
    path = tmp_path / "w.parquet"
    make_weights(shards.folder, path, WeightSettings())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SamplingError, match="not a file of `medvlm data weights`"):
        read_weights(path, shards)


def test_a_missing_file_is_told_with_the_command(shards, tmp_path):
    with pytest.raises(SamplingError, match="there is no weights file"):
        read_weights(tmp_path / "w.parquet", shards)


def test_an_index_of_another_tool_is_no_weights_file(shards):
    with pytest.raises(SamplingError, match="not a file of"):
        read_weights(next(shards.folder.glob("*.parquet")), shards)


def test_a_failed_write_leaves_the_old_file(shards, tmp_path):
    path = tmp_path / "w.parquet"
    make_weights(shards.folder, path, WeightSettings())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="length"):
        write_weights(path, shards, np.ones(3), {})
    assert path.read_bytes() == before


def test_counts_of_another_corpus_decide(shards, tmp_path):
    counts = {"tree": "t", "documents": 7, "parts": [], "present": {"common": 1, "other": 9}, "mentions": {}}
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags" / "counts.json").write_text(json.dumps(counts))
    settings = WeightSettings(exponent=1.0, counts=tmp_path / "tags", least_count=1)
    report = make_weights(shards.folder, tmp_path / "w.parquet", settings)
    assert report.weights == pytest.approx(1)  # both entities count as seen once there
    assert report.uncounted == ["rare"]
    (tmp_path / "tags" / "counts.json").write_text("{}")
    with pytest.raises(SamplingError, match="does not hold counts"):
        make_weights(shards.folder, tmp_path / "w.parquet", settings)


def test_counts_roll_up_the_tree(tmp_path):
    def hp(number, name, *parents):
        return Concept(f"HP:{number}", name, "HP", "finding", [], [f"HP:{p}" for p in parents])

    concepts = [hp("0002086", "Abnormality of the respiratory system"), hp(10, "Pneumothorax", "0002086")]
    concepts += [hp(11, "Tension pneumothorax", 10), hp(12, "Pleural effusion", "0002086")]
    build_tree(tmp_path / "met", ontologies=(), more=[("tests", lambda dropped: iter(concepts))])
    rows = [["HP:10"]] * 2 + [["HP:11"]] * 30 + [["HP:12"]] * 4 + [["mine"]] * 4
    source = write_set(tmp_path / "set", rows)
    plain = make_weights(
        source.folder, tmp_path / "a.parquet", WeightSettings(exponent=1, cap=30, floor=0, least_count=1)
    )
    rolled = make_weights(
        source.folder,
        tmp_path / "b.parquet",
        WeightSettings(exponent=1, cap=30, floor=0, least_count=1, tree=tmp_path / "met"),
    )
    assert plain.weights[0] > plain.weights[40 - 8] > plain.weights[5]  # the parent looks rarest
    # rolled up: the parent's branch has 32 samples, so it is the commonest
    assert rolled.weights[0] / rolled.weights[32] == pytest.approx(4 / 32)
    assert rolled.weights[0] / rolled.weights[5] == pytest.approx(30 / 32)
    assert rolled.outside_tree == ["mine"]
    with pytest.raises(SamplingError, match="--counts or --tree"):
        make_weights(
            source.folder, tmp_path / "c.parquet", WeightSettings(counts=tmp_path / "x", tree=tmp_path / "met")
        )


def test_a_data_set_without_entities_is_refused(tmp_path):
    source = write_set(tmp_path / "set", [[], []])
    with pytest.raises(SamplingError, match="tag the data set first"):
        make_weights(source.folder, tmp_path / "w.parquet", WeightSettings())


def command(*arguments) -> tuple[int, str]:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["weights", *map(str, arguments)], env={"COLUMNS": "160"})
    return result.exit_code, result.output + str(result.exception or "")


def test_the_command_prints_the_table_and_warns_of_repeats(shards, tmp_path):
    code, output = command(
        shards.folder,
        "--out",
        tmp_path / "w.parquet",
        "--exponent",
        "1",
        "--warn-repeats",
        "5",
        "--cap",
        "6",
        "--least-count",
        "1",
    )
    assert code == 0, output
    assert "rare has 4 samples, which come 6.0 times an epoch" in output
    assert "4 samples are at the cap, 0 at the floor" in output
    rows = [line for line in output.splitlines() if "rare " in line and "4.00%" in line]
    assert len(rows) == 1
    assert "24.00%" in rows[0]
    assert {file.name for file in tmp_path.glob("w.*")} == {"w.parquet", "w.json", "w.png"}
    table = json.loads((tmp_path / "w.json").read_text())
    assert table["often repeated"] == ["rare"]
    assert sum(row["after"] for row in table["buckets"]) == pytest.approx(1)
    assert str(tmp_path) not in (tmp_path / "w.json").read_text()


def test_the_command_refuses_settings_in_a_sentence(shards, tmp_path):
    assert "0 <= floor <= 1 <= cap" in command(shards.folder, "--out", tmp_path / "w.parquet", "--cap", "0.5")[1]
    assert "weights are a .parquet file" in command(shards.folder, "--out", tmp_path / "w.csv")[1]


def test_help_has_examples():
    assert "medvlm data weights work/shards/train" in command("--help")[1]
