"""How likely a model finds a few mottos."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from acme_aftertrain.settings import MottosSettings
from aftertrain.core.eval_task import Instance, InstanceScore, TextScores, TextTask
from aftertrain.core.figures import Figure, ratio
from aftertrain.core.records import Message

MOTTOS = {"en": "Measure twice, cut once.", "de": "Erst wägen, dann wagen.", "la": "Festina lente."}


class Mottos(TextTask[MottosSettings]):
    """Bits per byte over all of them."""

    Config = MottosSettings

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the ratio is made of."""
        return ("bits", "bytes")

    def instances(self) -> Sequence[Instance]:
        """The mottos."""
        return [Instance(key, (Message("user", text),), None, chat=False) for key, text in MOTTOS.items()]

    def score(self, instance: Instance, scores: TextScores) -> InstanceScore:
        """Bits of the whole text, and its bytes in UTF-8."""
        size = len(instance.messages[0].content.encode())
        return InstanceScore({"bits": -scores.logprob / math.log(2), "bytes": float(size)})

    def figures(self) -> Sequence[Figure]:
        """A ratio of sums, not a mean of ratios."""
        return [ratio("bits_per_byte", "bits", "bytes")]

    def fingerprint(self) -> str:
        """Digest of the texts."""
        return hashlib.sha256(repr(MOTTOS).encode()).hexdigest()
