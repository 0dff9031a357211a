"""Where template, tokenizer and generation config name different ends of a reply, the saved folder stops.

Each case is trained on one row until it knows the reply by heart, and then asked through plain transformers, with the
saved folder's own files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.records import Message
from aftertrain.core.text.chat import TULU_TEMPLATE, load_tokenizer
from aftertrain.core.text.endings import end_tokens, name_ends
from aftertrain.core.text.template_checks import template_checks
from aftertrain.core.text.tokens import tokenise

ASK, SAY = "2+2", "4"
MARKS = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|end|>", "<|close|>", "[INST]", "[/INST]")
PROMPT = "{% if add_generation_prompt %}{{ 'START assistant\n' }}{% endif %}"


def turns(start: str, end: str, *, before: str = "", after: str = "") -> str:
    """A template that writes `start role`, the content and `end` for each turn."""
    return (
        before
        + "{% for m in messages %}{{ 'START ' + m['role'] + '\n' + m['content'] + 'END' }}{% endfor %}".replace(
            "END", end
        )
        + PROMPT[: -len("{% endif %}")]
        + ("{% else %}" + after if after else "")
        + "{% endif %}"
    ).replace("START", start)


MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST]' + m['content'] + '[/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
PREFILLED = TULU_TEMPLATE.replace("{{ '<|assistant|>\n' }}", "{{ '<|assistant|>\n<think>\n' }}")
SYSTEM_ONLY = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system turn') }}{% endif %}"


@dataclass(frozen=True)
class Case:
    """A base model's files.

    Attributes:
        eos: the tokenizer's.
        generation: eos of generation_config.json; None for a folder without that file.
        config: eos of config.json.
        learnt: the targets.
        named: what the saved generation config names.
    """

    template: str
    learnt: str
    named: Sequence[str]
    eos: str = "<eos>"
    generation: Sequence[str] | None = ("<eos>",)
    config: str | None = "<eos>"
    adds_bos: bool = False
    turns: Sequence[str] = ("user", "assistant")
    warned: str = ""


CASES = {
    "all agree": Case(TULU_TEMPLATE, "4<eos>", ["<eos>"], adds_bos=True, warned="no BOS"),
    "Qwen 2.5's base": Case(turns("<|im_start|>", "<|im_end|>\n"), "4<|im_end|>", ["<eos>", "<|im_end|>"]),
    "the tokenizer's end is the template's, the config's another": Case(
        turns("<|im_start|>", "<|im_end|>\n"),
        "4<|im_end|>",
        ["<pad>", "<|im_end|>"],
        eos="<|im_end|>",
        generation=["<pad>"],
        config="<pad>",
    ),
    "Llama 3's several ends": Case(
        turns("<|im_start|>", "<|end|>", before="{{ bos_token }}"),
        "4<|end|>",
        ["<eos>", "<pad>", "<|end|>"],
        generation=["<eos>", "<pad>"],
        adds_bos=True,
    ),
    "Gemma's, without a generation config": Case(
        turns("<start_of_turn>", "<end_of_turn>\n", before="{{ bos_token }}"),
        "4<end_of_turn>",
        ["<eos>", "<end_of_turn>"],
        generation=None,
    ),
    "no end in any file but the tokenizer's": Case(TULU_TEMPLATE, "4<eos>", ["<eos>"], generation=None, config=None),
    "Mistral's": Case(MISTRAL, "4<eos>", ["<pad>", "<eos>"], generation=["<pad>"], config="<pad>"),
    "Phi 3's end of the whole text": Case(
        turns("<|im_start|>", "<|end|>\n", after="{{ eos_token }}"), "4<|end|>", ["<eos>", "<|end|>"]
    ),
    "Command R's two ends in a row": Case(
        turns("<|im_start|>", "<|close|><|end|>"), "4<|close|><|end|>", ["<eos>", "<|end|>"]
    ),
    "a template that wants a system turn": Case(
        SYSTEM_ONLY + turns("<|im_start|>", "<|im_end|>\n"),
        "4<|im_end|>",
        ["<eos>", "<|im_end|>"],
        turns=("system", "user", "assistant"),
    ),
}


@pytest.fixture(scope="module")
def network(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with embeddings for more special tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("network")
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_special_tokens({"extra_special_tokens": list(MARKS)})
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def base_of(case: Case, network: Path, folder: Path) -> Path:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    folder.mkdir()
    for file in ("model.safetensors", "config.json", "generation_config.json"):
        (folder / file).write_bytes((network / file).read_bytes())
    tokenizer: Any = AutoTokenizer.from_pretrained(network)
    tokenizer.chat_template, tokenizer.eos_token = case.template, case.eos
    if case.adds_bos:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", tokenizer.bos_token_id)]
        )
    tokenizer.save_pretrained(folder)
    number = tokenizer.convert_tokens_to_ids
    _set(folder / "config.json", eos_token_id=case.config and number(case.config))
    if case.generation is None:
        (folder / "generation_config.json").unlink()
    else:
        _set(folder / "generation_config.json", eos_token_id=[number(token) for token in case.generation])
    return folder


def _set(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def row_of(case: Case, tmp_path: Path) -> Path:
    said = {"system": "Count.", "user": ASK, "assistant": SAY}
    row = {"messages": [{"role": role, "content": said[role]} for role in case.turns]}
    (tmp_path / "row.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path / "row.jsonl"


@pytest.mark.parametrize("name", CASES)
def test_a_saved_folder_stops_where_its_replies_end(
    name: str, bench: Callable[..., Any], network: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    case = CASES[name]
    base = base_of(case, network, tmp_path / "base")
    stage = bench(
        "stage",
        model=base,
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(row_of(case, tmp_path))},
        optimizer={"lr": 3e-2},
        batch={"sequences": 1, "max_tokens": 64},
        epochs=12,
        engine={"use": "torch", "device": "cpu"},
    )
    planned = [item.value for item in stage.plan() if item.status != "ok"]
    folder = stage.run().path
    warnings = [event["message"] for event in stage.of("warning")]
    assert planned == warnings
    assert [case.warned in warning for warning in warnings] == [True] * bool(case.warned)

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    named = json.loads((Path(folder) / "generation_config.json").read_text())["eos_token_id"]
    assert tokenizer.convert_ids_to_tokens(named if isinstance(named, list) else [named]) == list(case.named)
    config = json.loads((Path(folder) / "config.json").read_text())["eos_token_id"]
    assert set(named if isinstance(named, list) else [named]) >= set(config if isinstance(config, list) else [config])
    said = {"system": "Count.", "user": ASK}
    prompt = tokenizer.apply_chat_template(
        [{"role": role, "content": said[role]} for role in case.turns[:-1]],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    reply = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    # Mistral's writes a space before the reply.
    assert tokenizer.decode(reply).strip() == case.learnt

    talk = [Message(role, {**said, "assistant": SAY}[role]) for role in case.turns]
    talk += [Message("user", "Sure?"), Message("assistant", "Yes")]
    tokens = tokenise(load_tokenizer(str(folder)), talk)
    masked = "".join(
        tokenizer.decode([token]) if target else "\0"
        for token, target in zip(tokens.token_ids, tokens.loss_mask, strict=True)
    )
    ends = case.learnt.removeprefix(SAY)
    assert [run.strip() for run in masked.split("\0") if run] == [SAY + ends, "Yes" + ends]


@pytest.mark.parametrize(
    ("template", "label", "status", "value"),
    [
        (turns("### ", "\n\n"), "reply ends with", "warning", "the template writes nothing after a reply"),
        (turns("### ", " THE END\n"), "reply ends with", "warning", "the template writes ' THE END\\n' after a reply"),
        ("{{ messages | length }}", "reply ends with", "warning", "not known"),
        (turns("<|im_start|>", "<|im_end|>"), "reply ends with", "ok", "; the tokenizer's own end token is <eos>"),
        (PREFILLED, "prompt is a token prefix", "ok", "of replies with thoughts alone"),
        (SYSTEM_ONLY + TULU_TEMPLATE, "prompt is a token prefix", "ok", "of conversations with a system turn"),
        ("{{ bos_token }}{{ bos_token }}" + TULU_TEMPLATE, "double BOS", "error", "take one out"),
        ("{{ bos_token }}" + TULU_TEMPLATE, "BOS", "ok", "one, from the template"),
        ("{{ raise_exception('never') }}", "conversations", "warning", "none was found that it takes: "),
    ],
)  # fmt: skip
def test_what_is_said_of_a_template(template: str, label: str, status: str, value: str, network: Path) -> None:
    tokenizer = load_tokenizer(str(network))
    tokenizer.chat_template = template
    (item,) = [item for item in template_checks(tokenizer) if item.label == label]
    assert item.status == status
    assert value in item.value


def test_a_call_s_own_end_ends_a_reply(network: Path) -> None:
    """GPT-OSS closes a call with another token than an answer; a call's mark that is no special token ends nothing."""
    tokenizer = load_tokenizer(str(network))
    call = "{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}"
    end = "{{ '<|close|>' if m.tool_calls else '<|end|>' }}"
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content }}" + call + end + "{% endfor %}"
    )
    number = tokenizer.convert_tokens_to_ids
    assert end_tokens(tokenizer) == {number("<eos>"), number("<|end|>"), number("<|close|>")}
    tokenizer.add_tokens(["</tool_call>"])
    tokenizer.chat_template = tokenizer.chat_template.replace(end, "{{ '</tool_call>' if m.tool_calls }}\n<|end|>")
    assert end_tokens(tokenizer) == {number("<eos>"), number("<|end|>")}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_adapters_are_warned_of_where_their_base_does_not_name_the_end(
    bench: Callable[..., Any], network: Path, tmp_path: Path
) -> None:
    """peft takes the base's generation config; the adapters' folder names the ends for whoever loads it from there."""
    pytest.importorskip("peft")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, GenerationConfig

    case = CASES["Qwen 2.5's base"]
    base = base_of(case, network, tmp_path / "base")
    stage = bench(
        "adapters",
        model=base,
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(row_of(case, tmp_path))},
        optimizer={"lr": 3e-2},
        batch={"sequences": 1, "max_tokens": 64},
        epochs=40,
        engine={"use": "torch", "device": "cpu", "lora": {"rank": 8, "save": "adapter"}},
    )
    folder = stage.run().path
    (warning,) = [event["message"] for event in stage.of("warning")]
    assert "does not name <|im_end|> (" in warning
    assert "engine.lora.save: merged" in warning
    assert warning in [item.value for item in stage.plan()]

    tokenizer: Any = load_tokenizer(folder)
    config: Any = GenerationConfig.from_pretrained(folder)
    assert set(config.eos_token_id) == end_tokens(tokenizer)
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": ASK}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    reply = model.generate(**prompt, generation_config=config, max_new_tokens=16, do_sample=False)
    assert tokenizer.decode(reply[0, prompt["input_ids"].shape[1] :]) == case.learnt


def test_ends_that_are_named_already_leave_the_files_alone(tiny_model: Path, tmp_path: Path) -> None:
    files = {}
    for name in ("config.json", "generation_config.json"):
        files[name] = (tiny_model / name).read_bytes()
        (tmp_path / name).write_bytes(files[name])
    name_ends(tmp_path, load_tokenizer(str(tiny_model)), str(tiny_model))
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


def test_replies_sampled_from_a_base_end_at_the_template_s_token(network: Path, tmp_path: Path) -> None:
    """Online stages and evaluations of a base went on past `<end_of_turn>`, which only its template names."""
    from transformers import AutoModelForCausalLM

    from aftertrain.core.text.stopping import stop_token_ids

    base = base_of(CASES["Gemma's, without a generation config"], network, tmp_path / "base")
    tokenizer = load_tokenizer(str(base))
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    assert stop_token_ids(model, tokenizer) == {
        tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")
    }  # fmt: skip
