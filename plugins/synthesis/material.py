"""What prompts are made of: words for the teacher, personas, and constraints; ours, or the user's own files."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.ground.reading import decode, parse_json, read_bytes
from aftertrain.plugins.synthesis.settings import SynthesizeSettings

PERSONA = "$persona"
_TAGGED = re.compile(r"<(problem|tests)>\s*(.*?)\s*</\1>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Constraint:
    """A demand on an answer.

    Attributes:
        sentence: as it is asked.
        id: IFEval's.
        arguments: of the check.
    """

    sentence: str
    id: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Words:
    """A template.

    Attributes:
        name: of the file.
        version: as it says itself; of a user's file that says none "".
        license: likewise.
    """

    name: str
    version: str
    license: str
    text: str

    def asked(self, persona: str) -> str:
        """What the teacher is asked."""
        return Template(self.text).safe_substitute(persona=persona)


class Material:
    """The files that a stage's settings name, read once.

    Raises:
        DataError: a file cannot be read, or holds nothing that can be used.
    """

    def __init__(self, settings: SynthesizeSettings) -> None:
        self._settings = settings

    @cached_property
    def words(self) -> Words:
        """The template."""
        name, data = self._file(self._settings.template, f"{self._settings.skill}.md")
        head, line, text = decode(data, name, error=DataError).partition("\n---\n")
        if not line:
            head, text = "", head
        if PERSONA not in text:
            raise DataError(f"{name}: a template says where the persona stands, by {PERSONA}, and this one does not")
        facts = dict(entry.partition(": ")[::2] for entry in head.splitlines())
        return Words(Path(name).name, facts.get("version", ""), facts.get("license", ""), text.strip())

    @cached_property
    def personas(self) -> Sequence[str]:
        """In the file's order."""
        name, data = self._file(self._settings.personas, "personas.txt")
        lines = [line.strip() for line in decode(data, name, error=DataError).splitlines() if line.strip()]
        found = [_persona(line, name, number) for number, line in enumerate(lines, 1)]
        if not found:
            raise DataError(f"{name}: it names no persona")
        return found

    @cached_property
    def constraints(self) -> Sequence[Constraint]:
        """Those of answers to instructions."""
        import yaml

        text = (resources.files(__package__) / "templates" / "constraints.yaml").read_text(encoding="utf-8")
        return [Constraint(**entry) for entry in yaml.safe_load(text)]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that is read."""
        files = [(self._settings.template, f"{self._settings.skill}.md"), (self._settings.personas, "personas.txt")]
        total = hashlib.sha256()
        for given, ours in [*files, (None, "constraints.yaml")]:
            total.update(hashlib.sha256(self._file(given, ours)[1]).digest())
        return total.hexdigest()

    def drawn(self, number: int, seed: int) -> tuple[str, Constraint | None]:
        """Persona of a prompt, each in turn in an order that the seed shuffles, and of instructions the constraint."""
        order = list(range(len(self.personas)))
        round_, place = divmod(number, len(order))
        random.Random(f"{seed}/personas/{round_}").shuffle(order)
        constraint = None
        if self._settings.skill == "instructions":
            constraint = random.Random(f"{seed}/constraint/{number}").choice(self.constraints)
        return self.personas[order[place]], constraint

    @staticmethod
    def _file(given: str | None, ours: str) -> tuple[str, bytes]:
        if given is not None:
            return given, read_bytes(Path(given), error=DataError)
        return ours, (resources.files(__package__) / "templates" / ours).read_bytes()


def tagged(text: str) -> dict[str, str]:
    """What stands between the tags of a teacher's reply, the last of each.

    >>> tagged("Sure! <problem> Two and two? </problem>")
    {'problem': 'Two and two?'}
    """
    return {name.lower(): inside for name, inside in _TAGGED.findall(text) if inside}


def _persona(line: str, name: str, number: int) -> str:
    if not line.startswith("{"):
        return line
    value = parse_json(line, name, line=number, error=DataError)
    persona = value.get("persona", value.get("input persona"))
    if not isinstance(persona, str) or not persona.strip():
        raise DataError(f"{name}:{number}: expected a field persona with a text; the line has: {', '.join(value)}")
    return persona.strip()
