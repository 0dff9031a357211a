"""A hub of few rows, real ones, in the columns that lm-eval reads; and a tiny model with room for their prompts."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

Rows = Iterable[Mapping[str, Any]]
TWO = '''
def two(docs):
    """Two questions, of which the shortest choice is right, as the tiny model believes."""
    def shortest(doc):
        texts = doc["choices"]["text"]
        return {"answerKey": doc["choices"]["label"][min(range(len(texts)), key=lambda place: len(texts[place]))]}
    return docs.select(range(2)).map(shortest)
'''
_REGEX = '    filter: [{function: regex, regex_pattern: "([0-9e])", group_select: %d}, {function: take_first}]\n'
_FIRST = f"  - name: first-number\n{_REGEX % 0}"
_LAST = f"  - name: last-number\n{_REGEX % -1}"
OWN = {
    # A binary question by figures of the whole corpus, and by mutual information: a request more for each choice.
    "corpus_boolq": """
task: corpus_boolq
dataset_path: aps/super_glue
dataset_name: boolq
output_type: multiple_choice
validation_split: validation
doc_to_text: "{{passage[:200]}}\\nQuestion: {{question}}?\\nAnswer:"
doc_to_target: label
doc_to_choice: ["no", "yes"]
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_mutual_info, aggregation: mean, higher_is_better: true}
  - {metric: f1, aggregation: f1, higher_is_better: true}
  - {metric: brier_score, aggregation: brier_score, higher_is_better: false}
""",
    # A text of a file of one's own, longer than the model's window.
    "long_texts": """
task: long_texts
dataset_path: EleutherAI/wikitext_document_level
dataset_name: wikitext-2-raw-v1
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{page * 20}}"
metric_list:
  - {metric: word_perplexity}
  - {metric: byte_perplexity}
  - {metric: bits_per_byte}
""",
    "drawn": """
task: drawn
dataset_path: openai/gsm8k
dataset_name: main
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
repeats: 3
generation_kwargs: {until: ["\\n\\n"], do_sample: true, temperature: 0.7, max_gen_toks: 8}
filter_list:
  - name: votes
    filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: majority_vote}, {function: take_first}]
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
    "two": "group: two\ntask: [arc_easy_own, arc_challenge_own]\n"
    "aggregate_metric_list: [{metric: acc_norm, weight_by_size: false}]\n",
    "mixed": "group: mixed\ntask: [arc_easy_own, drawn]\n",
    # Of three types of requests, with two groups within, one of which sets a task up otherwise; all three make numbers.
    "all_types": """
group: all_types
task:
  - inner
  - group: texts
    task: [long_texts]
    aggregate_metric_list: [{metric: bits_per_byte, weight_by_size: true}]
  - {task: short_answers, num_fewshot: 1, fewshot_split: train}
aggregate_metric_list:
  - {metric: acc, weight_by_size: true}
  - {metric: acc_norm, weight_by_size: false}
  - {metric: exact_match, filter_list: [first-number, last-number]}
""",
    "inner": """
group: inner
task: [arc_easy_own, arc_challenge_own, few_arc, numbers]
aggregate_metric_list:
  - {metric: acc, weight_by_size: false}
  - {metric: exact_match}
""",
    "few_arc": """
include: arc_easy_own.yaml
task: few_arc
process_docs: !function few.two
metric_list: [{metric: acc}]
""",
    **{
        name: f"""
task: {name}
dataset_path: openai/gsm8k
dataset_name: main
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer.split()[-1]}}}}"
generation_kwargs: {{until: ["\\n\\n"], do_sample: false, max_gen_toks: 8}}
filter_list:
{filters}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
        for name, filters in (
            ("numbers", _FIRST + _LAST),
            ("short_answers", _LAST),
        )
    },
    **{
        f"arc_{level}_own": f"""
task: arc_{level}_own
dataset_path: allenai/ai2_arc
dataset_name: ARC-{level.capitalize()}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices.label.index(answerKey)}}}}"
doc_to_choice: "{{{{choices.text}}}}"
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
        for level in ("easy", "challenge")
    },
}


def read(file: Path, count: int | None = None) -> list[dict[str, Any]]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, count)]


def write(file: Path, rows: Rows) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def hub(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of benchmarks: the first rows of each."""
    folder = tmp_path_factory.mktemp("hub")
    for name in (
        "allenai/ai2_arc/ARC-Easy/test",
        "allenai/ai2_arc/ARC-Challenge/test",
        "allenai/openbookqa/main/test",
        "allenai/winogrande/winogrande_xl/validation",
        "Rowan/hellaswag/default/validation",
        "tau/commonsense_qa/default/validation",
        "aps/super_glue/boolq/validation",
    ):
        write(folder / f"{name}.jsonl", read(shared_data / "hub" / f"{name}.jsonl.gz", 6))
    hub = shared_data / "hub"
    write(folder / "piqa.jsonl", read(hub / "ybisk/piqa/plain_text/validation.jsonl.gz", 6))
    write(folder / "trivia.jsonl", read(hub / "mandarjoshi/trivia_qa/rc.wikipedia.nocontext/validation.jsonl.gz", 4))
    nq = read(hub / "google-research-datasets/nq_open/nq_open/validation.jsonl.gz", 8)
    write(folder / "google-research-datasets/nq_open/default/validation.jsonl", nq[:4])
    write(folder / "google-research-datasets/nq_open/default/train.jsonl", nq[4:])
    for split, file in (("test", "test.jsonl"), ("train", "train.jsonl.gz")):
        write(folder / f"openai/gsm8k/main/{split}.jsonl", read(shared_data / "gsm8k" / file, 4))
    for split, named in (("dev", "dev"), ("test", "test"), ("validation", "validation")):
        rows = [r for r in read(shared_data / f"mmlu/{named}.jsonl.gz") if r["subject"] == "world_religions"]
        write(folder / f"cais/mmlu/world_religions/{split}.jsonl", rows[:4])
    truth = [
        {
            "question": row["question"],
            **{
                key: {"choices": [*right, *wrong], "labels": [1] * len(right) + [0] * len(wrong)}
                for key, right, wrong in (
                    ("mc1_targets", [row["best_answer"]], row["incorrect_answers"]),
                    ("mc2_targets", row["correct_answers"], row["incorrect_answers"]),
                )
            },
        }
        for row in read(shared_data / "truthfulqa/truthfulqa.jsonl", 4)
    ]
    write(folder / "truthfulqa/truthful_qa/multiple_choice/validation.jsonl", truth)
    texts = [row["question"] for row in read(shared_data / "gsm8k/test.jsonl", 4)]
    write(folder / "EleutherAI/lambada_openai/default/test.jsonl", [{"text": text} for text in texts])
    write(folder / "EleutherAI/wikitext_document_level/wikitext-2-raw-v1/test.jsonl", [{"page": t} for t in texts])
    trivia = "triviaqa: {file: trivia.jsonl}\n"
    (folder / "data.yaml").write_text(f"piqa: {{file: piqa.jsonl}}\n{trivia}", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of YAML files of one's own."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in OWN.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    (folder / "few.py").write_text(TWO, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def wide_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a window of 1,280 tokens: rotary positions need no other weights."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1280}))
    return folder


@pytest.fixture
def make() -> Callable[..., Any]:
    """`make(NAME, setting=value)`: the task."""
    from aftertrain.testing.build import build

    return lambda name, **settings: build("eval_task", f"lm_eval/{name}", **settings)
