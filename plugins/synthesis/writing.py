"""Prompts and answers, asked of models in batches; a reply that was paid for once is found again in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.asking.asker import Asker
from aftertrain.core.asking.exchange import Answer, Spent
from aftertrain.core.records import JSON, Verdict
from aftertrain.plugins.synthesis.material import Material, tagged
from aftertrain.plugins.synthesis.settings import Skill

BOXED = "State the final answer in \\boxed{}."
"""Ends a word problem, so that its answers can be read."""
ONCE = "budget"


@dataclass
class Draft:
    """A prompt on its way.

    Attributes:
        number: which of the stage's prompts.
        prompt: as the record will have it; "" where the teacher wrote none.
        truth: what the verifier compares answers with, as far as it is known before there are any.
        answers: what was said to it, None for what could not be had.
        lost: why it is left out, "" while it is not.
    """

    number: int
    persona: str
    prompt: str = ""
    truth: JSON = None
    answers: list[str | None] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    lost: str = ""
    evidence: str = ""

    def leave_out(self, reason: str, evidence: str = "") -> None:
        """It will be no row."""
        self.lost, self.evidence = reason, evidence


class Writer:
    """Asks the teacher for prompts, and whoever answers for answers."""

    def __init__(self, skill: Skill, material: Material, teacher: Asker, answering: Asker, seed: int) -> None:
        self._skill, self._material = skill, material
        self._teacher, self._answering, self._seed = teacher, answering, seed

    def prompts(self, numbers: Sequence[int]) -> list[Draft]:
        """The prompts of these numbers."""
        drafts, questions = [], []
        for number in numbers:
            persona, constraint = self._material.drawn(number, self._seed)
            drafts.append(Draft(number, persona))
            if constraint is not None:
                drafts[-1].truth = {"instruction_id_list": [constraint.id], "kwargs": [dict(constraint.arguments)]}
                drafts[-1].evidence = constraint.sentence
            asked = self._material.words.asked(persona)
            questions.append(self._teacher.prompting.question(f"{self._seed}/prompt/{number}", asked))
        for draft, answer in zip(drafts, self._teacher.ask(questions, self._usable), strict=True):
            self._take(draft, answer)
        return drafts

    def answers(self, drafts: Sequence[Draft], count: int) -> None:
        """So many answers to each of these."""
        questions = [
            self._answering.prompting.question(f"{self._seed}/answer/{draft.number}/{place}", draft.prompt)
            for draft in drafts
            for place in range(count)
        ]
        found = self._answering.ask(questions, lambda text: text if text.strip() else None)
        for start, draft in enumerate(drafts):
            own = found[start * count : (start + 1) * count]
            draft.answers = [answer.usable if isinstance(answer, Answer) else None for answer in own]
            draft.spent += [answer.spent for answer in own if isinstance(answer, Answer)]
            failed = next((answer for answer in own if isinstance(answer, Verdict)), None)
            if not any(draft.answers):
                draft.leave_out(*_why(failed, "no_answer"))

    def _usable(self, text: str) -> str | None:
        parts = tagged(text)
        whole = "problem" in parts and (self._skill != "code" or bool(_tests(parts)))
        return text if whole else None

    def _take(self, draft: Draft, answer: Answer | Verdict) -> None:
        if isinstance(answer, Answer):
            draft.spent.append(answer.spent)
        if isinstance(answer, Verdict) or answer.usable is None:
            draft.leave_out(*_why(answer if isinstance(answer, Verdict) else None, "no_prompt"))
            return
        parts = tagged(answer.usable)
        draft.prompt = parts["problem"]
        if self._skill == "mathematics":
            draft.prompt = f"{draft.prompt}\n\n{BOXED}"
        elif self._skill == "code":
            draft.truth = _tests(parts)
        else:
            draft.prompt, draft.evidence = f"{draft.prompt}\n\n{draft.evidence}", ""


def _tests(parts: dict[str, str]) -> list[str]:
    lines = (line.strip() for line in parts.get("tests", "").splitlines())
    return [line for line in lines if line.startswith("assert ")]


def _why(verdict: Verdict | None, otherwise: str) -> tuple[str, str]:
    """Reason in a word, and what was said."""
    if verdict is None:
        return otherwise, ""
    if verdict.detail.startswith("budget spent"):
        return ONCE, verdict.detail
    return ("timeout" if verdict.outcome == "timeout" else "error"), verdict.detail


def total(spent: Sequence[Spent]) -> dict[str, Any]:
    """What replies took together."""
    return {
        "calls": sum(entry.calls for entry in spent),
        "prompt_tokens": sum(entry.prompt_tokens for entry in spent),
        "reply_tokens": sum(entry.reply_tokens for entry in spent),
        "cost": sum(entry.cost for entry in spent),
    }
