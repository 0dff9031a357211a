"""The online stage (F26–F28, F30, F37): learning, resuming to the same bits, events, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aftertrain.core.errors import DataError, Interrupted, ModelError, NumericsError, RunError
from aftertrain.core.stage import PlanContext

Bench = Any
Make = Callable[..., Bench]

GROUP = {"advantages": "group", "loss": {"use": "grpo"}, "kl": {"place": "loss"}}


def test_a_run_makes_a_model_and_tells_what_it_did(bench: Make, tiny_model: Path) -> None:
    run = bench()
    artifact = run.run()
    assert artifact.type == "model"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in Path(artifact.path).iterdir()}
    assert (Path(artifact.path) / "model.safetensors").read_bytes() != (tiny_model / "model.safetensors").read_bytes()
    metrics = run.of("metrics")
    assert len(metrics) == 4
    for one in metrics:
        assert all(math.isfinite(value) for value in one.values()), one
        assert one["logprob_difference"] < 1e-4
    assert metrics[0]["kl"] == 0.0, "before the first update policy and reference are one"
    assert metrics[1]["kl"] != 0.0
    assert [sum(step["contains"].values()) for step in run.of("verdicts")] == [10, 10, 4, 10]
    assert len(run.of("sample")) == 4 * 4
    timing = next(data["timing"] for name, _, data in run.events if name == "metrics")
    assert timing.keys() == {"generate", "verify", "score", "update", "publish", "seconds", "tokens_per_second"}
    lines = (run.folder / "samples" / "step-00001.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert sum(r["reward"] for r in records) / 10 == pytest.approx(metrics[0]["reward"])
    assert {r["reward"] for r in records} <= {10.0, 0.0, -10.0}
    assert sum(r.get("earned", r["reward"]) for r in records) / 10 == pytest.approx(metrics[0]["batch_reward"])  # F30
    assert all(r["reward"] == -10.0 for r in records if r["finish_reason"] == "length")


@pytest.mark.parametrize("changes", [{}, GROUP])
def test_a_killed_or_stopped_run_ends_with_the_same_bits(bench: Make, changes: dict[str, Any]) -> None:
    """Killed while writing step 4's events (after the checkpoint of step 2), and stopped after step 1."""
    whole = bench("whole", changes)
    whole.run()
    killed = bench("killed", changes, kill_at=("verdicts", 4))
    with pytest.raises(BaseException, match="verdicts 4"):
        killed.run()
    again = bench("killed", changes)
    again.run()
    assert [step for name, step, _ in again.events if name == "metrics"] == [3, 4]
    assert again.outcome() == whole.outcome()
    assert again.of("metrics") == whole.of("metrics")[2:]
    stopped = bench("stopped", changes, stop_after=1)
    with pytest.raises(Interrupted, match="after step 1 of 4"):
        stopped.run()
    rest = bench("stopped", changes)
    rest.run()
    assert rest.outcome() == whole.outcome()


SHAPED = {
    "task_weights": {"alpha": 1.0},
    "normalize": {},
    "overlong": {"cache": 4},
    "shaping": {"low": {"verifier": {"use": "lowercase"}, "weight": 0.5}},
}


@pytest.mark.parametrize("loss", ["failure", "value"])
def test_rates_of_tasks_go_on_with_the_same_bits_f36(bench: Make, loss: str) -> None:
    """F36. Killed after the checkpoint of step 2; shaping and normalised rewards beside, of which each has its name."""
    reward = {**SHAPED, "task_weights": {"alpha": 2.0, "loss": loss}}
    changes = {"data": {"use": "sums", "sources": 3}, "reward": reward}
    whole = bench("whole", changes)
    whole.run()
    killed = bench("killed", changes, kill_at=("verdicts", 4))
    with pytest.raises(BaseException, match="verdicts 4"):
        killed.run()
    again = bench("killed", changes)
    again.run()
    assert again.outcome() == whole.outcome()
    assert again.of("metrics") == whole.of("metrics")[2:]
    first, *_, last = whole.of("metrics")
    weights = {name: value for name, value in last.items() if name.startswith("task_weight/")}
    assert {value for name, value in first.items() if name.startswith("task_weight/")} == {1.0}
    assert len(weights) > 1
    losses = {name: last[name.replace("weight", "loss")] for name in weights}
    assert sorted(weights, key=weights.__getitem__) == sorted(losses, key=losses.__getitem__, reverse=True)
    assert {"reward/contains", "reward/verification", "reward/low", "reward/overlong"} <= first.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": {"overlong": {"cache": 9}}}, r"must not be above sampling.max_new_tokens \(8\)"),
        (
            {**GROUP, "reward": {"task_weights": {"alpha": 1.0, "loss": "value"}}},
            "has no critic whose loss it could be",
        ),
        ({"reward": {"combine": "weighted_sum", "weights": {"contain": 2.0}}}, "no reward named 'contain'"),
        (
            {"reward": {"shaping": {"contains": {"verifier": {"use": "lowercase"}}}}},
            "contains stands there more than once",
        ),
    ],
)
def test_rewards_that_do_not_fit_the_stage_are_refused(bench: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        bench("bad", changes)


def test_micro_batches_do_not_change_the_step(bench: Make) -> None:
    """Large and small micro-batches: the same replies in step 1, and losses equal to rounding."""
    few, many = (bench(str(n), {"batch": {"micro_tokens": n}, "steps": 1}) for n in (4096, 64))
    few.run()
    many.run()
    (a,), (b,) = few.of("metrics"), many.of("metrics")
    for name in ("reward", "loss", "policy_loss", "value_loss", "grad_norm", "advantage_std", "explained_variance"):
        assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-6), name


def test_prompts_computed_once_do_not_change_the_step(bench: Make) -> None:
    """Policy, critic and reference share what replies begin with, or do not: losses equal to rounding, same counts."""
    shared, alone = (
        bench(
            str(share),
            {"engine": {"use": "torch", "share_prefixes": share}, "steps": 1, "batch": {"micro_tokens": 128}},
        )
        for share in (True, False)
    )
    shared.run()
    alone.run()
    (a,), (b,) = shared.of("metrics"), alone.of("metrics")
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value == pytest.approx(b[name], rel=1e-4, abs=1e-6), name
    assert shared.books == alone.books
    plan = {item.label: item.value for item in alone.plan()}
    assert plan["shared prompts"] == "none: the engine torch computes one for each reply"


def test_the_first_ratio_is_one_and_nothing_is_clipped(bench: Make) -> None:
    """With one update per step the policy that samples is the one that is trained."""
    run = bench(changes={"batch": {"updates": 1, "minibatches": 1}})
    run.run()
    for metrics in run.of("metrics"):
        assert metrics["ratio"] == pytest.approx(1.0, abs=1e-6)
        assert metrics["clip_fraction"] == 0.0


def test_the_reference_is_the_input_after_a_resume_too(bench: Make) -> None:
    """A known fault: a resume that computes the reference with trained weights shows a KL of 0."""
    first = bench("resumed", stop_after=3)
    with pytest.raises(Interrupted):
        first.run()
    again = bench("resumed")
    again.run()
    assert again.of("metrics")[0]["kl"] != 0.0


def test_a_reward_model_may_be_the_critic(bench: Make, tiny_model: Path, tmp_path: Path) -> None:
    from aftertrain.core.engine import AdamW
    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings

    engine = TorchEngine(TorchSettings(), None)  # type: ignore[arg-type]
    engine.load(str(tiny_model), head="scalar", optimizer=AdamW(), seed=5)
    engine.save_model(tmp_path / "rm")
    run = bench(changes={"critic": "rm", "steps": 1}, critic=tmp_path / "rm")
    assert [parent.role for parent in run.stage.inputs()] == ["model", "critic"]
    run.run()
    other = bench("other", changes={"steps": 1})
    other.run()
    assert run.of("metrics")[0]["value_error"] != other.of("metrics")[0]["value_error"]


def test_kl_in_the_loss_holds_the_policy_near_its_reference(bench: Make) -> None:
    """A strong leash (k3, score-function term) leaves a smaller KL than hardly any.

    The metric is the mean of k1 over few replies, which may be negative: the last three steps are taken together.
    """
    found = {}
    for beta in (1e-9, 5.0):
        kl = {"beta": beta, "place": "loss", "estimator": "k3"}
        run = bench(str(beta), {"kl": kl, "steps": 6, "optimizer": {"lr": 3e-3, "schedule": "constant"}})
        run.run()
        found[beta] = sum(metrics["kl"] for metrics in run.of("metrics")[-3:]) / 3
    assert abs(found[5.0]) < 0.5 * found[1e-9]


def test_the_gradient_is_smooth_in_beta(bench: Make) -> None:
    """β = 1e-6 is all but 0 and 1e-3 near it: a leash that is divided by a spread moved the norm fifteenfold.

    The rewards of all groups are equal but of those that hold a 3, so that most spreads are 0. With one optimizer step
    a step, step 2's gradient is the first that the penalty has a part in.
    """
    norms = {}
    for beta in (0.0, 1e-6, 1e-3, 0.05):
        run = bench(
            str(beta),
            {
                **GROUP,
                "kl": {"place": "loss", "beta": beta},
                "reward": {"missing_eos": None},
                "batch": {"updates": 1, "minibatches": 1, "samples_per_prompt": 4},
                "optimizer": {"lr": 1e-4, "schedule": "constant", "max_grad_norm": None},
                "steps": 2,
            },
        )
        run.seed = 3  # in both steps some group's replies earn unequal rewards
        run.run()
        norms[beta] = run.of("metrics")[1]["grad_norm"]
    assert norms[1e-6] == pytest.approx(norms[0.0], rel=1e-4)
    assert norms[1e-3] == pytest.approx(norms[0.0], rel=0.05)
    assert norms[0.05] == pytest.approx(norms[0.0], rel=0.5)
    assert norms[0.05] != norms[0.0]


def test_without_a_penalty_there_is_no_reference_and_no_kl(bench: Make) -> None:
    run = bench(changes={"kl": {"beta": 0.0}, "steps": 1})
    run.run()
    assert "kl" not in run.of("metrics")[0]


def test_long_prompts_are_left_out_and_counted(bench: Make) -> None:
    run = bench(changes={"data": {"long": 2}, "batch": {"max_prompt_tokens": 60}, "steps": 1})
    run.run()
    assert run.of("dropped") == [{"prompt over 60 tokens": 2, "examples": ["sum-12", "sum-13"]}]


def test_replies_must_fit_the_model(bench: Make) -> None:
    with pytest.raises(DataError, match=r"no problems to train on \(12 dropped: prompt and reply over the model's 512"):
        bench(changes={"sampling": {"max_new_tokens": 510}}).run()


def test_a_check_without_a_reward_is_an_error(bench: Make) -> None:
    with pytest.raises(
        DataError, match=r"'sum-0': no reward named 'contain'. Did you mean 'contains'\?.* set checks: "
    ) as error:
        bench(changes={"data": {"check": "contain"}}).run()
    assert str(error.value).endswith("set checks: {contain: contains}")


def test_a_check_may_be_given_to_a_reward_of_another_name(bench: Make) -> None:
    run = bench(changes={"data": {"check": "gsm8k"}, "checks": {"gsm8k": "contains"}, "steps": 1})
    run.run()
    assert [list(one) for one in run.of("verdicts")] == [["contains"]]
    same = bench("same", changes={"steps": 1})
    same.run()
    assert run.outcome() == same.outcome()


def test_failed_verdicts_are_warned_of_once(bench: Make) -> None:
    changes = {"rewards": [{"use": "failing"}], "checks": {"contains": "failing"}, "unjudgeable": "keep", "steps": 2}
    run = bench(changes=changes)
    run.run()
    told = [one["message"] for one in run.of("warning") if "reward" in one["message"]]
    assert told == ["reward 'failing': error on 10 of 10 replies of this step (100%); the first: set up wrongly"]


def test_problems_that_no_reply_can_solve_are_found_before_the_first_reply(bench: Make) -> None:
    picky = {"rewards": [{"use": "picky"}], "checks": {"contains": "picky"}}
    with pytest.raises(
        DataError,
        match=r"'sums': 3 of 12 problems cannot be judged; problem 'sum-1': picky: not this one; .*'unjudgeable'",
    ):
        bench(changes=picky).run()
    run = bench(changes={**picky, "unjudgeable": "drop", "steps": 1})
    run.run()
    (dropped,) = run.of("dropped")
    assert dropped["no reply could be judged"] == 3
    failing = {"rewards": [{"use": "failing"}], "checks": {"contains": "failing"}}
    with pytest.raises(DataError, match="None is left to train on"):
        bench(changes={**failing, "unjudgeable": "drop"}).run()


def test_checks_must_name_rewards_and_checks_there_are(bench: Make) -> None:
    with pytest.raises(ValidationError, match=r"checks: gsm8k: no reward named 'contain'\. Did you mean 'contains'\?"):
        bench(changes={"checks": {"gsm8k": "contain"}})
    with pytest.raises(DataError, match=r"'sums': checks: no check named 'contain'\. Did you mean 'contains'\?"):
        bench(changes={"checks": {"contain": "contains"}}).run()


def test_two_problems_of_one_id_are_refused(bench: Make) -> None:
    """Rewards are looked up by id: in one step, both would have got the reward of one."""
    with pytest.raises(DataError, match="has two problems with the id 'sum-0'; rewards are kept by id"):
        bench(changes={"data": {"ids": 4}}).run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"use": "sft"}}, "the loss 'sft' trains policy; the stage 'online' with advantages: gae trains"),
        ({"loss": {"use": "grpo"}}, "the loss 'grpo' trains policy; the stage 'online' with advantages: gae trains"),
        ({"advantages": "group", "kl": {"place": "loss"}}, "the loss 'ppo' needs a column .* 'old_values'"),
    ],
)
def test_a_loss_that_asks_for_what_there_is_not_is_refused(bench: Make, changes: dict[str, Any], message: str) -> None:
    run = bench(changes=changes)
    for attempt in (run.run, run.plan):
        with pytest.raises(RunError, match=message):
            attempt()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": {"temperature": 0.0}}, "must be drawn to learn from"),
        ({"sampling": {"top_p": 0.9}}, "leave top_p out"),
        ({"sampling": {"top_k": 20, "repetition_penalty": 1.2}}, "leave top_k, repetition_penalty out"),
        ({"rewards": [{"use": "contains"}] * 2}, "contains stands there more than once"),
        ({"advantages": "group", "kl": {"place": "loss"}, "batch": {"samples_per_prompt": 1}}, "2 or more"),
        ({"advantages": "group", "kl": {"place": "reward", "estimator": "k1"}}, "or divides it by what it is itself"),
        (
            {"advantages": "group_mean", "kl": {"place": "reward", "estimator": "k1", "beta": 0.1}},
            "Set kl.place: loss, or kl.beta: 0",
        ),
        ({"advantages": "group", "kl": {"place": "reward"}}, "k3 in the reward is no leash"),
        ({"advantages": "pairs", "kl": {"beta": 0.1}}, "the leash is the loss.s own"),
        ({"advantages": "pairs", "correction": {}}, "it weighs advantages, of which pairs have none"),
        ({**GROUP, "critic": "rm"}, "it is for a method with a critic"),
        ({**GROUP, "reward": {"missing_eos": None, "normalize": {}}}, "it scales all alike"),
        ({"kl": {"place": "loss", "estimator": "k2"}}, "Set score_function: false"),
        ({"batch": {"minibatches": 6}}, "6 minibatches need"),
    ],
)
def test_settings_that_cannot_work_are_refused(bench: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        bench(changes=changes)


def test_a_score_that_is_not_finite_stops_the_run_and_names_step_and_samples(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aftertrain.core.batch import TokenScores
    from aftertrain.plugins.torch_engine.engine import TorchEngine

    plain = TorchEngine.score

    def score(self: TorchEngine, batch: Any, wants: Any = ("logprobs",), **options: Any) -> TokenScores:
        found = plain(self, batch, wants, **options)
        if found.values is not None:
            found.values.data[-1] = float("nan")
        return found

    monkeypatch.setattr(TorchEngine, "score", score)
    with pytest.raises(NumericsError, match=r"step 1: values are not finite; samples: sum-\d+/\d"):
        bench().run()


def test_the_plan_says_what_a_step_is(bench: Make) -> None:
    items = {
        item.label: item for item in bench(changes={"data": {"long": 1}, "batch": {"max_prompt_tokens": 60}}).plan()
    }
    assert items["1 step"].value == "5 prompts × 2 samples = 10 replies; 2 updates × 2 minibatches = 4 optimizer steps"
    assert items["steps"].value == "4 = 1.33 epochs of 12 problems; the last step of an epoch has 2 prompts"
    assert "critic from the policy with a new head" in items["models"].value
    assert items["shared prompts"].value.startswith("a prompt is computed once in a micro-batch: about ")
    assert items["dropped"].status == "warning"
    tight = {item.label: item for item in bench("tight", {"batch": {"micro_tokens": 16}}).plan()}
    assert tight["micro_tokens"].status == "error"


def test_the_plan_warns_where_no_answer_earns_more_than_a_wrong_one(bench: Make) -> None:
    """With negative: -1 and the other defaults, a policy learns not to answer; only on_error was warned of."""
    items = bench(changes={"reward": {"negative": -1.0, "on_timeout": -1.0}}).plan()
    assert [item.label for item in items if item.status == "warning"] == [
        "reward.on_error",
        "reward.on_unparsable",
        "reward.on_abstained",
    ]


def test_the_plan_warns_of_two_stages_that_draw_alike(bench: Make) -> None:
    """Of one seed and the same problems; another seed, or other problems, draw other replies."""
    run, other, seen = bench(), bench("other", {"data": {"rows": 11}}), dict[str, Any]()

    def warned(made: Bench, name: str, seed: int) -> list[str]:
        items = made.stage.plan(PlanContext(name, str(made.model), seed, made.builder, found=seen))
        return [item.value for item in items if item.label == "seed"]

    assert warned(run, "first", 0) == []
    assert warned(run, "reseeded", 1) == []
    assert warned(other, "elsewhere", 0) == []
    assert warned(run, "again", 0) == [
        "0, as stage 'first' has: the same problems come in the same order, and replies are drawn by the same random "
        "numbers. Set 'seed' of one of them, unless it is to be compared with the other"
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"loss": {"use": "ppo"}}, {"loss": {"use": "grpo"}, "advantages": "group"}],
    ids=["ppo", "grpo"],
)
def test_reward_rises(bench: Make, changes: dict[str, Any]) -> None:
    """A random model must learn to write two tokens of lower-case letters only (by chance it does in under 10 %)."""
    run = bench(
        changes={
            "data": {"check": "lowercase", "rows": 32},
            "rewards": [{"use": "lowercase"}],
            "reward": {"missing_eos": None},
            "kl": {"beta": 0.0},
            "sampling": {"max_new_tokens": 2},
            "batch": {"prompts": 32, "samples_per_prompt": 8, "updates": 4, "minibatches": 1, "micro_tokens": 8192},
            "steps": 10,
            "optimizer": {"lr": 1e-2, "schedule": "constant"},
            **changes,
        }
    )
    run.run()
    rewards = [metrics["reward"] for metrics in run.of("metrics")]
    assert sum(rewards[:2]) / 2 < 1.0
    assert sum(rewards[-3:]) / 3 > 5.0, rewards


def test_the_saved_folder_names_what_ends_a_reply(bench: Make, tiny_model: Path, tmp_path: Path) -> None:
    """A base whose generation config names another token than its template writes (Qwen 2.5's)."""
    base = shutil.copytree(tiny_model, tmp_path / "base")
    for name in ("config.json", "generation_config.json"):
        (base / name).write_text(json.dumps(json.loads((base / name).read_text()) | {"eos_token_id": 1}))
    artifact = bench("ends", {"steps": 1}, model=base).run()
    for name in ("config.json", "generation_config.json"):
        assert json.loads((Path(artifact.path) / name).read_text())["eos_token_id"] == [1, 2]
    (base / "generation_config.json").write_text("[1]")
    with pytest.raises(ModelError, match=r"generation_config\.json: .*mend it, or take it out"):
        bench("broken", {"steps": 1}, model=base).plan()
