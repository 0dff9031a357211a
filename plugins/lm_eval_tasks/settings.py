"""Settings of a task of lm-eval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from aftertrain.core.benchmark import BenchmarkSettings
from aftertrain.core.eval_task import EvalTaskSettings
from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import LocalPath, unhashed

OF_A_GROUP = ("member", "headline", "name", "tasks")
"""Settings that are a group's, and none of its tasks'."""


class LmEvalSettings(EvalTaskSettings, BenchmarkSettings):
    """Settings of a task, group or tag of lm-eval; what they leave out is as its YAML says."""

    member: str = Field(min_length=1, description="Its name: what follows 'lm_eval/' in 'use'.")
    include_path: LocalPath | None = unhashed(
        None, description="Folder of YAML files of your own; a name that stands there goes before lm-eval's."
    )
    shots: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Worked examples before each question (lm-eval's num_fewshot); null takes the task's own."
    )
    chat: bool = Field(False, description="Ask by the model's chat template (lm-eval's --apply_chat_template).")
    multiturn: Annotated[bool, UsedIf("chat")] = Field(
        True, description="Worked examples as earlier turns (--fewshot_as_multiturn); false puts all in one turn."
    )
    system: str | None = Field(None, description="Text before everything (--system_instruction).")
    headline: str | None = Field(
        None, description="Metric that is shown first, such as 'acc_norm'; null takes the task's first."
    )
    tasks: tuple[str, ...] | None = Field(None, description="Of a group, only these of its tasks; null is all of them.")
    unsafe_code: bool = Field(
        False, description="Run a task that executes the model's code, by lm-eval and outside our sandbox."
    )

    def as_suite(self) -> Mapping[str, Any] | None:
        """A group whose tasks ask requests of several types: a row for each task, and lm-eval's numbers of them."""
        from aftertrain.plugins.lm_eval_tasks.expansion import expansion

        given = self.model_dump(mode="json", include=self.model_fields_set - {*OF_A_GROUP})
        return expansion(self.member, self.include_path, self.tasks, self.headline, given)
