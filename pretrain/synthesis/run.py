"""Tagged shards to shards of captions and questions: one conversation a study, with the study's own pictures.

Everything but the answers of models follows from the shards, the tree and the seed in little time, so a killed run
begins anew with the answers that it has, and gives the same bytes.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from med_entity_tree.tagger import Tagger
from med_entity_tree.tree import ENTITIES, Tree
from pretrain.shards import DatasetInfo, ShardReader, ShardSet, ShardWriter
from pretrain.shards.derived import begin_derived
from pretrain.shards.index import read_manifest
from pretrain.synthesis.blind import Checked, Choice, Floors, check_by_asking, check_by_guessing
from pretrain.synthesis.captions import Caption, faults_of, template_caption
from pretrain.synthesis.facts import Knowledge, StudyFacts, SynthesisError, facts_of
from pretrain.synthesis.questions import KINDS, LETTERS, Kind, Made, Question, make_questions
from pretrain.synthesis.rewrite import Written, rewrite_captions
from pretrain.tagging.turns import text_of
from vlm.messages import Message
from vlm.sample import Sample

if TYPE_CHECKING:
    from vlm.asking import JsonAsker

log = logging.getLogger(__name__)
BEGUN = "synthesis.json"
PROMPT = "Describe this study in one paragraph."


@dataclass(frozen=True)
class Options:
    """What is made.

    Attributes:
        kinds: of questions; empty for none.
        options, most: of a question, and questions of a study.
        captions: write captions.
        background: add what the tree knows, under its own heading.
        seed: of every draw.
    """

    kinds: Sequence[Kind] = KINDS
    options: int = 4
    most: int = 4
    captions: bool = True
    background: bool = True
    seed: int = 0


@dataclass
class SynthesisReport:
    """What was made of how many studies, and what was left out, by reason; ``summary`` is the manifest's."""

    studies: int = 0
    captions: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    questions: Counter[str] = field(default_factory=Counter)
    summary: dict[str, Any] = field(default_factory=dict)
    samples: int = 0


def synthesize(
    source: Path,
    tree: Tree,
    out: Path,
    options: Options = Options(),
    *,
    writer: "JsonAsker[Written] | None" = None,
    blind: "JsonAsker[Choice] | None" = None,
) -> SynthesisReport:
    """Write captions and questions about the studies of ``source`` (tagged) to ``out``.

    ``out`` gets shards, ``questions.jsonl`` with the evidence of every question, and ``synthesis.json``. A folder that
    is finished with the same settings is left as it is.

    Args:
        writer: model for captions; where it fails, the template's caption is used. None: templates only.
        blind: model that answers without the image; None: the text guesser does.

    Raises:
        SynthesisError: the source is not tagged, ``out`` holds something else, or nothing can be made.
    """
    shards = ShardSet.open(source)
    models = {"writer": writer and writer.chosen_model(), "blind": blind and blind.chosen_model()}
    told = hashlib.sha256((tree.folder / ENTITIES).read_bytes()).hexdigest()
    settings = {"source": shards.digest, "tree": told, **asdict(options), **models}
    if begin_derived(source, out, BEGUN, settings, SynthesisError):
        return _finished(out)
    known, reader, report = Knowledge(tree, Tagger.of_folder(tree.folder)), ShardReader(shards), SynthesisReport()
    places: list[int] = []
    studies: list[StudyFacts] = []
    for n in range(len(shards)):
        sample = reader.sample(n)
        facts = facts_of(sample, tree)
        if not sample.images:
            report.refused["no image"] += 1
        elif not (facts.present or facts.negated or facts.uncertain):
            report.refused["nothing stated or denied"] += 1
        else:
            places.append(n)
            studies.append(facts)
    report.studies = len(studies)
    captions = _captions(studies, reader, places, known, options, writer, report)
    made = make_questions(
        studies, known, kinds=options.kinds, options=options.options, most=options.most, seed=options.seed
    )
    report.refused.update(made.dropped)
    checked = _checked(made, blind, options)
    by_study: dict[str, list[Question]] = {}
    for question in checked.kept:
        report.questions[question.kind] += 1
        by_study.setdefault(question.key, []).append(question)
    info = DatasetInfo(
        f"{shards.name}-synthesis", shards.name, shards.manifest["licence"], shards.manifest["simulated"]
    )
    with (out / "questions.jsonl").open("w", encoding="utf-8") as listed:
        written = ShardWriter(out, info)
        for n, facts, caption in zip(places, studies, captions, strict=True):
            questions = by_study.get(facts.key, [])
            if caption is None and not questions:
                report.refused["study without caption and question"] += 1
                continue
            written.write(_sample(reader.sample(n), caption, questions))
            for question in questions:
                listed.write(json.dumps(asdict(question), ensure_ascii=False) + "\n")
    report.samples = len(written)
    if not report.samples:
        written.abort()
        raise SynthesisError(f"{source}: nothing could be made: {dict(report.refused)}")
    report.summary = _summary(report, checked, options)
    written.close(dict(sorted(report.refused.items())), synthesis=report.summary)
    return report


def _finished(out: Path) -> SynthesisReport:
    manifest = read_manifest(out)
    said = manifest["synthesis"]
    made, refused = Counter(said["questions"]), Counter(manifest["dropped"])
    samples = manifest["counts"]["samples"]
    return SynthesisReport(said["studies"], Counter(said["captions"]), refused, made, said, samples)


def _captions(
    studies: Sequence[StudyFacts], reader: ShardReader, places: Sequence[int], known: Knowledge, options: Options,
    writer: "JsonAsker[Written] | None", report: SynthesisReport,
) -> list[Caption | None]:  # fmt: skip
    """A caption for every study, by the model where its own passes, else by the template where that passes."""
    if not options.captions:
        return [None] * len(studies)
    made: list[Caption | None] = [None] * len(studies)
    if writer is not None:
        reports = [_report_of(reader.sample(n)) for n in places]
        rewritten = rewrite_captions(studies, reports, known, writer, background=options.background)
        made = rewritten.captions
        report.refused.update({f"caption of the model: {why}": n for why, n in rewritten.refused.items()})
    for n, facts in enumerate(studies):
        if made[n] is None:
            caption = template_caption(facts, known, background=options.background)
            faults = faults_of(caption.study, facts, known)
            if faults:
                report.refused.update(f"caption of the template: {fault.partition(':')[0]}" for fault in faults[:1])
            else:
                made[n] = caption
                report.refused["entity without a name that can be read back"] += len(caption.left_out)
        found = made[n]
        if found is not None:
            report.captions["template" if found.writer == "template" else "model"] += 1
    return made


def _report_of(sample: Sample) -> str:
    return "\n".join(text_of(m) for m in sample.messages if m["role"] == "assistant")[:4000]


def _checked(made: Made, blind: "JsonAsker[Choice] | None", options: Options) -> Checked:
    if blind is not None:
        return check_by_asking(made.questions, blind, seed=options.seed)
    return check_by_guessing(made.questions, options.seed)


def _sample(sample: Sample, caption: Caption | None, questions: Sequence[Question]) -> Sample:
    """The conversation: caption first, then questions from coarse to fine, all about the study's own pictures."""
    turns = [(PROMPT, caption.text)] if caption is not None else []
    turns += [(q.text(), f"{LETTERS[q.answer]}. {q.names[q.answer]}") for q in questions]
    messages: list[Message] = []
    for i, (asked, answered) in enumerate(turns):
        text = {"type": "text", "text": asked}
        pictures = [{"type": "image", "image": n} for n in range(len(sample.images))] if i == 0 else []
        messages.append({"role": "user", "content": [*pictures, text] if pictures else asked})
        messages.append({"role": "assistant", "content": answered})
    kept = {name: sample.extra[name] for name in ("split", "tags") if name in sample.extra}
    told: dict[str, Any] = {
        "caption": caption.writer if caption else None,
        "background": bool(caption and caption.background),
        "questions": [
            {"id": q.id, "kind": q.kind, "entity": q.entity, "evidence": list(q.evidence)} for q in questions
        ],
    }
    source = f"{sample.provenance.source}, synthesis"
    return replace(
        sample,
        messages=messages,
        provenance=replace(sample.provenance, source=source),
        extra={**kept, "synthesis": told},
    )


def _summary(report: SynthesisReport, checked: Checked, options: Options) -> dict[str, Any]:
    return {
        "seed": options.seed,
        "studies": report.studies,
        "captions": dict(sorted(report.captions.items())),
        "questions": dict(sorted(report.questions.items())),
        "answered blind by": checked.answerer,
        "dropped as answered blind": dict(sorted(checked.dropped.items())),
        "unanswered": checked.unanswered,
        "floors before": _rounded(checked.before),
        "floors after": _rounded(checked.after),
        "floors after, by kind": {kind: _rounded(found) for kind, found in sorted(checked.by_kind.items())},
    }


def _rounded(found: Floors | None) -> dict[str, float | None]:
    if found is None:
        return {}
    return {k: None if v != v else round(v, 4) for k, v in asdict(found).items()}
