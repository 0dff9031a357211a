"""Bad input, one minimal case each: what is said, with row and file, or what is counted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.core.errors import DataError, ModelError, NumericsError

SFT, DPO = {"use": "sft"}, {"use": "dpo"}
GOOD = {"id": "good", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}
PAIR = {"id": "pair", "prompt": "Well?", "chosen": "Yes.", "rejected": "No."}


def talk(reply: str, ask: str = "Hi", name: str = "bad") -> dict[str, Any]:
    return {"id": name, "messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": reply}]}


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`rows(a, b, format=…)`: a file of those rows as the settings of a data set."""

    def write(*given: dict[str, Any], **settings: Any) -> dict[str, Any]:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in given))
        return {"use": "jsonl", "path": str(path), **settings}

    return write


UNUSABLE = {
    "empty reply": (SFT, {}, GOOD, talk(" \n"), "empty_reply", "sample 'bad': turn 1 is to be learnt and is empty"),
    "chosen = rejected": (
        DPO,
        {"format": "preference"},
        PAIR,
        {**PAIR, "id": "bad", "rejected": "Yes."},
        "chosen_equals_rejected",
        "pair 'bad': chosen and rejected are the same tokens",
    ),
    "reply that merges with the prompt": (
        SFT,
        {},
        GOOD,
        talk("\n\nHo"),
        "prompt_not_a_prefix",
        "sample 'bad': the tokenised prompt is not a prefix of the tokenised conversation",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_row_that_teaches_nothing_stops_with_file_and_line(
    case: str, bench: Callable[..., Any], rows: Callable[..., Any], tmp_path: Path, merging_model: Path
) -> None:
    """In the plan as in the run, and named by file and line though the second attempt reads the cache."""
    loss, settings, good, bad, _, message = UNUSABLE[case]
    stage = bench("x", loss=loss, data=rows(good, bad, **settings), model=merging_model)
    for act in (stage.plan, stage.run, stage.run):
        with pytest.raises(DataError) as caught:
            act()
        first, second = str(caught.value).splitlines()
        assert first.startswith("1 of 2 rows cannot be trained on (1 ")
        assert first.endswith("mend them, or leave them out with batch.unusable: drop")
        assert second.startswith(f"{tmp_path / 'rows.jsonl'}:2: {message}")


@pytest.mark.parametrize("case", UNUSABLE)
def test_or_it_is_left_out_and_counted(
    case: str, bench: Callable[..., Any], rows: Callable[..., Any], merging_model: Path, tmp_path: Path
) -> None:
    loss, settings, good, bad, reason, _ = UNUSABLE[case]
    data = rows(good, bad, {**good, "id": "more"}, **settings)
    stage = bench("x", loss=loss, data=data, model=merging_model, batch={"unusable": "drop"})
    stage.run()
    example = f"bad ({tmp_path / 'rows.jsonl'}:2)"
    assert stage.of("dropped") == [{reason: 1, "examples": [example]}]
    (left_out,) = [item for item in stage.plan() if item.label == "left out"]
    assert (left_out.value, left_out.status) == (f"1 of 3: {reason}, such as {example}", "warning")


@pytest.fixture(scope="module")
def merging_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with one more merge: two line breaks are one token, so that white space eats the prompt's end."""
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("merging") / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    model = tokenizer["model"]
    taken = next(token for token, number in model["vocab"].items() if number == 319)
    model["vocab"] = {token: number for token, number in model["vocab"].items() if token != taken} | {"ĊĊ": 319}
    model["merges"] = [["Ċ", "Ċ"], *(merge for merge in model["merges"] if taken != "".join(merge))]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_a_data_set_that_is_all_wrong_is_refused_early(
    bench: Callable[..., Any], rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 100 unusable rows the rest is not read; ten are named."""
    from aftertrain.plugins.training import tokenising

    monkeypatch.setattr(tokenising, "CHUNK", 50)
    data = rows(*(talk("", name=f"bad-{i}") for i in range(300)))
    with pytest.raises(
        DataError, match=r"^100 of the first 100 rows cannot be trained on \(100 empty reply\)"
    ) as caught:
        bench("x", loss=SFT, data=data).run()
    assert str(caught.value).splitlines()[-1] == "… and 90 more"
    assert len(str(caught.value).splitlines()) == 12


MISFITS = [
    ({"messages": []}, "no_turns", "field 'messages': expected a list of turns"),
    (
        {"messages": [{"role": "boss", "content": "x"}]},
        "unknown_role",
        "field 'messages[0].role': expected one of system, user, ",
    ),
    (
        {"messages": [{"role": "user", "content": "x"}]},
        "no_assistant_turn",
        "field 'messages': expected at least one turn of the assistant",
    ),
    (
        {"messages": [{"role": "user", "content": 3}]},
        "wrong_value",
        "field 'messages[0].content': expected a text, found the number 3",
    ),
    (
        {"messages": [{"role": "user", "content": None}]},
        "missing_value",
        "field 'messages[0].content': expected a text, found null or nothing",
    ),
]


@pytest.mark.parametrize(("row", "reason", "message"), MISFITS)
def test_a_row_of_another_form_names_file_line_and_field(
    row: Any, reason: str, message: str, bench: Callable[..., Any], rows: Callable[..., Any], tmp_path: Path
) -> None:
    stage = bench("x", loss=SFT, data=rows(GOOD, row))
    for act in (stage.plan, stage.run):
        with pytest.raises(DataError) as caught:
            act()
        first, second = str(caught.value).splitlines()
        assert first.startswith(f"1 of 2 rows cannot be trained on (1 {reason.replace('_', ' ')}): mend them, or leave")
        assert second.startswith(f"{tmp_path / 'rows.jsonl'}:2: {message}")


MANGLED = ['{"messages": [', "[]", "\udcff", *(json.dumps(row) for row, *_ in MISFITS)]
COUNTS = {
    "not_json": 1,
    "not_an_object": 1,
    "not_utf8": 1,
    "no_turns": 1,
    "unknown_role": 1,
    "no_assistant_turn": 1,
    "wrong_value": 1,
    "missing_value": 1,
}


@pytest.fixture
def mangled(tmp_path: Path) -> dict[str, Any]:
    """Two good rows with eight bad ones between them, as the settings of a data set."""
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(GOOD), *MANGLED, json.dumps({**GOOD, "id": "more"})]
    path.write_text("".join(line + "\n" for line in lines), errors="surrogateescape")
    return {"use": "jsonl", "path": str(path)}


STREAM = {"stream": {"window": 4}, "max_steps": 1, "data_workers": 1}


@pytest.mark.parametrize("more", [{}, STREAM], ids=["planned", "streamed"])
def test_all_bad_rows_are_counted_and_named_at_once(
    more: dict[str, Any], bench: Callable[..., Any], mangled: dict[str, Any], tmp_path: Path
) -> None:
    """A stream knows those of its window: the first four rows, three of them bad."""
    stage = bench("x", loss=SFT, data=mangled, **more)
    for act in (stage.plan, stage.run):
        with pytest.raises(DataError) as caught:
            act()
        first, *others = str(caught.value).splitlines()
        counts = list(COUNTS.items())[: 3 if more else None]
        told = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in counts)
        assert first.startswith(f"{len(counts)} of {4 if more else 10} rows cannot be trained on ({told}): mend them")
        places = [line.partition(": ")[0] for line in others]
        assert places == [f"{tmp_path / 'rows.jsonl'}:{number}" for number in range(2, 2 + len(counts))]


@pytest.mark.parametrize("more", [{}, STREAM], ids=["planned", "streamed"])
def test_or_they_are_left_out_and_counted(
    more: dict[str, Any], bench: Callable[..., Any], mangled: dict[str, Any], tmp_path: Path
) -> None:
    """Of a planned set in one event; of a stream in one for each window, here of four, four and two rows."""
    batch = {"sequences": 2, "max_tokens": 128, "unusable": "drop"}
    stage = bench("x", loss=SFT, data=mangled, batch=batch, **more)
    stage.run()
    events = stage.of("dropped")
    assert len(events) == (3 if more else 1)
    counts: dict[str, int] = {}
    for event in events:
        counts |= {reason: n for reason, n in event.items() if reason != "examples"}
    assert counts == COUNTS
    assert events[0]["examples"][0].endswith(f" ({tmp_path / 'rows.jsonl'}:2)")
    left_out = [item.value for item in stage.plan() if item.label == "left out"]
    assert left_out[0].startswith("1 of 4: not_json, such as rows-" if more else "1 of 10: not_json, such as rows-")
    assert left_out[0].endswith(f" ({tmp_path / 'rows.jsonl'}:2)")
    assert len(left_out) == (3 if more else 8)


def test_a_bad_row_of_a_large_set_is_found_by_the_plan_that_tokenises_a_sample(
    bench: Callable[..., Any], rows: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six rows two are tokenised, not the bad one."""
    from aftertrain.plugins.training import glance

    monkeypatch.setattr(glance, "SAMPLE", 2)
    good = [{**GOOD, "id": str(i)} for i in range(5)]
    stage = bench("x", loss=SFT, data=rows(good[0], {"messages": []}, *good[1:]))
    with pytest.raises(DataError, match=r"^1 of 6 rows cannot be trained on \(1 no turns\)"):
        stage.plan()


def test_rows_that_are_all_of_another_form_are_told_once(
    bench: Callable[..., Any], rows: Callable[..., Any], tmp_path: Path
) -> None:
    """With the setting that reads them, and no word of leaving them all out."""
    data = rows(*({"conversations": GOOD["messages"], "n": i} for i in range(3)))
    place = tmp_path / "rows.jsonl"
    message = "field 'messages' is missing; the row has: conversations, n. Write `fields: {messages: conversations}`"
    with pytest.raises(DataError) as caught:
        bench("x", loss=SFT, data=data).plan()
    first, *others = str(caught.value).splitlines()
    assert first == "3 of 3 rows cannot be trained on (3 missing column): mend them"
    assert others == [f"{place}:1: {message}", f"{place}:2: the same", f"{place}:3: the same"]
    with pytest.raises(DataError) as caught:
        bench("x", loss=SFT, data=data, batch={"unusable": "drop"}).plan()
    assert str(caught.value).splitlines() == [
        "no row is left to train on of 3 (missing_column: 3); batch.max_tokens is 2048",
        f"{place}:1: {message}",
    ]


def test_the_plan_names_columns_that_nothing_reads(bench: Callable[..., Any], rows: Callable[..., Any]) -> None:
    stage = bench("x", loss=SFT, data=rows(GOOD, {**GOOD, "prompt_id": 1, "split": "a"}))
    assert [item.value for item in stage.plan() if item.label == "data"] == ["columns not read: prompt_id, split"]


def test_a_loss_that_does_not_fit_names_the_format_to_set(bench: Callable[..., Any], rows: Callable[..., Any]) -> None:
    (item,) = bench("x", loss=DPO, data=rows(GOOD)).plan()
    assert item.value == (
        "loss 'dpo' learns from PreferencePair, the data set yields Conversation; set `format: preference` of the "
        "data, if its rows are such"
    )


LONG = "a b c d e f g h " * 8
OVERLONG = {
    "a long prompt leaves no target": (SFT, {}, talk("Ho", ask=LONG), "no_target_left"),
    "replies that part behind the limit": (
        DPO,
        {"format": "preference"},
        {**PAIR, "id": "bad", "chosen": LONG + "x", "rejected": LONG + "y"},
        "no_difference_left",
    ),
}


@pytest.mark.parametrize("case", OVERLONG)
def test_what_a_cut_would_make_useless_is_left_out(
    case: str, bench: Callable[..., Any], rows: Callable[..., Any]
) -> None:
    """With overlong: truncate; with drop and stop the row counts as overlong whatever the reason."""
    loss, settings, bad, reason = OVERLONG[case]
    data = rows(GOOD if loss is SFT else PAIR, bad, **settings)
    for policy, name in (("truncate", reason), ("drop", "overlong")):
        stage = bench(policy, loss=loss, data=data, batch={"max_tokens": 40, "overlong": policy})
        stage.run()
        assert stage.of("dropped") == [{name: 1, "examples": [f"bad ({data['path']}:2)"]}]
        assert [(rows["rows"], rows["kept"]) for rows in stage.of("rows")] == [(2, 1)]
    with pytest.raises(DataError, match=r"rows.jsonl:2: sample 'bad' has \d+ tokens, batch.max_tokens is 40; raise it"):
        bench("error", loss=loss, data=data, batch={"max_tokens": 40, "overlong": "stop"}).run()


def test_a_sample_longer_than_the_model_takes_is_told_before_any_weight_is_loaded(
    bench: Callable[..., Any], rows: Callable[..., Any]
) -> None:
    """The tiny model has 512 positions."""
    data = rows(GOOD, talk("q1 " * 300, name="long"), {**GOOD, "id": "more"})
    stage = bench("x", loss=SFT, data=data, batch={"max_tokens": 1000})
    for act in (stage.plan, stage.run, lambda: stage.stage.check_data(stage.plan_context(), lambda: False)):
        with pytest.raises(DataError, match=r"sample 'long' has \d+ tokens, the model takes 512 .*1 of 3 segments are"):
            act()


def test_a_token_without_an_embedding_is_refused_before_any_weight_is_loaded(
    bench: Callable[..., Any], rows: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    """A tokenizer with one token more than the model: a row that uses it stops, one that does not only warns."""
    import shutil

    from transformers import AutoTokenizer

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = len(tokenizer)
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(folder)
    stage = bench("used", loss=SFT, data=rows(GOOD, talk("call <tool>")), model=folder)
    (folder / "model.safetensors").rename(folder / "weights.gone")
    for act in (stage.plan, stage.run, lambda: stage.stage.check_data(stage.plan_context(), lambda: False)):
        with pytest.raises(
            ModelError, match=rf"token '<tool>' with id {size}, and the model has only {size} embeddings"
        ):
            act()
    (folder / "weights.gone").rename(folder / "model.safetensors")
    fine = bench("unused", loss=SFT, data=rows(GOOD, talk("call")), model=folder)
    fine.run()
    assert fine.of("warning") == [
        {"message": f"the tokenizer knows {size + 1} tokens, the model {size}; the rows use none of the others"}
    ]


def test_a_tokenizer_without_a_pad_token_trains(
    bench: Callable[..., Any], rows: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    """Rows are packed, so that none is needed."""
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "pad_token"}))
    one = bench("with", loss=SFT, data=rows(GOOD))
    other = bench("without", loss=SFT, data=rows(GOOD), model=folder)
    one.run()
    other.run()
    assert one.of("metrics") == other.of("metrics")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`poisoned(id)`: the loss is NaN for every micro-batch that holds this row."""
    from aftertrain.plugins.losses.sft import SFT as Loss

    real = Loss.__call__

    def poison(name: str) -> None:
        def call(self: Any, batch: Any, scores: Any) -> Any:
            output = real(self, batch, scores)
            bad = math.nan if name in batch.sample_ids else 1.0
            return type(output)({term: value * bad for term, value in output.terms.items()}, output.metrics)

        monkeypatch.setattr(Loss, "__call__", call)

    return poison


def test_a_nan_stops_or_its_step_is_passed_over(
    bench: Callable[..., Any], conversations: Path, poisoned: Callable[[str], None]
) -> None:
    """12 rows, 4 a step: the step with sum-5 changes no weight, the other two train; the event names step and rows."""
    data = {"use": "jsonl", "path": str(conversations)}
    settings: dict[str, Any] = {"loss": SFT, "data": data, "batch": {"sequences": 4, "max_tokens": 128}}
    clean = bench("clean", **settings)
    clean.run()
    poisoned("sum-5")
    with pytest.raises(NumericsError, match=r"step \d: loss 'policy' is nan; samples: .*sum-5"):
        bench("stop", **settings).run()
    stage = bench("skip", **settings, on_nonfinite="skip")
    artifact = stage.run()
    ((_, step, event),) = [one for one in stage.events if one[0] == "skipped"]
    assert event["message"].startswith(f"step {step}: loss 'policy' is nan; samples: ")
    assert "sum-5" in event["message"]
    trained = [at for name, at, _ in stage.events if name == "metrics"]
    assert sorted([*trained, step]) == [1, 2, 3]
    if step > 1:
        assert stage.of("metrics")[0] == clean.of("metrics")[0]
    from safetensors.torch import load_file

    assert all(torch.isfinite(tensor).all() for tensor in load_file(Path(artifact.path) / "model.safetensors").values())


def test_a_stage_that_only_skips_stops(
    bench: Callable[..., Any], conversations: Path, tiny_model: Path, poisoned: Callable[[str], None]
) -> None:
    """One row, in every step: after ten steps without an update the stage ends."""
    poisoned("sum-0")
    data = {"use": "jsonl", "path": str(conversations), "limit": 1}
    stage = bench("x", loss=SFT, data=data, epochs=20, on_nonfinite="skip")
    with pytest.raises(NumericsError, match="step 10: "):
        stage.run()
    assert len(stage.of("skipped")) == 9


def test_skipped_steps_that_do_not_follow_one_another_stop_nothing(
    bench: Callable[..., Any], conversations: Path, poisoned: Callable[[str], None]
) -> None:
    """Every other step of 24 is skipped: never ten in a row."""
    poisoned("sum-0")
    data = {"use": "jsonl", "path": str(conversations), "limit": 2}
    stage = bench("x", loss=SFT, data=data, batch={"sequences": 1}, epochs=12, on_nonfinite="skip")
    stage.run()
    assert (len(stage.of("skipped")), len(stage.of("metrics"))) == (12, 12)
