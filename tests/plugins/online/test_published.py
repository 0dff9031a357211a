"""The rewards of the published recipes on real rows of their data: GSM8K, MATH and IF, judged and paid as published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import aftertrain
from aftertrain.api.evaluation import isolated_verifier
from aftertrain.core.records import Completion, FinishReason
from aftertrain.core.verification.checks import checks_of, reward_name
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import case_of
from aftertrain.plugins.online.rewarding import Rewarding
from aftertrain.plugins.online.rollout import Rollout
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import installed
from aftertrain.registry.resolve import SettingsResolver

IF = {"func_name": "validate_no_commas", "N": None}
"""An instruction as the published data writes one; the sample of rows holds none."""
ROWS = 12
"""Of each data set."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cut"), [("tulu3/8b", -10.0), ("tulu3.1-8b", 0.0)])
def test_published_rewards_judge_the_published_data_f27_f32(
    shared_data: Path, tmp_path: Path, name: str, cut: float
) -> None:
    """The right answer earns 10, another one 0; a right reply that is cut earns −10 in Tülu 3 and 0 in Tülu 3.1."""
    settings = aftertrain.load_recipe(name).recipe.stages["rlvr"].settings
    rows = [json.loads(line) for line in (shared_data / "tulu3_samples" / "rlvr_sample.jsonl").read_text().splitlines()]
    chosen = [row for tag in ("gsm8k", "MATH") for row in [row for row in rows if row["dataset"] == tag][:ROWS]]
    asked = [{"role": "user", "content": "Name two fruits. Use no commas."}]
    chosen.append({"messages": asked, "ground_truth": json.dumps(IF), "dataset": "ifeval"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    registry = installed()
    written = {"use": "jsonl", "path": str(tmp_path / "rows.jsonl"), "format": "rlvr"}
    problems = list(ComponentBuilder(registry).build(SettingsResolver(registry).resolve("dataset", written)))
    verifiers = {
        reward_name(use): isolated_verifier(use.name, use.settings.model_dump(exclude_unset=True))
        for use in settings.rewards
    }
    assert {check.verifier for problem in problems for check in problem.checks} == verifiers.keys()
    prompts = [Prompt(problem, (1,)) for problem in problems]
    for verifier_name, verifier in verifiers.items():
        cases = [
            case_of(prompt, check, prompt.problem.id)
            for prompt in prompts
            for check in checks_of(prompt.problem, verifier_name, everywhere=False)
        ]
        assert verifier.objections(cases) == [None] * len(cases)

    def replies(texts: list[str], finish: FinishReason) -> list[float]:
        rollouts = [
            Rollout(f"{prompt.problem.id}/0", group, prompt, Completion("0", (1,), (2,), (0.0,), (0,), finish, text))
            for group, (prompt, text) in enumerate(zip(prompts, texts, strict=True))
        ]
        return [one.reward for one in Rewarding(settings.reward, None, 64).judge(rollouts, verifiers, 1)]

    right = [f"So the answer is ${row['ground_truth']}$." for row in chosen[:-1]]
    assert replies([*right, "Apples and pears"], "stop") == [10.0] * len(chosen)
    assert replies([*["So the answer is $-77123$."] * (len(chosen) - 1), "Apples, pears"], "stop") == [0.0] * len(
        chosen
    )
    assert replies([*right, "Apples and pears"], "length") == [cut] * len(chosen)
