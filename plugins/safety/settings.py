"""Settings of the benchmarks of safety."""

from __future__ import annotations

from pydantic import Field

from aftertrain.core.benchmark import JudgedSettings
from aftertrain.core.settings import PositiveInt
from aftertrain.core.text.answer import AnswerSettings


class SafetySettings(JudgedSettings):
    """Settings of a benchmark of safety; replies are greedy, without examples."""

    max_new_tokens: PositiveInt = Field(2048, description="Tokens after which a reply is cut.")


class RefusalSettings(AnswerSettings):
    """Settings of the verifier `refusal_by_words`."""

    looked_at: PositiveInt = Field(
        300, description="Characters of a reply, from its beginning, in which words of refusal are looked for."
    )
