"""A model as judge: asked whether a reply is right, does it begin its answer with yes or with no?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from acme_aftertrain.settings import SaysYesSettings
from aftertrain.core.errors import Unavailable
from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.ground.cleaning import clean
from aftertrain.core.records import Completion, Message, Verdict, VerificationCase
from aftertrain.core.run.base_model import find_model, model_digest
from aftertrain.core.text.chat import load_tokenizer, prompt_text
from aftertrain.core.verifier import Verifier

QUESTION = "Is the reply right? Say yes or no.\nQuestion: {prompt}\nRight answer: {truth}\nReply:\n{reply}"
NO_TEXT = Verdict.error("the ground truth must be a text")


class SaysYes(Verifier[SaysYesSettings]):
    """Ground truth: the right answer, as the judge is told it. What is neither yes nor no is unparsable."""

    Config = SaysYesSettings
    isolated = False

    @property
    def timeout(self) -> float:
        """The setting."""
        return self.settings.timeout

    def content(self) -> str:
        """Other weights in the same folder are another judge."""
        return model_digest(Path(self._folder)) if self.settings.model else ""

    def preflight(self) -> None:
        """There must be a judge."""
        if not self.settings.model:
            raise Unavailable("verifier 'acme/says_yes' has no judge: its setting 'model' is the folder of one")
        _ = self._folder

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """All cases in one batch, but those whose ground truth is no text."""
        asked = [(str(place), case) for place, case in enumerate(cases) if isinstance(case.ground_truth, str)]
        requests = [self._request(place, case) for place, case in asked]
        said = {reply.id: reply for reply in self._generator.generate(requests, self.settings.timeout)}
        return [self._verdict(said[str(place)]) if str(place) in said else NO_TEXT for place in range(len(cases))]

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """A ground truth that is no text; the judge is not asked before there are replies."""
        return [None if isinstance(case.ground_truth, str) else NO_TEXT.detail for case in cases]

    def close(self) -> None:
        """Free the judge."""
        if "_generator" in self.__dict__:
            self._generator.close()

    @cached_property
    def _generator(self) -> Generator[Any]:
        self.preflight()
        generator = self.builder.build(self.settings.generator)
        generator.open(self._folder)
        return generator

    @cached_property
    def _folder(self) -> str:
        return str(find_model(str(self.settings.model), Path.cwd()))

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._folder, None, needs_template=False)

    def _request(self, place: str, case: VerificationCase) -> GenerationRequest:
        text = QUESTION.format(prompt=case.prompt, truth=case.ground_truth, reply=case.response)
        prompt = prompt_text(self._tokenizer, (Message("user", clean(text)),), chat=False)
        ids = tuple(self._tokenizer(prompt, add_special_tokens=False)["input_ids"])
        return GenerationRequest(place, ids, Sampling(max_new_tokens=4, temperature=0.0), seed=0)

    def _verdict(self, reply: Completion) -> Verdict:
        words = reply.text.strip().lower()
        if words.startswith(("yes", "no")):
            return Verdict.scored(float(words.startswith("yes")), reply.text.strip()[:20])
        return Verdict.unparsable(f"the judge said {reply.text[:20]!r}")
