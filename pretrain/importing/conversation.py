"""How a study becomes a conversation: a report to be written, questions in turns, or both."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pretrain.importing.study import Study
from vlm.messages import Message

Mode = Literal["report", "questions", "both"]

REPORT_PROMPTS = (
    "Write a radiology report for this study.",
    "Describe the findings and give your impression.",
    "Report this examination.",
    "What does this study show? Answer as a radiology report.",
    "Give findings and impression for these images.",
    "Please read this study and write the report.",
)


@dataclass(frozen=True)
class Conversation:
    """Turns of a sample.

    Attributes:
        mode: "report" (questions only where there is no report), "questions" (report only where there are no
            questions),
            or "both", report first.
        max_questions: questions in one conversation; which ones, and their order, is drawn from the key.
        prompts: ways to ask for a report, one drawn for each key.
        system: system message, "" for none.
    """

    mode: Mode = "report"
    max_questions: int = 8
    prompts: Sequence[str] = REPORT_PROMPTS
    system: str = ""

    def messages(self, study: Study) -> list[Message]:
        """The conversation of a study, all images in the first user turn; empty when the study has no text."""
        if study.messages:
            return list(study.messages)
        turns = self._turns(study)
        messages: list[Message] = [{"role": "system", "content": self.system}] if self.system and turns else []
        for i, (asked, answered) in enumerate(turns):
            text = {"type": "text", "text": asked}
            images = [{"type": "image", "image": n} for n in range(len(study.images))] if i == 0 else []
            messages.append({"role": "user", "content": [*images, text] if images else asked})
            messages.append({"role": "assistant", "content": answered})
        return messages

    def _turns(self, study: Study) -> list[tuple[str, str]]:
        report = study.report.text() if study.report else ""
        asked = [q for q in study.questions if q.question.strip() and q.answer.strip()]
        asked = sorted(asked, key=lambda q: _draw(study.key, q.question, q.answer))[: self.max_questions]
        questions = [(q.question.strip(), q.answer.strip()) for q in asked]
        prompt = self.prompts[_draw(study.key, "prompt") % len(self.prompts)]
        reported = [(prompt, report)] if report else []
        if self.mode == "both":
            return reported + questions
        if self.mode == "questions":
            return questions or reported
        return reported or questions


def _draw(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "little")
