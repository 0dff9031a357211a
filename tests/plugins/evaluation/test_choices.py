"""Log-likelihoods from packed batches against plain transformers, lm-eval, and over any packing."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.engine import Engine
from aftertrain.core.errors import NumericsError
from aftertrain.core.eval_task import Choice, ChoiceScores, Instance
from aftertrain.core.packed.likelihoods import likelihoods
from aftertrain.core.records import Message
from aftertrain.core.settings import Settings, Use
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.plugins.evaluation.choices import Encoded, choice_scores, encode_instance, encode_text, text_scores
from aftertrain.plugins.evaluation.multiple_choice import MultipleChoice
from aftertrain.plugins.evaluation.settings import MultipleChoiceSettings

PAIRS = [
    ("Question: How many apples?\nAnswer:", [" 3", " four apples", " none at all", " I do not know."]),
    ("The answer is", [" 42.", " yes", " no, or maybe"]),
    ("", [" 7"]),
]


@pytest.fixture
def instances() -> list[Instance]:
    return [
        Instance(str(i), (Message("user", context),), 0, tuple(map(Choice, choices)), chat=False)
        for i, (context, choices) in enumerate(PAIRS)
    ]


def engine_of(builder: Any, model: Path, name: str = "reference") -> Any:
    if name == "torch":
        if importlib.util.find_spec("aftertrain.plugins.torch_engine") is None:
            pytest.skip("the torch engine is not there")
        from aftertrain.registry.builder import ComponentBuilder
        from aftertrain.registry.discovery import installed
        from aftertrain.registry.resolve import SettingsResolver

        registry = installed(frozenset())
        use = SettingsResolver(registry).resolve("engine", {"use": "torch"})
        engine = ComponentBuilder(registry).build(use)
    else:
        engine = builder.build(Use("engine", name, Settings()))
    engine.load(str(model))
    return engine


def log_likelihoods(engine: Engine[Any], items: list[Encoded], budget: int) -> list[float]:
    return [found.logprob for found in likelihoods(engine, [item.continuation for item in items], budget)]


def score_choices(engine: Engine[Any], instance: Instance, encoded: list[Encoded], budget: int) -> ChoiceScores:
    return choice_scores(instance, encoded, likelihoods(engine, [item.continuation for item in encoded], budget))


def by_hand(model: Path, context: str, choice: str) -> float:
    """log p(choice | context) from one unpacked forward."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(str(model))
    given = tokenizer(context)["input_ids"] or [tokenizer.bos_token_id]
    ids = given + tokenizer(choice)["input_ids"]
    with torch.no_grad():
        logp = AutoModelForCausalLM.from_pretrained(model)(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logp[i - 1, ids[i]]) for i in range(len(given), len(ids)))


@pytest.mark.parametrize("name", ["reference", "torch"])
def test_choices_score_as_plain_transformers(
    builder: Any, tiny_model: Path, instances: list[Instance], name: str
) -> None:
    """Byte-level BPE that splits before spaces: context and choice tokenise apart as together, so both sums agree."""
    tokenizer = load_tokenizer(str(tiny_model))
    engine = engine_of(builder, tiny_model, name)
    for (context, choices), instance in zip(PAIRS, instances, strict=True):
        scores = score_choices(engine, instance, encode_instance(tokenizer, instance, 512), budget=40)
        assert scores.logprobs == pytest.approx([by_hand(tiny_model, context, choice) for choice in choices], abs=1e-4)
        assert scores.n_tokens == tuple(len(tokenizer(choice)["input_ids"]) for choice in choices)
        assert scores.baseline == ()


@pytest.mark.parametrize("name", ["reference", "torch"])
def test_packing_moves_no_score(builder: Any, tiny_model: Path, instances: list[Instance], name: str) -> None:
    tokenizer, engine = load_tokenizer(str(tiny_model)), engine_of(builder, tiny_model, name)
    items = [item for instance in instances for item in encode_instance(tokenizer, instance, 512)]
    alone = log_likelihoods(engine, items, budget=1)
    for budget in (16, 50, 10_000):
        assert log_likelihoods(engine, items, budget) == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("name", ["reference", "torch"])
def test_choices_score_as_lm_eval(builder: Any, tiny_model: Path, instances: list[Instance], name: str) -> None:
    """HFLM.loglikelihood on the same pairs: the sum, and whether greedy decoding would give it."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'aftertrain[dev]'")
    from lm_eval.api.instance import Instance as Request
    from lm_eval.models.huggingface import HFLM

    pairs = [(context, choice) for context, choices in PAIRS for choice in choices]
    model = HFLM(pretrained=str(tiny_model), device="cpu", batch_size=1)
    requests = [Request("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    expected = model.loglikelihood(requests, disable_tqdm=True)
    tokenizer = load_tokenizer(str(tiny_model))
    items = [item.continuation for instance in instances for item in encode_instance(tokenizer, instance, 512)]
    ours = likelihoods(engine_of(builder, tiny_model, name), items, 64)
    assert [score.logprob for score in ours] == pytest.approx([logprob for logprob, _ in expected], abs=1e-4)
    assert [score.greedy for score in ours] == [greedy for _, greedy in expected]


@pytest.mark.parametrize("words", [40, 300, 1200])
def test_whole_texts_score_as_lm_eval(builder: Any, tiny_model: Path, words: int) -> None:
    """HFLM.loglikelihood_rolling of texts within the model's 512 tokens and beyond: the same windows."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'aftertrain[dev]'")
    from lm_eval.api.instance import Instance as Request
    from lm_eval.models.huggingface import HFLM

    text = " ".join(f"apples {i} and" for i in range(words // 2))
    model = HFLM(pretrained=str(tiny_model), device="cpu", batch_size=1)
    (expected,) = model.loglikelihood_rolling([Request("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True)
    instance = Instance("1", (Message("user", text),), None, chat=False)
    encoded = encode_text(load_tokenizer(str(tiny_model)), instance, 512)
    engine = engine_of(builder, tiny_model, "torch")
    scores = text_scores(encoded, likelihoods(engine, [item.continuation for item in encoded], 1024))
    assert scores.logprob == pytest.approx(expected, rel=1e-6)
    assert scores.n_tokens == len(load_tokenizer(str(tiny_model))(text)["input_ids"])


def test_a_choice_may_bring_its_own_context(builder: Any, tiny_model: Path) -> None:
    """WinoGrande: two contexts, one continuation."""
    tokenizer, engine = load_tokenizer(str(tiny_model)), engine_of(builder, tiny_model, "torch")
    contexts = ("How many apples", "How many pears")
    asked = (*(Choice(" has Ann?", context) for context in contexts), Choice(" 4"))
    instance = Instance("1", (Message("user", "A question:"),), 0, asked, chat=False)
    scores = score_choices(engine, instance, encode_instance(tokenizer, instance, 512), 64)
    expected = [by_hand(tiny_model, context, " has Ann?") for context in contexts]
    assert scores.logprobs == pytest.approx([*expected, by_hand(tiny_model, "A question:", " 4")], abs=1e-4)


def test_the_baseline_is_scored_without_the_question(builder: Any, tiny_model: Path) -> None:
    tokenizer, engine = load_tokenizer(str(tiny_model)), engine_of(builder, tiny_model)
    choices = (" 3", " four apples")
    asked = tuple(map(Choice, choices))
    instance = Instance("1", (Message("user", "How many?\nAnswer:"),), 0, asked, chat=False, baseline="Answer:")
    scores = score_choices(engine, instance, encode_instance(tokenizer, instance, None), 64)
    assert scores.baseline == pytest.approx([by_hand(tiny_model, "Answer:", choice) for choice in choices], abs=1e-4)
    assert scores.logprobs != pytest.approx(scores.baseline, abs=1e-2)


def test_a_long_context_loses_its_start(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    instance = Instance("1", (Message("user", "a b c d e f g"),), 0, (Choice(" h"),), chat=False)
    whole, cut = (encode_instance(tokenizer, instance, window)[0].continuation for window in (None, 4))
    assert cut.token_ids == whole.token_ids[-4:]
    assert len(cut.token_ids) - cut.n_context == len(whole.token_ids) - whole.n_context


def test_broken_weights_are_no_score(builder: Any, tiny_model: Path, instances: list[Instance]) -> None:
    import torch

    engine = engine_of(builder, tiny_model)
    with torch.no_grad():
        engine.model.model.norm.weight.fill_(float("nan"))
    items = encode_instance(load_tokenizer(str(tiny_model)), instances[0], None)
    with pytest.raises(NumericsError, match="4 of 4 log-likelihoods are not finite"):
        log_likelihoods(engine, items, 64)


def test_a_whole_multiple_choice_evaluation(
    evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any, tmp_path: Path
) -> None:
    """The stage opens no generator, ignores temperatures, and says which choice the model prefers."""
    path = tmp_path / "q.jsonl"
    path.write_text(
        "".join(
            json.dumps({"question": f"{i}?", "choices": ["3", "yes", "no"], "answer": i % 3}) + "\n" for i in range(7)
        )
    )
    builder.classes["eval_task", "multiple_choice"] = MultipleChoice
    use = Use("eval_task", "multiple_choice", MultipleChoiceSettings(path=str(path), formulation="cf"))
    made = evaluate(tasks=(use,), temperatures=(0.5, 1.0), block=3).run(stand().context)
    scores = {score["metric"]: score for score in made.details["scores"]}
    assert set(scores) == {"acc", "acc_norm"}
    assert made.details["scores"][0]["metric"] == "acc_norm"
    assert {score["temperature"] for score in scores.values()} == {None}
    rows = [json.loads(line) for line in (Path(made.path) / "samples/instances.jsonl").read_text().splitlines()]
    assert scores["acc"]["mean"] == sum(row["metrics"]["acc"] for row in rows) / 7
    for row in rows:
        best = max(range(3), key=lambda i: row["logprobs"][i])
        assert row["output"] == ("3", "yes", "no")[best]
        assert row["metrics"]["acc"] == float(best == row["target"])
    assert not builder.replies.opened
