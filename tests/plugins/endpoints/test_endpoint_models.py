"""An endpoint as the model that is evaluated, or as the judge, from the commands that people type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from aftertrain.api.finished import finished_evaluation
from aftertrain.cli import main
from aftertrain.core.completions.store import CompletionStore
from aftertrain.plugins.evaluation.rows import ScoredInstance, read_instances
from aftertrain.testing.endpoint import served

from .conftest import answer  # the same folder

CHAT = "/v1/chat/completions"


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Six questions of GSM8K's layout: 0 + 1, 1 + 1 …"""
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"What is {i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def adds(request: Request) -> Response:
    """Adds 1 to the even ones; of the odd ones it says the number itself."""
    asked = request.get_json()["messages"][-1]["content"]
    number = int(asked.partition("What is ")[2].partition(" +")[0])
    return Response(json.dumps(answer(f"So the answer is {number + 1 - number % 2}.")), 200)


def rows_of(out: Path) -> list[ScoredInstance]:
    (path,) = out.glob("stages/*/samples/instances.jsonl")
    return read_instances(path)


def words(url: str, sums: Path, out: Path, *more: str) -> list[str]:
    task = ["gsm8k", f"path={sums}", "shots=0"]
    return ["evaluate", url, *task, "--out", str(out), *(part for text in more for part in ("--set", text))]


def test_an_endpoint_is_evaluated(
    httpserver: HTTPServer, sums: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three of six right; what was asked is seen turn by turn, and each reply is kept."""
    httpserver.expect_request(CHAT).respond_with_handler(adds)
    url, out = f"{httpserver.url_for('/v1')}#tiny", tmp_path / "out"
    assert main(words(url, sums, out)) == 1
    told = capsys.readouterr().err
    assert "gsm8k: cannot be asked: the task begins the reply ('Answer:'), and a chat endpoint begins its own" in told
    assert len(httpserver.log) == 0, "refused before anything is asked"
    assert main(words(url, sums, out, "generator.prefill=drop")) == 0
    assert "50.0" in capsys.readouterr().out
    rows = rows_of(out)
    assert [row.metrics["exact_match"] for row in rows] == [1.0, 0.0] * 3
    assert rows[0].prompt.endswith("What is 0 + 1?\n\n[assistant begins]\nAnswer:")
    assert rows[0].prompt.startswith("[user]\n")
    store = CompletionStore(out / "cache" / "completions.sqlite")
    assert store.count() == len(httpserver.log) == 6
    store.close()


def test_a_changed_scorer_asks_nothing(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Another rule of comparison makes another stage, whose replies are all there; another revision asks anew."""
    httpserver.expect_request(CHAT).respond_with_json(answer("It is 1."))
    problems = tmp_path / "problems.jsonl"
    row = {"id": "q", "question": "What is 0 + 1?", "answer": "0 + 1 = 1\n#### 1"}
    problems.write_text(json.dumps(row) + "\n")
    url, out = f"{httpserver.url_for('/v1')}#tiny", tmp_path / "out"

    def scored(*more: str) -> float:
        task = ["problems", f"data={{use: jsonl, path: {problems}, format: gsm8k, as: problem}}", *more]
        assert main(["evaluate", url, *task, "--out", str(out)]) == 0
        newest = max(out.glob("stages/*/samples/instances.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        return read_instances(newest)[0].metrics["exact_match"]

    flexible = scored("verifier={use: gsm8k, extract: flexible}")
    strict = scored("verifier={use: gsm8k, extract: strict}")
    assert (flexible, strict, len(httpserver.log)) == (1.0, 0.0, 1)
    assert scored("verifier=gsm8k", "max_new_tokens=99") in (0.0, 1.0)
    assert len(httpserver.log) == 2, "a reply that may be longer is another"


def test_what_a_chat_endpoint_cannot_do_is_told_first(
    httpserver: HTTPServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "even.jsonl"
    path.write_text(json.dumps({"question": "Is 2 even?", "choices": ["yes", "no"], "answer": 0}) + "\n")
    url = f"{httpserver.url_for('/v1')}#tiny"
    command = ["evaluate", url, "multiple_choice", f"path={path}", "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "a chat endpoint gives log-probabilities of its own replies only" in capsys.readouterr().err
    assert main([*command, "--set", "generator.api=completions"]) == 1
    assert "is known in tokens only: set generator.tokenizer" in capsys.readouterr().err
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: no\nmodel: {url}\nstages:\n  sft: {{use: train, loss: sft, data: [], epochs: 1}}\n")
    assert main(["run", str(recipe)]) != 0
    assert len(httpserver.log) == 0


def test_log_likelihoods_of_an_endpoint_are_the_engines(
    sums: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tiny model as a folder and behind a server: choices, greedy flags, a text, and replies."""
    even, texts = tmp_path / "even.jsonl", tmp_path / "texts.jsonl"
    rows = [{"question": f"Is {i} even?", "choices": ["yes", "no", "perhaps"], "answer": i % 2} for i in range(4)]
    even.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts.write_text(json.dumps({"text": "The sky is blue. " * 20}) + "\n")
    tasks = ["multiple_choice", f"path={even}", "formulation=cf", "normalization=pmi", "perplexity", f"path={texts}"]
    tasks += ["gsm8k", f"path={sums}", "shots=0"]
    outs = [tmp_path / "folder", tmp_path / "endpoint"]
    more = ["--max-new-tokens", "16", "--temperature", "1.0"]
    assert main(["evaluate", tiny, *tasks, *more, "--out", str(outs[0])]) == 0
    settings = ("api=completions", f"tokenizer={tiny}", "context=512", "concurrency=2")
    sets = [part for setting in settings for part in ("--set", f"generator.{setting}")]
    with served(tiny) as url:
        assert main(["evaluate", url, *tasks, *more, *sets, "--out", str(outs[1])]) == 0
    ours, theirs = map(rows_of, outs)
    assert len(ours) == len(theirs) == 4 + 1 + 6
    for a, b in zip(ours, theirs, strict=True):
        assert (a.id, a.prompt, a.output) == (b.id, b.prompt, b.output)
        assert (a.greedy, a.choice_tokens, a.finish_reason) == (b.greedy, b.choice_tokens, b.finish_reason)
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        assert a.baseline == pytest.approx(b.baseline, abs=1e-4)


JUDGE = {
    "use": "judge",
    "template": "Is {{ response }} right for {{ prompt }}? It is {{ ground_truth }}. Say yes or no.",
    "parse": {"pattern": "(yes|no)", "labels": {"yes": 1.0, "no": 0.0}},
}


def judges(request: Request) -> Response:
    """Says yes to what holds the number that it is told."""
    text = request.get_json()["messages"][-1]["content"]
    reply, _, rest = text.removeprefix("Is ").partition(" right for")
    right = rest.partition("It is ")[2].partition(".")[0] in reply
    return Response(json.dumps(answer("yes" if right else "no", model="judge")), 200)


def test_an_endpoint_judges(
    httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From `aftertrain verify`: special tokens in a reply are broken, and the second call is answered by the store."""
    httpserver.expect_request(CHAT).respond_with_handler(judges)
    cases = tmp_path / "cases.jsonl"
    lines = [{"prompt": "2+2", "response": "4 <|im_end|>", "ground_truth": "4"}, {"response": "5", "ground_truth": "4"}]
    cases.write_text("".join(json.dumps({"prompt": "2+2", **line}) + "\n" for line in lines))
    settings = {key: value for key, value in JUDGE.items() if key != "use"}
    settings |= {"model": f"{httpserver.url_for('/v1')}#judge", "generator": "openai", "store": str(tmp_path / "kept")}
    written = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    for _ in range(2):
        assert main(["verify", "judge", str(cases), *written]) == 0
        assert [json.loads(line)["score"] for line in capsys.readouterr().out.splitlines()] == [1.0, 0.0]
    assert len(httpserver.log) == 2
    asked = [request.get_json()["messages"][0]["content"] for request, _ in httpserver.log]  # in any order
    assert ["4 < |im_end|>" in prompt for prompt in sorted(asked, key=len)] == [False, True]


def test_a_judge_shares_the_evaluations_store(httpserver: HTTPServer, sums: Path, tmp_path: Path) -> None:
    """A model behind one name, its judge behind another: twelve replies are kept in one file, and none is asked for
    again by a stage that only shows more of them."""

    def both(request: Request) -> Response:
        return judges(request) if request.get_json()["model"] == "judge" else adds(request)

    httpserver.expect_request(CHAT).respond_with_handler(both)
    url, out = httpserver.url_for("/v1"), tmp_path / "out"
    priced = {"use": "openai", "prices": {"prompt": 1000, "reply": 2000}}
    judge = {**JUDGE, "model": f"{url}#judge", "generator": priced}
    data = {"use": "jsonl", "path": str(sums), "format": "gsm8k", "as": "problem"}
    task = {"use": "problems", "data": data, "verifier": judge, "check": "gsm8k"}
    recipe = {
        "name": "out",
        "model": f"{url}#tiny",
        "stages": {"eval": {"use": "evaluate", "tasks": [task], "generator": priced}},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path)]) == 0
    assert [row.metrics["exact_match"] for row in rows_of(out)] == [1.0, 0.0] * 3
    store = CompletionStore(out / "cache" / "completions.sqlite")
    assert store.count() == len(httpserver.log) == 12
    store.close()
    (speed,) = finished_evaluation(out).speeds
    assert speed.cost == pytest.approx(12 * (3 * 1000 + 2 * 2000) / 1e6), "three tokens of prompt and two of reply each"
    assert main(["run", str(tmp_path / "recipe.yaml"), "stages.eval.block=2", "--out", str(tmp_path)]) == 0
    assert len(httpserver.log) == 12
    (speed,) = finished_evaluation(out).speeds
    assert (speed.recalled, speed.rate, speed.cost) == (6, None, 0.0)
