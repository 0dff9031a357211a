"""Plain texts: what is learnt of them, how long ones are cut, and a base model without a chat template."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import ModelError
from aftertrain.core.records import Document
from aftertrain.core.text.chat import UnusableRow, load_tokenizer
from aftertrain.core.text.tokens import tokenise_text
from aftertrain.plugins.training.rows import Rules, atoms_of
from aftertrain.plugins.training.settings import Batch

TEXT = "All of it is learnt, and nothing else."


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(str(tiny_model))


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"{TEXT} {i}" * (1 + i % 3)}) + "\n" for i in range(8)))
    return {"use": "jsonl", "path": str(path), "format": "text"}


@pytest.mark.parametrize("text", [TEXT, f"{TEXT}<eos>", f"<bos>{TEXT}", f"<bos>{TEXT}<eos>"])
@pytest.mark.parametrize("adds", ["nothing", "start", "both"])
def test_start_and_end_stand_once_whoever_writes_them(text: str, adds: str, tokenizer: Any) -> None:
    """TRL's rule for plain texts too: what the tokenizer makes of it, and an end token where there is none."""
    from tokenizers import processors

    template = {"nothing": "$A", "start": "<bos> $A", "both": "<bos> $A <eos>"}[adds]
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<bos>", "<eos>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    tokens = tokenise_text(tokenizer, text)
    start = "<bos>" if adds != "nothing" or text.startswith("<bos>") else ""
    assert tokenizer.decode(tokens.token_ids) == f"{start}{TEXT}<eos>"
    assert tokens.loss_mask == (False, *[True] * (len(tokens.token_ids) - 1))


def test_an_end_token_alone_is_unusable(tokenizer: Any) -> None:
    """It made no sample, and was counted nowhere."""
    with pytest.raises(UnusableRow, match="an end token and nothing else"):
        atoms_of(tokenizer, Document("a", "<eos>", "texts"), 0, Rules())


def test_a_blank_text_is_unusable(tokenizer: Any) -> None:
    with pytest.raises(UnusableRow) as caught:
        atoms_of(tokenizer, Document("a", " \n", "texts"), 0, Rules())
    assert (caught.value.reason, str(caught.value)) == ("empty_text", "sample 'a': the text is empty")


@pytest.mark.parametrize("longest", [2, 7, 10, 10_000])
def test_a_text_that_is_split_loses_no_token(longest: int, tokenizer: Any) -> None:
    """Targets put together are the whole text but its first token, each behind the token that precedes it there."""
    whole = tokenise_text(tokenizer, TEXT).token_ids
    rules = Rules.of(None, Batch(max_tokens=longest, overlong="split"))
    pieces = [segment for (segment,) in atoms_of(tokenizer, Document("a", TEXT, "texts"), 3, rules)]
    assert max(len(piece.token_ids) for piece in pieces) <= longest
    learnt = [
        (before, token)
        for piece in pieces
        for before, token, target in zip(piece.token_ids, piece.token_ids[1:], piece.loss_mask[1:], strict=False)
        if target
    ]
    assert learnt == list(pairwise(whole))
    (uncut,) = atoms_of(tokenizer, Document("a", TEXT, "texts"), 3, Rules())
    assert uncut[0].token_ids == whole


def test_texts_train_a_base_model_without_a_chat_template(
    bench: Callable[..., Any], texts: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    """The first step's loss is transformers' own over all tokens of all texts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    base = tmp_path / "base"
    tokenizer.save_pretrained(base)
    model.save_pretrained(base)
    stage = bench(
        "texts", model=base, loss={"use": "sft", "reduction": "token_mean"}, data=texts, batch={"sequences": 8}
    )
    assert any(item.label == "rows" and "texts" in item.value for item in stage.plan())
    stage.run()
    total, count = 0.0, 0
    for line in Path(texts["path"]).read_text().splitlines():
        ids = torch.tensor([[*tokenizer(json.loads(line)["text"])["input_ids"], tokenizer.eos_token_id]])
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    assert stage.of("metrics")[0]["loss"] == pytest.approx(total / count, rel=1e-5)
    with pytest.raises(ModelError, match="has no chat template; set chat_template: tulu"):
        bench("talks", model=base, loss={"use": "sft"}, data={**texts, "format": "messages"}).run()


def test_only_texts_are_split(bench: Callable[..., Any], texts: dict[str, Any], conversations: Path) -> None:
    talks = {"use": "jsonl", "path": str(conversations)}
    message = "batch.overlong: split cuts plain texts, {} yields Conversation; use drop, truncate or stop"
    stage = bench("split", loss={"use": "sft"}, data=talks, batch={"overlong": "split"})
    assert [item.value for item in stage.plan()] == [message.format("the data set")]
    held_out = bench(
        "held-out", loss={"use": "sft"}, data=texts, validation={"data": talks}, batch={"overlong": "split"}
    )
    assert [item.value for item in held_out.plan()] == [message.format("validation")]
