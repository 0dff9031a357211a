"""Which token a reward model is padded with: never one that ends sequences, never one that the template writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.text.padding import reward_padding


def variant(tiny_model: Path, folder: Path, config: dict[str, Any], **tokenizer: Any) -> str:
    """The tiny model's folder (`<pad>` 0, `<bos>` 1, `<eos>` 2, role marks not special) with other settings."""
    shutil.copytree(tiny_model, folder)
    if "chat_template" in tokenizer:
        (folder / "chat_template.jinja").write_text(tokenizer.pop("chat_template"))
    for name, changes in {"config.json": config, "tokenizer_config.json": tokenizer}.items():
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return str(folder)


@pytest.mark.parametrize(
    ("config", "tokenizer", "expected"),
    [
        pytest.param({}, {}, 0, id="the model's own"),
        pytest.param({"pad_token_id": None}, {}, 0, id="the tokenizer's"),
        pytest.param({"pad_token_id": 2}, {"pad_token": "<eos>"}, 0, id="a special token named for it"),
        pytest.param(
            {"pad_token_id": 0, "eos_token_id": [2, 0]}, {"pad_token": "<eos>"}, None, id="one of several ends"
        ),
        pytest.param({"pad_token_id": 900}, {"pad_token": "<eos>"}, 0, id="not in the model"),
        pytest.param({}, {"chat_template": "{{ messages[0].content }}<pad>"}, None, id="written by the template"),
        pytest.param(
            {"pad_token_id": None}, {"pad_token": None, "unk_token": "!", "eos_token": "<pad>"}, 3, id="unknown"
        ),
    ],
)
def test_padding_ends_no_sequence(
    config: dict[str, Any], tokenizer: dict[str, Any], expected: int | None, tiny_model: Path, tmp_path: Path
) -> None:
    assert reward_padding(variant(tiny_model, tmp_path / "m", config, **tokenizer)) == expected


@pytest.mark.parametrize(("pad", "expected"), [(2, None), (0, 0), (None, None)])
def test_a_folder_without_a_tokenizer_has_its_configuration_only(
    pad: int | None, expected: int | None, tiny_model: Path, tmp_path: Path
) -> None:
    """No padding at all makes transformers refuse batches, which is better than a wrong score."""
    folder = variant(tiny_model, tmp_path / "m", {"pad_token_id": pad})
    for path in Path(folder).glob("tokenizer*"):
        path.unlink()
    assert reward_padding(folder) == expected
