"""TRL's trainers read a plan in its order."""

import numpy as np
import pytest
from PIL import Image

from pretrain.importing import ImportOptions, TableSource, import_source
from pretrain.shards import Plan, ShardSet
from pretrain.shards.trl import plan_as_datasets


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    folder = tmp_path_factory.mktemp("trl")
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 4096, (48, 40)).astype(np.uint16)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "t.csv").write_text("image,text\n" + "\n".join(f"{i}.png,Report of case {i}." for i in range(6)))
    import_source(TableSource(folder / "t.csv"), folder / "out", ImportOptions(workers=0, max_samples=2))
    return Plan(ShardSet.open(folder / "out/train"), seed=4, batch=2)


def cases(rows):
    return [row["messages"][-1]["content"] for row in rows]


def test_rows_come_in_plan_order_with_their_pictures(plan):
    rows = plan_as_datasets(plan, start=3, length=9)
    expected = [f"Report of case {plan.sample(t).record}." for t in range(3, 12)]
    assert len(rows) == 9 and cases(rows) == expected and cases([rows[4]]) == expected[4:5]
    assert rows[0]["images"][0].size == (40, 48)
    assert rows[0]["messages"][0]["content"][0] == {"type": "image"}


@pytest.mark.slow
def test_sft_trainer_sees_the_plan_and_resumes_in_it(plan, tmp_path):
    trl = pytest.importorskip("trl")
    from vlm.build import new_model, save

    checkpoint = str(save(*new_model(decoder="tiny", tower="test"), tmp_path / "model"))
    seen = []

    def to_row(sample):
        seen.append(sample.key)
        picture = Image.fromarray(sample.images[0].decode().render())
        return {
            "messages": [{"role": "user", "content": [{"type": "image"}]}, sample.messages[-1]],
            "images": [picture],
        }

    def train(steps, resume=None):
        seen.clear()
        arguments = trl.SFTConfig(
            output_dir=str(tmp_path / "run"),
            max_steps=steps,
            per_device_train_batch_size=2,
            max_length=None,
            save_steps=2,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            report_to="none",
            use_cpu=True,
            bf16=False,
        )
        rows = plan_as_datasets(plan, length=20, to_row=to_row)
        trainer = trl.SFTTrainer(model=checkpoint, args=arguments, train_dataset=rows)
        seen.clear()  # the trainer looks at one row to see what it is
        trainer.train(resume_from_checkpoint=resume)
        return list(seen)

    keys = [plan.sources[0].row(plan.sample(t).record).key for t in range(20)]
    assert train(2)[:4] == keys[:4]
    resumed = train(4, resume=str(tmp_path / "run/checkpoint-2"))
    assert resumed[:4] == keys[4:8]  # nothing that was seen is decoded again
