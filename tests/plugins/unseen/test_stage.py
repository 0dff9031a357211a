"""The tasks from the command `aftertrain evaluate`: a model is scored on all from one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftertrain.cli import main
from aftertrain.plugins.unseen.examples import EXAMPLES


@pytest.mark.slow
def test_a_model_is_scored_on_all_from_one_folder(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for _, name in EXAMPLES]
    for make in EXAMPLES.values():
        make(tmp_path / "hub")
    words = [word for name in names for word in (name, *(["shots=1"] if name == "mmlu_pro_direct" else []))]
    out = tmp_path / "run"
    options = ["--data", str(tmp_path / "hub"), "--max-new-tokens", "4", "--set", "overlong=truncate", "--limit", "4"]
    options += ["--unseal", "a test"]
    assert main(["evaluate", str(tiny_model), *words, *options, "--out", str(out)]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert all(name in told for name in names)
    assert "exact_match (macro)" in told
    assert "acc_raw (macro)" in told
