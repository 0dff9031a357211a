"""The stage train: it learns, is exact however it is cut, and resumes to the same bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aftertrain.core.errors import DataError, Interrupted, ModelError, NumericsError, RunError
from aftertrain.core.ranks import Ranks
from aftertrain.core.records import Artifact

LOSSES = {
    "sft-sum": {"use": "sft", "reduction": "sum"},
    "sft-token": {"use": "sft", "reduction": "token_mean"},
    "sft-sequence": {"use": "sft", "reduction": "sequence_mean"},
    "dpo": {"use": "dpo", "beta": 5.0, "normalize": "length"},
    "simpo": {"use": "simpo"},
    "wpo": {"use": "wpo"},
    "orpo": {"use": "orpo", "likelihood": "sequence"},
    "kto": {"use": "kto"},
    "sft-entropy": {"use": "sft", "regularizer": {"use": "confidence_penalty"}},
    "sft-reference": {"use": "sft", "regularizer": {"use": "reference_kl"}},
    "dpo-schedule": {"use": "dpo", "beta_schedule": "adaptive", "target_loss": 0.5},
    "reward_model": {"use": "reward_model", "centering": 0.01},
}


def data_for(loss: str, conversations: Path, pairs: Path) -> dict[str, Any]:
    if loss.startswith("sft"):
        return {"use": "jsonl", "path": str(conversations)}
    return {"use": "jsonl", "path": str(pairs), "format": "preference"}


def weights(artifact: Artifact) -> dict[str, torch.Tensor]:
    return load_file(Path(artifact.path) / "model.safetensors")


def test_supervised_finetuning_learns_and_leaves_a_plain_folder(bench: Callable[..., Any], conversations: Path) -> None:
    """The loss falls by half over 30 steps, and transformers loads model and tokenizer as they are."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stage = bench(
        "sft",
        loss={"use": "sft", "reduction": "token_mean"},
        data={"use": "jsonl", "path": str(conversations)},
        epochs=10,
    )
    artifact = stage.run()
    metrics = stage.of("metrics")
    assert [event["done"] for event in stage.of("progress")] == list(range(1, 31))
    assert metrics[-1]["loss"] < 0.5 * metrics[0]["loss"]
    assert metrics[0]["loss"] == pytest.approx(metrics[0]["nll_per_token"], rel=1e-6)
    assert artifact.type == "model"
    assert AutoModelForCausalLM.from_pretrained(artifact.path).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(artifact.path).chat_template is not None
    assert "packed" not in json.loads((Path(artifact.path) / "config.json").read_text()).get("attn_implementation", "")


def test_the_gradient_of_a_sum_is_told_in_the_units_of_a_mean(bench: Callable[..., Any], conversations: Path) -> None:
    """Before any update both runs stand at the same weights: the sum's gradient is T/S times the mean's."""
    firsts = []
    for reduction in ("sum", "token_mean"):
        stage = bench(
            reduction,
            loss={"use": "sft", "reduction": reduction},
            data={"use": "jsonl", "path": str(conversations)},
            max_steps=1,
        )
        stage.run()
        firsts += stage.of("metrics")
    summed, mean = firsts
    assert summed["loss"] == pytest.approx(mean["loss"] * summed["targets_per_unit"], rel=1e-5)
    assert summed["grad_norm"] > 2 * mean["grad_norm"]
    assert summed["grad_norm_per_token"] == pytest.approx(mean["grad_norm"], rel=1e-4)
    assert "grad_norm_per_token" not in mean


def test_a_bad_template_is_told_of_without_a_plan(
    bench: Callable[..., Any], conversations: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Only `plan` looked: a run trained on replies without an end, or on two BOS tokens, and said nothing."""
    from aftertrain.core.text.chat import load_tokenizer

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = load_tokenizer(str(tiny_model))
    plain = tokenizer.chat_template
    settings = {"loss": {"use": "sft"}, "data": {"use": "jsonl", "path": str(conversations)}, "max_steps": 1}
    tokenizer.chat_template = plain.replace(" + eos_token", "")
    tokenizer.save_pretrained(folder)
    endless = bench("endless", model=folder, **settings)
    endless.run()
    assert [warning["message"] for warning in endless.of("warning")] == [
        "chat template: reply ends with: no token: the template writes nothing after a reply, at which nothing stops; "
        "replies go on to max_new_tokens or to a stop string. Use a template that writes the tokenizer's end token",
    ]
    tokenizer.chat_template = "{{ bos_token }}{{ bos_token }}" + plain
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="double BOS"):
        bench("double", model=folder, **settings).run()


@pytest.mark.parametrize("loss", LOSSES)
def test_one_by_eight_is_eight_by_one(loss: str, bench: Callable[..., Any], conversations: Path, pairs: Path) -> None:
    """All rows of a step in one micro-batch, or as many as possible: the same losses, norms, metrics and weights."""
    data = data_for(loss, conversations, pairs)
    runs = [
        bench(name, loss=LOSSES[loss], data=data, batch={"sequences": 8, "max_tokens": most // 2, "micro_tokens": most})
        for name, most in (("whole", 4096), ("split", 128))
    ]
    artifacts = [run.run() for run in runs]
    first, second = (run.of("metrics") for run in runs)
    assert first[0]["micro_batches"] == 1 < second[0]["micro_batches"]
    first[0].pop("accuracy", None)  # of margins that are 0 to rounding where the policy is still the reference
    for one, other in zip(first, second, strict=True):
        expected = {name: other[name] for name in one} | {"micro_batches": one["micro_batches"]}
        assert one == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # Adam makes a whole step of a gradient that is all rounding, so that single weights may differ more.
    other_weights = weights(artifacts[1])
    for name, tensor in weights(artifacts[0]).items():
        difference = (tensor - other_weights[name]).double()
        assert difference.square().mean().sqrt() < 2e-5, name
        assert difference.abs().max() < 1e-3, name


@pytest.mark.parametrize("loss", ["sft-sum", "dpo", "reward_model", "kto", "dpo-schedule", "sft-reference"])
def test_a_stopped_run_goes_on_to_the_same_bits(
    loss: str, bench: Callable[..., Any], conversations: Path, pairs: Path
) -> None:
    """Stopped after steps 2 and 3 of 6, resumed twice: weights and metrics as if uninterrupted, bit for bit."""
    settings = {"loss": LOSSES[loss], "data": data_for(loss, conversations, pairs), "epochs": 2}
    whole = bench("whole", **settings)
    expected = whole.run()
    parts = []
    for stop in (2, 1, None):
        part = bench("parts", stop_after=stop, **settings)
        parts.append(part)
        if stop is None:
            artifact = part.run()
        else:
            with pytest.raises(Interrupted, match="run it again to go on"):
                part.run()
    assert [event for part in parts for event in part.of("metrics")] == whole.of("metrics")
    for name, tensor in weights(expected).items():
        assert torch.equal(tensor, weights(artifact)[name]), name


def test_the_reference_is_the_input_model_also_after_a_resume(bench: Callable[..., Any], pairs: Path) -> None:
    """Losing the cached log-probs between two attempts changes nothing: they are computed from the input again."""
    settings = {"loss": LOSSES["dpo"], "data": data_for("dpo", pairs, pairs), "epochs": 2}
    whole = bench("whole", **settings)
    whole.run()
    assert whole.of("metrics")[0]["loss"] == pytest.approx(0.6931472, abs=1e-5)
    part = bench("part", stop_after=3, **settings)
    with pytest.raises(Interrupted):
        part.run()
    (part.folder / "reference.safetensors").write_bytes(b"torn")
    rest = bench("part", **settings)
    rest.run()
    assert part.of("metrics") + rest.of("metrics") == whole.of("metrics")


def test_the_reference_is_computed_once(
    bench: Callable[..., Any], pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second attempt reads the file; other rows have another key and are computed."""
    from aftertrain.plugins.training import reference

    computed = []
    original = reference.compute_column
    monkeypatch.setattr(reference, "compute_column", lambda *args: computed.append(1) or original(*args))
    settings = {"loss": LOSSES["dpo"], "data": data_for("dpo", pairs, pairs)}
    bench("stage", **settings).run()
    bench("stage", **settings).run()
    assert len(computed) == 1
    bench("stage", **{**settings, "data": {**settings["data"], "limit": 8}}).run()
    assert len(computed) == 2


def test_a_reward_model_prefers_the_chosen(bench: Callable[..., Any], pairs: Path) -> None:
    """Accuracy reaches 1 on ten pairs, and the folder is a sequence classifier with one score."""
    from transformers import AutoModelForSequenceClassification

    stage = bench("rm", loss=LOSSES["reward_model"], data=data_for("rm", pairs, pairs), epochs=10)
    artifact = stage.run()
    assert stage.stage.output == artifact.type == "reward_model"
    assert stage.of("metrics")[-1]["accuracy"] == 1.0
    model = AutoModelForSequenceClassification.from_pretrained(artifact.path)
    assert model.score.weight.shape == (1, 32)


def test_a_reward_model_of_a_base_that_pads_with_its_end(
    bench: Callable[..., Any], pairs: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Model and tokenizer name one padding token that ends no sequence; without one, plan and run say so."""
    from transformers import AutoConfig, AutoTokenizer

    settings = {"loss": {"use": "reward_model"}, "data": data_for("rm", pairs, pairs), "max_steps": 1}
    base = shutil.copytree(tiny_model, tmp_path / "base")
    for name, changes in {"config.json": {"pad_token_id": 2}, "tokenizer_config.json": {"pad_token": "<eos>"}}.items():
        (base / name).write_text(json.dumps({**json.loads((base / name).read_text()), **changes}))
    stage = bench("rm", model=base, **settings)
    folder = stage.run().path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert AutoConfig.from_pretrained(folder).pad_token_id == tokenizer.pad_token_id == 0
    assert (tokenizer.eos_token, stage.of("warning")) == ("<eos>", [])

    template = base / "chat_template.jinja"
    plain = template.read_text()
    template.write_text(plain + "{# <pad> #}")
    padless = bench("padless", model=base, **settings)
    warnings = [item.value for item in padless.plan() if (item.label, item.status) == ("padding", "warning")]
    folder = padless.run().path
    assert [event["message"] for event in padless.of("warning")][-1:] == warnings
    assert warnings[0].startswith("the tokenizer has no token to pad a reward model with")
    assert AutoConfig.from_pretrained(folder).pad_token_id is AutoTokenizer.from_pretrained(folder).pad_token_id is None

    shutil.copytree(tiny_model, base, dirs_exist_ok=True)
    template.write_text(plain.replace("eos_token", "pad_token"))
    (warning,) = [item.value for item in bench("ends", model=base, **settings).plan() if item.label == "padding"]
    assert warning.startswith("sample 'pair-0' ends in '<pad>', which pads the reward model")


@pytest.mark.parametrize(("overlong", "rows"), [("drop", 7), ("truncate", 12)])
def test_overlong_rows_are_counted(overlong: str, rows: int, bench: Callable[..., Any], conversations: Path) -> None:
    """Five of twelve conversations are longer than 30 tokens."""
    stage = bench(
        overlong,
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(conversations)},
        batch={"sequences": 100, "max_tokens": 30, "overlong": overlong},
    )
    stage.run()
    (event,) = stage.of("dropped")
    name = {"drop": "overlong", "truncate": "truncated"}[overlong]
    examples = [f"sum-{number} ({conversations}:{number + 1})" for number in (2, 5, 8, 10, 11)]
    assert event == {name: 5, "examples": examples}
    plan = {item.label: item for item in stage.plan()}
    assert plan["1 step"].value.startswith(f"{rows} conversations ≈ ")
    assert plan["left out" if overlong == "drop" else "cut"].status == "warning"


def test_overlong_rows_can_be_refused(bench: Callable[..., Any], conversations: Path) -> None:
    stage = bench(
        "error",
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(conversations)},
        batch={"max_tokens": 30, "overlong": "stop"},
    )
    with pytest.raises(DataError, match=r"sample 'sum-2' has \d+ tokens, batch.max_tokens is 30; raise it"):
        stage.run()


def test_a_loss_that_is_not_finite_names_step_and_samples(
    bench: Callable[..., Any], conversations: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """A weight that is NaN makes every row's loss NaN; nothing is saved."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stage = bench(
        "nan",
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(conversations)},
        optimizer={"lr": 1e30, "max_grad_norm": None},
        epochs=3,
    )
    with pytest.raises(NumericsError, match=r"step \d: .*samples?: .*sum-\d"):
        stage.run()
    assert not (stage.folder / "model").exists()
    for name, tensor in AutoModelForCausalLM.from_pretrained(tiny_model).state_dict().items():
        assert torch.equal(tensor, state[name])


def test_a_loss_that_does_not_fit_the_data_is_an_error_before_the_run(bench: Callable[..., Any], pairs: Path) -> None:
    stage = bench("misfit", loss={"use": "sft"}, data=data_for("dpo", pairs, pairs))
    message = (
        "loss 'sft' learns from Conversation or Document, the data set yields PreferencePair; set `format: messages` "
        "or `format: text` of the data, if its rows are such"
    )
    assert [(item.value, item.status) for item in stage.plan()] == [(message, "error")]
    with pytest.raises(RunError, match=message):
        stage.run()


def test_what_an_engine_has_to_say_is_in_the_plan_and_among_the_events(
    bench: Callable[..., Any], conversations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aftertrain.plugins.torch_engine.engine import TorchEngine

    monkeypatch.setattr(TorchEngine, "notes", lambda self: ("bits differ",))
    stage = bench("notes", loss={"use": "sft"}, data={"use": "jsonl", "path": str(conversations)}, max_steps=1)
    assert [item.value for item in stage.plan() if item.status == "warning"] == ["bits differ"]
    stage.run()
    assert [event["message"] for event in stage.of("warning")] == ["bits differ"]


def test_each_reply_of_a_pair_is_no_sample(bench: Callable[..., Any], pairs: Path) -> None:
    stage = bench("misfit", loss={"use": "dpo"}, data=data_for("dpo", pairs, pairs), batch={"learn": "each"})
    assert [(item.value, item.status) for item in stage.plan()] == [
        (
            "batch.learn: each makes samples of a conversation's replies, the data set yields PreferencePair; use all "
            "or last",
            "error",
        )
    ]


def test_the_plan_says_what_a_step_is(bench: Callable[..., Any], conversations: Path) -> None:
    stage = bench(
        "plan",
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(conversations)},
        epochs=2,
        optimizer={"lr": 1e-3, "warmup": 0.5},
    )
    items = {item.label: item.value for item in stage.plan()}
    stage.run()
    tokens = sum(event["tokens"] for event in stage.of("metrics")) // 2
    assert items["rows"] == "12 conversations from jsonl"
    assert items["tokens"].startswith(f"{tokens} an epoch, ")
    assert items["1 step"] == f"4 conversations ≈ {tokens / 3:,.0f} tokens in 1 micro-batch of at most 8,192 tokens"
    assert items["1 epoch"] == "3 steps"
    assert items["memory"].startswith("about ")
    assert items["memory"].split(", ")[-1].startswith("activations ")
    assert items["activations"].startswith(f"of {tokens / 3:,.0f} tokens in a micro-batch; in other modes: none ")
    assert items["all"] == "6 steps, 2 × the data"
    assert items["learning rate"] == "0 at step 1, 0.001 at step 4, 0.000333 at step 6"


def test_the_plan_says_what_a_micro_batch_takes(
    bench: Callable[..., Any], conversations: Path, tiny_model: Path
) -> None:
    """F23 by hand for hidden 32, feed-forward 48, 4 heads of 8, 2 for keys, 2 layers, in float32.

    Norms 2·(3·32 + 1), attention 32 + 2·16 + 32 + 4 + 32, feed-forward 4·48: 518 numbers a token and layer; without
    what is cheap to make 2·(32 + 1) + 32 + 2·16 + 32 + 4 + 2·48 = 262.
    """
    stage = bench("plan", loss={"use": "sft"}, data={"use": "jsonl", "path": str(conversations)})
    items = {item.label: item.value for item in stage.plan()}
    tokens = int(items["activations"].split()[1])
    n = sum(weight.numel() for weight in load_file(tiny_model / "model.safetensors").values())

    def told(numbers: int) -> str:
        return f"{4 * numbers / 2**20:.1f} MiB"

    assert f"weights {told(n)}, gradients {told(n)}, AdamW {told(2 * n)}, head " in items["memory"]
    assert items["memory"].endswith(f"activations {told(tokens * 2 * 262)}")
    assert f"none {told(tokens * 2 * 518)}" in items["activations"]
    assert items["activations"].endswith(f"full {told(tokens * (2 * 32 + 518))}")


def test_a_plan_that_cannot_predict_memory_says_so(bench: Callable[..., Any], conversations: Path) -> None:
    data = {"use": "jsonl", "path": str(conversations)}
    stage = bench("plan", loss={"use": "sft"}, data=data, engine={"use": "torch", "lora": {"rank": 2}})
    items = {item.label: item.value for item in stage.plan()}
    assert items["memory"] == "not predicted by the engine 'torch' with these settings"


def test_pairs_learn_from_the_reply_only(bench: Callable[..., Any], tmp_path: Path) -> None:
    """An assistant's turn inside the shared prompt is context: the pair's targets start after it."""
    from aftertrain.core.records import Message, PreferencePair
    from aftertrain.core.text.chat import load_tokenizer
    from aftertrain.plugins.training.samples import prepare
    from aftertrain.plugins.training.settings import Batch

    prompt = (Message("user", "Hello"), Message("assistant", "Hi."), Message("user", "More"))
    pair = PreferencePair("p", prompt, (Message("assistant", "Yes"),), (Message("assistant", "No"),), "test")
    model = bench("x", loss={"use": "dpo"}, data={"use": "jsonl", "path": "unused"}).model
    tokenizer = load_tokenizer(str(model))
    ((chosen, rejected),) = prepare(tokenizer, [pair], Batch()).atoms
    for segment, reply in ((chosen, "Yes"), (rejected, "No")):
        targets = [t for t, m in zip(segment.token_ids, segment.loss_mask, strict=True) if m]
        assert tokenizer.decode(targets) == reply + tokenizer.eos_token


def test_what_the_engine_cannot_do_here_is_told_before_any_stage(
    bench: Callable[..., Any], conversations: Path
) -> None:
    settings = {"loss": {"use": "sft"}, "data": {"use": "jsonl", "path": str(conversations)}}
    stage = bench("x", **settings, engine={"use": "torch", "lora": {"rank": 2, "targets": ["q_projj"]}})
    (item,) = [item for item in stage.plan() if item.label == "engine"]
    assert item.status == "warning"
    assert "could not be used on this machine: engine.lora.targets" in item.value
    with pytest.raises(ModelError, match=r"engine\.lora\.targets"):
        stage.stage.check_data(stage.plan_context(), lambda: False)


def test_adapters_alone_are_no_model_for_another_stage(bench: Callable[..., Any], conversations: Path) -> None:
    """The graph says so before anything is trained: 'sft' makes an adapter, this needs a model."""
    settings = {"loss": {"use": "sft"}, "data": {"use": "jsonl", "path": str(conversations)}, "max_steps": 1}
    stage = bench("x", **settings, engine={"use": "torch", "lora": {"rank": 2, "save": "adapter"}})
    assert stage.stage.output == "adapter"
    assert stage.run().type == "adapter"


def test_an_engine_that_shares_no_work_is_refused_where_others_wait(
    bench: Callable[..., Any], conversations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two ranks would step by its own gradient, and the model of one of them be saved."""
    from aftertrain.plugins.torch_engine.engine import TorchEngine

    monkeypatch.setattr(TorchEngine, "load", lambda engine, model, **options: None)
    stage = bench("two", loss={"use": "sft"}, data={"use": "jsonl", "path": str(conversations)})
    stage.ranks = Ranks(rank=0, size=2)
    with pytest.raises(RunError, match="the engine 'torch' shares no work, and the run has 2 ranks"):
        stage.run()
