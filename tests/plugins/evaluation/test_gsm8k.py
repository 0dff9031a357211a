"""GSM8K: the prompt against OLMES's own requests, the three readings of a reply, and the file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance
from aftertrain.core.records import Check, Completion, Message, Problem
from aftertrain.core.settings import Settings, Use
from aftertrain.plugins.evaluation.gsm8k import GSM8K, last_number
from aftertrain.plugins.evaluation.settings import GSM8KSettings


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write(tmp_path / "q.jsonl", {"question": "How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 1,007"})


def completion(text: str) -> Completion:
    return Completion("1", (1,), (2,), (0.0,), (0,), "stop", text)


def read(text: str, truth: str) -> dict[str, float]:
    task = GSM8K(GSM8KSettings(path="unused"), None)  # type: ignore[arg-type]
    return dict(task.score(Instance("1", (), truth), completion(text)).metrics)


def test_the_prompt_is_a_conversation_with_the_reply_begun(file: str) -> None:
    """Tülu 3's form: 8 turns of user and assistant, then the question, then `Answer:` to be continued."""
    task = GSM8K(GSM8KSettings(path=file), None)  # type: ignore[arg-type]
    (instance,) = task.instances()
    assert [message.role for message in instance.messages] == ["user", "assistant"] * 9
    assert instance.messages[-2:] == (Message("user", "Question: How many?"), Message("assistant", "Answer:"))
    assert all(message.content.startswith("Question: ") for message in instance.messages[::2])
    assert all("So the answer is" in message.content for message in instance.messages[1:-1:2])
    assert instance.target == "1,007"
    sampling = task.sampling()
    assert (sampling.max_new_tokens, sampling.temperature) == (512, 0.0)
    assert sampling.stop == ("Question:", "</s>", "<|im_end|>")


def test_prompts_equal_olmes_requests(shared_data: Path, tmp_path: Path) -> None:
    """Byte for byte, for every stored request; the conversation holds the same text without its separators."""
    lines = gzip.decompress((shared_data / "golden" / "olmes_requests.jsonl.gz").read_bytes()).decode().splitlines()
    golden = [row for row in map(json.loads, lines) if row["task"] == "gsm8k"]
    assert len(golden) >= 60
    path = write(tmp_path / "q.jsonl", *(row["doc"] for row in golden))
    plain = GSM8K(GSM8KSettings(path=path, chat=False), None)  # type: ignore[arg-type]
    chat = GSM8K(GSM8KSettings(path=path), None)  # type: ignore[arg-type]
    for row, flat, turns in zip(golden, plain.instances(), chat.instances(), strict=True):
        assert flat.messages[0].content == row["context"]
        assert last_number(flat.target) == row["label"].replace(",", "")
        text = "".join(m.content + ("\n" if m.role == "user" else "\n\n") for m in turns.messages)
        assert text.removesuffix("\n\n") == row["context"]
        request = row["requests"][0]
        assert list(plain.sampling().stop) == request["stop_sequences"]
        assert plain.sampling().max_new_tokens == request["generation_kwargs"]["max_gen_toks"]


@pytest.mark.parametrize(
    ("text", "truth", "exact", "flexible", "strict"),
    [
        (" 3 + 4 = 7. So the answer is 7.", "7", 1, 1, 1),
        (" So the answer is 1,007.", "1,007", 1, 1, 1),
        (" So the answer is $1007.", "1,007", 1, 1, 1),
        (" So the answer is 7.0.", "7", 0, 1, 1),
        (" It is 7", "7", 1, 1, 0),
        (" So the answer is 7. That took 2 steps.", "7", 0, 0, 1),
        (" So the answer is -7.", "-7", 1, 1, 1),
        (" So the answer is -7.", "7", 1, 0, 0),
        (" So the answer is −7.", "-7", 1, 1, 1),
        (" So the answer is −7.", "7", 1, 0, 0),
        (" So the answer is 9{,}507.", "507", 1, 0, 0),
        (" So the answer is 9{,}507.", "9,507", 0, 1, 1),
        (" So the answer is -$9\\,507.", "-9,507", 0, 1, 1),
        (" So the answer is 1/7.", "7", 1, 0, 0),
        ("#### 7", "7", 1, 1, 1),
        (" So the answer is 8.", "7", 0, 0, 0),
        (" 3 apples", "7", 0, 0, 0),
        (" no idea", "7", 0, 0, 0),
        ("", "7", 0, 0, 0),
    ],
)
def test_three_readings(text: str, truth: str, exact: float, flexible: float, strict: float) -> None:
    """Tülu 3's drops the sign of integers and compares text; ours keep signs and compare values."""
    assert read(text, truth) == {"exact_match": exact, "flexible": flexible, "strict": strict}


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,234,567", "1234567"), ("72.", "72"), ("-0.5", "-0.5"), ("1,2,3", "3"), (".5", ".5"), ("a", None), ("٣", "٣")],
)
def test_last_number_reads_as_olmes(text: str, number: str | None) -> None:
    """OLMES: `(\\d),(\\d)` loses its comma, then the last of `[-+]?\\d*\\.\\d+|\\d+`."""
    assert last_number(text) == number


def test_a_reply_without_number_is_unparsable(file: str) -> None:
    task = GSM8K(GSM8KSettings(path=file), None)  # type: ignore[arg-type]
    score = task.score(Instance("1", (), "7"), completion("I refuse."))
    assert (score.outcome, score.extracted) == ("unparsable", None)


def test_real_solutions_are_read_right(shared_data: Path) -> None:
    """Every reference solution of the test set, told in its own words, scores 1 in all three readings."""
    task = GSM8K(GSM8KSettings(path=str(shared_data / "gsm8k" / "test.jsonl")), None)  # type: ignore[arg-type]
    instances = task.instances()
    assert len(instances) == 1319
    assert len({instance.id for instance in instances}) == 1319
    for instance in instances:
        reply = completion(f" Some steps. So the answer is {instance.target}.")
        assert set(task.score(instance, reply).metrics.values()) == {1.0}, instance.target


def test_problems_from_a_data_set(builder: Any, file: str) -> None:
    class One:
        def __init__(self, settings: Settings, builder: Any) -> None: ...
        def __iter__(self) -> Any:
            yield Problem("p", (Message("user", "How many?"),), (Check("gsm8k", "7"),), "s")

    use = builder.use(One, "dataset", "one", Settings())
    (instance,) = GSM8K(GSM8KSettings(problems=use, shots=0), builder).instances()
    assert (instance.id, instance.target, len(instance.messages)) == ("p", "7", 2)


@pytest.mark.parametrize(
    ("prompt", "truth", "message"),
    [
        ((Message("user", "Who?"),), "Ann", "'p': gsm8k needs a number as ground truth, found 'Ann'"),
        ((Message("system", "Be brief."), Message("user", "How many?")), "7", "'p': gsm8k needs one question, found 2"),
    ],
)
def test_problems_that_cannot_be_put_or_scored_are_refused(
    builder: Any, prompt: tuple[Message, ...], truth: str, message: str
) -> None:
    """A truth without a number scored every reply 0; turns before the question were left out without a word."""

    class One:
        def __init__(self, settings: Settings, builder: Any) -> None: ...
        def __iter__(self) -> Any:
            yield Problem("p", prompt, (Check("gsm8k", truth),), "s")

    use = builder.use(One, "dataset", "one", Settings())
    with pytest.raises(DataError, match=message):
        GSM8K(GSM8KSettings(problems=use, shots=0), builder).instances()


def test_the_fingerprint_is_of_content(tmp_path: Path, file: str) -> None:
    def of(**settings: Any) -> str:
        return GSM8K(GSM8KSettings(**settings), None).fingerprint()  # type: ignore[arg-type]

    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(Path(file).read_bytes())
    assert of(path=file) == of(path=str(copy), name="renamed")
    assert len({of(path=file), of(path=file, shots=4), of(path=file, chat=False), of(path=file, max_new_tokens=9)}) == 4
    other = write(tmp_path / "other.jsonl", {"question": "How many?", "answer": "#### 8"})
    assert of(path=file) != of(path=other)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "a"}', r"q\.jsonl:1: has no field 'answer'; it has question"),
        ('{"question": "a", "answer": "none"}', r"q\.jsonl:1: field 'answer' has no number after '####': 'none'"),
        ('{"question": 1, "answer": "#### 1"}', r"q\.jsonl:1: field 'question' must be a str, found int"),
        ("[1]", r"q\.jsonl:1: a JSON object is needed, found list"),
        ("{", r"q\.jsonl:1:2: not JSON"),
        ("", r"q\.jsonl: no questions"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=message):
        GSM8K(GSM8KSettings(path=str(path)), None).instances()  # type: ignore[arg-type]


def test_one_source_and_old_recipes_are_told_its_new_name() -> None:
    use = Use("dataset", "sums", Settings())
    with pytest.raises(ValueError, match="one of 'path' and 'problems'"):
        GSM8KSettings(path="x", problems=use)
    for old in (use, {"use": "jsonl", "path": "x"}):
        with pytest.raises(ValueError, match="a data set of problems is the setting 'problems' now"):
            GSM8KSettings(data=old)  # type: ignore[arg-type]


def test_rows_are_those_of_the_hub_by_the_one_rule(shared_data: Path, tmp_path: Path) -> None:
    """From a folder laid out like the hub, and through a map; a question keeps its id, so that runs pair."""
    rows = [{"question": "How many?", "answer": "#### 7"}, {"question": "How far?", "answer": "#### 8"}]
    (tmp_path / "openai" / "gsm8k" / "main").mkdir(parents=True)
    path = write(tmp_path / "openai" / "gsm8k" / "main" / "test.jsonl", *rows)
    laid, given = (GSM8K(GSM8KSettings(**where), None) for where in ({"data": str(tmp_path)}, {"path": path}))  # type: ignore[arg-type]
    assert laid.instances() == given.instances()
    assert laid.fingerprint() == given.fingerprint()
    (tmp_path / "data.yaml").write_text(f"gsm8k: {{file: {shared_data}/gsm8k/test.jsonl}}\n")
    assert len(GSM8K(GSM8KSettings(data=str(tmp_path)), None).instances()) == 1319  # type: ignore[arg-type]


def test_the_published_reading_is_of_the_whole_reply_unless_asked_otherwise(file: str) -> None:
    text = "<think>5 + 2 = 7, no: 8</think> So the answer is 7."
    cut = "<think>The answer is 7. Is it</think>"
    protocol = GSM8K(GSM8KSettings(path=file), None)  # type: ignore[arg-type]
    after = GSM8K(GSM8KSettings(path=file, answer="after_thoughts"), None)  # type: ignore[arg-type]
    for task, reply, exact, other in (
        (protocol, text, 1.0, 1.0),
        (after, text, 1.0, 1.0),
        (protocol, cut, 1.0, 0.0),
        (after, cut, 0.0, 1.0),
    ):
        score = task.score(Instance("1", (), "7"), completion(reply))
        assert (score.metrics["exact_match"], score.other_rule) == (exact, other)
        assert score.metrics["flexible"] == score.metrics["strict"] == float(reply is text)
