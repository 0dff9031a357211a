"""What a task of lm-eval becomes here: its class, its questions, its numbers; and what is refused, with the reason."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.eval_task import ChoiceScores, ChoiceTask, ReplyTask, TextTask
from aftertrain.core.figures import Figure
from aftertrain.core.records import Completion
from aftertrain.plugins.lm_eval_tasks.catalogue import find
from tests.plugins.lm_eval_tasks.conftest import write

Make = Callable[..., Any]


def reply(text: str) -> Completion:
    return Completion("x", (1,), (2,), (0.0,), (0,), "stop", text)


def test_nothing_of_lm_eval_is_imported_to_list_it_or_to_find_a_name() -> None:
    code = (
        "import sys, aftertrain\n"
        "from aftertrain.registry.discovery import installed\n"
        "assert any(e.name == 'lm_eval/' for e in installed().registrations('eval_task'))\n"
        "from aftertrain.plugins.lm_eval_tasks.catalogue import find\n"
        "assert len(find('mmlu', None).leaves) == 57\n"
        "assert not {'lm_eval', 'torch', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_stand_for_tasks_groups_and_tags() -> None:
    assert [*find("arc_easy", None).leaves] == ["arc_easy"]
    assert not find("arc_easy", None).group
    assert [*find("ai2_arc", None).leaves] == ["arc_challenge", "arc_easy"]  # a tag
    assert len(find("bbh_cot_fewshot", None).leaves) == 27  # a group; its files include a common one
    assert find("arc_challenge", None).leaves["arc_challenge"]["output_type"] == "multiple_choice"  # as included
    with pytest.raises(DataError, match="no task, group or tag named 'arc_esy'; did you mean 'lm_eval/arc_easy'"):
        find("arc_esy", None)


def test_one_s_own_file_goes_before(own_files: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("task: arc_easy\noutput_type: loglikelihood\n")
    assert find("arc_easy", str(tmp_path)).files == [tmp_path / "mine.yaml"]
    assert find("drawn", str(own_files)).leaves["drawn"]["repeats"] == 3


def test_the_class_is_that_of_the_requests(make: Make, hub: Path) -> None:
    assert isinstance(make("arc_easy", data=str(hub)), ChoiceTask)
    assert isinstance(make("lambada_openai", data=str(hub)), ChoiceTask)
    assert isinstance(make("wikitext", data=str(hub)), TextTask)
    assert isinstance(make("gsm8k", data=str(hub)), ReplyTask)


def test_a_reply_that_nobody_bounds_is_told(make: Make, hub: Path, own_files: Path) -> None:
    task = make("gsm8k", data=str(hub), shots=1)
    assert (task.sampling().max_new_tokens, task.sampling().stop[0]) == (256, "Question:")
    assert any("lm-eval cuts at 256 tokens" in note for note in task.notes())
    drawn = make("drawn", data=str(hub), include_path=str(own_files))
    assert (drawn.sampling().max_new_tokens, drawn.sampling().temperature, drawn.samples) == (8, 0.7, 3)
    assert drawn.notes() == []


def test_filters_read_all_replies_to_a_question(make: Make, hub: Path, own_files: Path) -> None:
    task = make("drawn", data=str(hub), include_path=str(own_files))
    first = task.instances()[0]
    scores = task.score_all([first] * 3, [reply("17"), reply("it is 18"), reply("18 eggs")])
    assert [score.extracted for score in scores] == ["18"] * 3  # lm-eval's majority_vote
    gsm8k = make("gsm8k", data=str(hub), shots=0)
    (score,) = gsm8k.score_all(gsm8k.instances()[:1], [reply("so it is 18.")])
    assert score.metrics == {"exact_match,strict-match": 0.0, "exact_match,flexible-extract": 1.0}
    assert (score.outcome, score.extracted) == ("unparsable", None)  # the first filter finds no ####


def test_a_failure_of_the_task_s_code_is_no_zero(make: Make, tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [{"question": "1 + 1 =", "answer": "2"}])
    (tmp_path / "own.py").write_text("def judge(doc, results):\n    return {'acc': 1 / (results[0] != 'bad')}\n")
    (tmp_path / "own.yaml").write_text(
        "task: own\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\n"
        "output_type: generate_until\ntest_split: test\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
        "process_results: !function own.judge\nmetric_list: [{metric: acc}]\n"
    )
    task = make("own", include_path=str(tmp_path))
    bad, good = task.score_all([task.instances()[0]] * 2, [reply("bad"), reply("good")])
    assert (bad.outcome, bad.detail, bad.metrics) == ("error", "ZeroDivisionError: division by zero", {"acc": 0.0})
    assert (good.outcome, good.metrics) == ("scored", {"acc": 1.0})


def test_a_group_is_one_task_with_its_own_weights(make: Make, hub: Path, own_files: Path) -> None:
    task = make("two", data=str(hub), include_path=str(own_files))
    assert {instance.group for instance in task.instances()} == {"arc_easy_own", "arc_challenge_own"}
    assert [figure.name for figure in task.figures()] == ["acc_norm (macro)", "acc_norm", "acc", "acc (macro)"]
    assert "2 tasks. lm-eval's number is acc_norm, the mean over all tasks" in task.notes()[0]
    picked = make("two", data=str(hub), include_path=str(own_files), headline="acc")
    assert picked.figures()[0].name == "acc"
    with pytest.raises(DataError, match=r"headline: no metric named 'accc'. Did you mean 'acc'"):
        make("two", data=str(hub), include_path=str(own_files), headline="accc").figures()


def test_corpus_numbers_are_lm_eval_s_over_all(make: Make, hub: Path, own_files: Path) -> None:
    task = make("corpus_boolq", data=str(hub), include_path=str(own_files))
    instances = task.instances()
    gold = [instance.target for instance in instances]
    # Always yes: F1 of "yes" is 2 hits / (2 hits + misses).
    scores = [[task.score(i, ChoiceScores((-2.0, -1.0, -2.0, -1.5), (1,) * 4, (False,) * 4))] for i in instances]
    figures: dict[str, Figure] = {figure.name: figure for figure in task.figures()}
    hits = sum(gold)
    assert figures["f1"].corpus is not None
    assert figures["f1"].corpus(scores) == pytest.approx(2 * hits / (2 * hits + len(gold) - hits))
    # log p − log p(without the question): no 0, yes 0.5
    assert [s.metrics["acc_mutual_info"] for (s,) in scores] == [float(g == 1) for g in gold]


def test_what_cannot_be_asked_is_refused_with_the_reason(
    make: Make, hub: Path, own_files: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"'lm_eval/mixed' is a suite of tasks.*one of its rows: lm_eval/arc_easy_own"):
        make("mixed", data=str(hub), include_path=str(own_files))
    write(tmp_path / "openai/openai_humaneval/default/test.jsonl", [{"prompt": "x", "test": "y"}])
    (tmp_path / "code.yaml").write_text(
        "task: code\nunsafe_code: true\ndataset_path: openai/openai_humaneval\ntest_split: test\n"
        "doc_to_text: '{{prompt}}'\ndoc_to_target: '{{test}}'\n"
    )
    with pytest.raises(DataError, match="outside our sandbox"):
        make("code", data=str(tmp_path), include_path=str(tmp_path)).instances()
    with pytest.raises(DataError, match="compares contexts"):
        make("winogrande", data=str(hub), chat=True).instances()
    with pytest.raises(Unavailable, match=r"draws its 3 worked examples from split 'train'.*shots=0 asks without"):
        make("piqa", data=str(hub), shots=3).instances()
    with pytest.raises(Unavailable, match="needs allenai/sciq/default/test"):
        make("sciq", data=str(hub)).instances()


def test_requests_of_several_types_for_one_question_are_refused(make: Make, tmp_path: Path) -> None:
    row = {"id": "1", "title": "t", "context": "Ice.", "question": "What?", "answers": {"text": ["Ice"]}}
    for split in ("train", "validation"):
        write(tmp_path / f"lighteval/squad_v2/squad_v2/{split}.jsonl", [row])
        write(tmp_path / f"lighteval/squad_v2/default/{split}.jsonl", [row])
    with pytest.raises(DataError, match=r"asks generate_until and loglikelihood of one question.*lm_eval_model"):
        make("squadv2", data=str(tmp_path)).instances()


def test_sealed_data_sets_are_known_by_their_names_on_the_hub(make: Make) -> None:
    assert make("mmlu_pro_law").reads() == ["TIGER-Lab/MMLU-Pro"]
    assert make("gpqa_main_zeroshot").reads() == ["Idavidrein/gpqa"]


def test_a_conversation_is_rendered_by_the_model_s_template(make: Make, hub: Path) -> None:
    first = make("gsm8k", data=str(hub), shots=1, chat=True, system="Be brief.").instances()[0]
    assert first.chat
    assert [message.role for message in first.messages] == ["system", "user", "assistant", "user"]
    single = make("gsm8k", data=str(hub), shots=1, chat=True, multiturn=False).instances()[0]
    assert [message.role for message in single.messages] == ["user"]


def test_the_fingerprint_follows_rows_settings_and_code(make: Make, hub: Path, own_files: Path, tmp_path: Path) -> None:
    first = make("arc_easy", data=str(hub)).fingerprint()
    assert make("arc_easy", data=str(hub)).fingerprint() == first
    assert make("arc_challenge", data=str(hub)).fingerprint() != first
    text = (own_files / "drawn.yaml").read_text()
    prints = []
    for place, changed in enumerate((text, text.replace("majority_vote", "take_first"))):
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "drawn.yaml").write_text(changed)
        prints.append(make("drawn", data=str(hub), include_path=str(folder)).fingerprint())
    assert prints[0] != prints[1]
