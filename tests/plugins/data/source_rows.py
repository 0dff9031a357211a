"""Hand-made rows in the layout of every source, and the record that each must become."""

from __future__ import annotations

from typing import Any

Q, A, B = "2 + 2?", "2 + 2 = 4", "5"
TURNS = [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]
WORSE = [TURNS[0], {"role": "assistant", "content": B}]
SAID = [("user", Q), ("assistant", A)]
PAIR = {"prompt": Q, "chosen": TURNS, "rejected": WORSE}
CONVERSATION = {"messages": SAID}
PREFERENCE = {"prompt": SAID[:1], "chosen": SAID[1:], "rejected": [("assistant", B)], "margin": None}
PROBLEM = {"prompt": SAID[:1], "checks": [("gsm8k", "4")]}


def _asked(verifier: str, truth: str = "4") -> dict[str, Any]:
    return {"prompt": SAID[:1], "checks": [(verifier, truth)]}


def _message(
    id: str, parent: str | None, role: str, text: str, quality: float | None = None, **more: Any
) -> dict[str, Any]:
    labels = (
        {"name": ["spam"], "value": [0.0]}
        if quality is None
        else {"name": ["spam", "quality"], "value": [0.0, quality]}
    )
    return {
        "message_id": id,
        "parent_id": parent,
        "role": role,
        "text": text,
        "deleted": False,
        "labels": labels,
        **more,
    }


def _rating(response: str, *ratings: str) -> dict[str, Any]:
    aspects = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    return {"response": response, "annotations": {a: {"Rating": r} for a, r in zip(aspects, ratings, strict=True)}}


def _scores(response: str, *scores: int) -> dict[str, Any]:
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": Q, "response": response, **dict(zip(names, scores, strict=True))}


TREE = [
    _message("root", None, "prompter", Q),
    _message("bad", "root", "assistant", B, 0.1),
    _message("good", "root", "assistant", A, 0.9),
    _message("gone", "root", "assistant", "deleted", 1.0, deleted=True),
    _message("more", "good", "prompter", "And 3 + 3?"),
    _message("unanswered", "good", "prompter", "Hm?", 1.0),
    _message("last", "more", "assistant", "6"),
]
SPOKEN = [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]

ROWS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "tulu3/coconot": ([{"id": "c1", "category": "c", "subcategory": "s", "prompt": Q, "response": A}], CONVERSATION),
    "tulu3/flan_v2": ([{"inputs": "other", "targets": "other", "messages": TURNS}], CONVERSATION),
    "tulu3/no_robots": ([{"prompt": Q, "prompt_id": "p1", "messages": TURNS, "category": "Chat"}], CONVERSATION),
    "tulu3/oasst1": (TREE, {"messages": [*SAID, ("user", "And 3 + 3?"), ("assistant", "6")]}),
    "tulu3/personas-math": ([{"messages": TURNS}], CONVERSATION),
    "tulu3/personas-math-grade": ([{"messages": TURNS}], CONVERSATION),
    "tulu3/personas-code": ([{"messages": TURNS}], CONVERSATION),
    "tulu3/personas-algebra": ([{"messages": TURNS}], CONVERSATION),
    "tulu3/personas-instruction-following": (
        [{"id": "i", "prompt": Q, "messages": TURNS, "constraints": ["length"]}],
        CONVERSATION,
    ),
    "tulu3/numinamath-tir": ([{"problem": "other", "messages": TURNS}], CONVERSATION),
    "tulu3/open-math-instruct-2": (
        [
            {"problem": "left out", "generated_solution": "1", "problem_source": "augmented_math"},
            {"problem": Q, "generated_solution": A, "problem_source": "augmented_gsm8k"},
        ],
        CONVERSATION,
    ),
    "tulu3/wildguardmix": (
        [
            {"prompt": "harm", "response": "harm", "response_harm_label": "harmful"},
            {"prompt": "alone", "response": None, "response_harm_label": None},
            {"prompt": Q, "response": A, "response_harm_label": "unharmful"},
        ],
        CONVERSATION,
    ),
    "tulu3/wildjailbreak": (
        [{"vanilla": "plainly", "adversarial": Q, "completion": A, "data_type": "adversarial_benign"}],
        CONVERSATION,
    ),
    "tulu3/hard-coded": ([{"messages": TURNS}], CONVERSATION),
    "tulu3/aya": (
        [
            {
                "inputs": Q,
                "targets": A,
                "language": "English",
                "language_code": "eng",
                "annotation_type": "o",
                "user_id": "u",
            }
        ],
        CONVERSATION,
    ),
    "tulu3/wildchat": (
        [
            {"conversation_hash": "w0", "model": "gpt-3.5-turbo", "conversation": WORSE, "language": "English"},
            {
                "conversation_hash": "w1",
                "model": "gpt-4-0314",
                "language": "English",
                "conversation": [{**turn, "toxic": False, "hashed_ip": "x", "turn_identifier": 1} for turn in TURNS],
            },
        ],
        CONVERSATION,
    ),
    "tulu3/table-gpt": ([{"task": "t", "prompt": Q, "completion": A}], CONVERSATION),
    "tulu3/sciriff": (
        [{"dataset": "lima", "id": "l", "messages": WORSE}, {"dataset": "science.x", "id": "s", "messages": TURNS}],
        CONVERSATION,
    ),
    "tulu3/evol-codealpaca": ([{"instruction": Q, "output": A}], CONVERSATION),
    "tulu3/evol-codealpaca-decontaminated": ([{"instruction": Q, "response": A}], CONVERSATION),
    "tulu3/sft-mixture": ([{"id": "m", "messages": TURNS, "source": "ai2-adapt-dev/coconot_converted"}], CONVERSATION),
    "tulu3/pref-sft-reused-on-policy-8b": ([PAIR], PREFERENCE),
    "tulu3/pref-sft-reused-off-policy": ([PAIR], PREFERENCE),
    "tulu3/pref-if-augmented-on-policy-8b": ([PAIR], PREFERENCE),
    "tulu3/pref-wildchat-if-on-policy-8b": ([PAIR], PREFERENCE),
    "tulu3/pref-wildchat-reused-on-policy-8b": ([PAIR], PREFERENCE),
    "tulu3/pref-wildchat-unused": ([PAIR], PREFERENCE),
    "tulu3/pref-ultrafeedback-cleaned-on-policy-8b": ([PAIR], PREFERENCE),
    "tulu3/pref-personas-instruction-following": ([{"id": "p", "constraints": ["length"], **PAIR}], PREFERENCE),
    "tulu3/preference-mixture-8b": ([{"id": "p", "source": "allenai/tulu-3-sft-reused-if", **PAIR}], PREFERENCE),
    "tulu3/preference-mixture-70b": ([{"id": "p", "source": "allenai/tulu-3-sft-reused-if", **PAIR}], PREFERENCE),
    "tulu3/preference-mixture-405b": (
        [{"id": "p", "source": "a", "chosen_rating": 5.0, "rejected_rating": 3.5, **PAIR}],
        {**PREFERENCE, "margin": 1.5},
    ),
    "tulu3/rlvr-gsm": ([{"messages": TURNS[:1], "ground_truth": "4", "dataset": "gsm8k"}], PROBLEM),
    "tulu3/rlvr-math": ([{"messages": TURNS[:1], "ground_truth": "4", "dataset": "MATH"}], _asked("math")),
    "tulu3/rlvr-ifeval": (
        [{"messages": TURNS[:1], "ground_truth": "{}", "dataset": "ifeval", "constraint_type": "c", "constraint": "c"}],
        _asked("ifeval", "{}"),
    ),
    "tulu3/rlvr-mixture": (
        [{"messages": TURNS[:1], "ground_truth": "4", "dataset": "gsm8k", "constraint_type": None, "constraint": None}],
        PROBLEM,
    ),
    "community/gsm8k": ([{"question": Q, "answer": "2 + 2 = 4\n#### 4"}], PROBLEM),
    "community/sharegpt": (
        [{"id": "s", "conversations": [{"from": "human", "value": Q}, {"from": "chatgpt", "value": A}]}],
        CONVERSATION,
    ),
    "community/wizardlm": ([{"conversations": SPOKEN}], CONVERSATION),
    "community/slim-orca": ([{"conversations": SPOKEN}], CONVERSATION),
    "community/daring-anteater": (
        [{"system": "Count.", "conversations": [{"from": "User", "value": Q}, {"from": "Assistant", "value": A}]}],
        {"messages": [("system", "Count."), *SAID]},
    ),
    "community/lima": ([{"conversations": [Q, A, "left out"]}], CONVERSATION),
    "community/lmsys-chat": ([{"model": "vicuna", "conversation": TURNS}], CONVERSATION),
    "community/metamath": ([{"query": Q, "response": A}], CONVERSATION),
    "community/codefeedback": ([{"query": Q, "answer": A}], CONVERSATION),
    "community/web-instruct": ([{"question": Q, "answer": A, "source": "socratic"}], CONVERSATION),
    "community/ultrafeedback": (
        # N/A as a number below all others, -1, would make the mean of the first 2.75, and the second the best.
        [{"instruction": Q, "completions": [_rating(A, "5", "4", "N/A", "3"), _rating(B, "3", "3", "3", "4")]}],
        {**PREFERENCE, "margin": 4.0 - 3.25},
    ),
    "community/ultrafeedback-cleaned": (
        [{"source": "s", "chosen-rating": 4.5, "rejected-rating": 4.0, **PAIR}],
        {**PREFERENCE, "margin": 0.5},
    ),
    "community/ultrafeedback-binarized": (
        [{"prompt_id": "u", "score_chosen": 8.0, "score_rejected": 6.5, **PAIR}],
        {**PREFERENCE, "margin": 1.5},
    ),
    "community/helpsteer2": (
        [_scores(B, 1, 1, 4, 2, 2), _scores(A, 4, 4, 4, 2, 1)],
        {**PREFERENCE, "margin": 15 / 5 - 10 / 5},
    ),
    "community/hh-harmless": (
        [{"chosen": f"\n\nHuman: {Q}\n\nAssistant: {A}", "rejected": f"\n\nHuman: {Q}\n\nAssistant: {B}"}],
        PREFERENCE,
    ),
    "community/hh-helpful": (
        [{"chosen": f"\n\nHuman: {Q}\n\nAssistant: {A}", "rejected": f"\n\nHuman: {Q}\n\nAssistant: {B}"}],
        PREFERENCE,
    ),
    "community/nectar": (
        [
            {
                "prompt": f"\n\nHuman: {Q}\n\nAssistant: ",
                "answers": [
                    {"answer": B, "model": "b", "rank": 2.0},
                    {"answer": A, "model": "a", "rank": 1.0},
                    {"answer": "x\n\nHuman: y", "model": "c", "rank": 3.0},
                ],
            }
        ],
        {**PREFERENCE, "margin": 1.0},
    ),
    "community/ultrainteract": (
        [
            {
                "task": "Logic",
                "parent_id": "p",
                "trajectory": [{"from": "user", "value": Q}],
                "chosen": A,
                "rejected": B,
            }
        ],
        PREFERENCE,
    ),
}
"""By name: rows, of which one record comes, and its fields as plain data."""
