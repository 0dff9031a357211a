"""Examples of the settings, for `aftertrain check-plugin`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEACHER = '''
"""A teacher without a model: it writes the problem that the persona names, and answers each with four."""

from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Completion
from aftertrain.plugins.judging.echo import Echo


class Teacher(Echo):
    """Writes and answers."""

    def _completion(self, request: GenerationRequest) -> Completion:
        prompt = self._tokenizer.decode(list(request.prompt_ids))
        asked = prompt.partition("Person: ")[2].partition(".")[0]
        said = f"<problem>{asked}?</problem>" if asked else "It is 4."
        ids = tuple(self._tokenizer(said, add_special_tokens=False)["input_ids"])
        return Completion(request.id, request.prompt_ids, ids, (0.0,) * len(ids), (0,) * len(ids), "stop", said)
'''


def synthesize(folder: Path) -> dict[str, Any]:
    """Three problems, of which one is written twice."""
    teacher, words, personas = folder / "teacher.py", folder / "words.md", folder / "personas.txt"
    teacher.write_text(TEACHER, encoding="utf-8")
    words.write_text("Person: $persona.", encoding="utf-8")
    personas.write_text("What is 2 + 2\nWhat is 3 + 1\nWhat is 2 + 2\n", encoding="utf-8")
    return {
        "skill": "mathematics",
        "rows": 3,
        "keep": "all",
        "template": str(words),
        "personas": str(personas),
        "teacher": {
            "model": "package:aftertrain.plugins.quickstart/model",
            "generator": {"use": f"{teacher}:Teacher"},
            "sampling": {"max_new_tokens": 40},
            "max_prompt_tokens": 190,
        },
    }


EXAMPLES = {("stage", "synthesize"): synthesize}
