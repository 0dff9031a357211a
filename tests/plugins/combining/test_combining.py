"""Combinators: truth tables by hand, what a part without a score does, one batch a part, routes by data set."""

from __future__ import annotations

import doctest
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from aftertrain.core.errors import RunError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings, Use
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.combining import logic, parts, routing, weighted
from aftertrain.plugins.combining.parts import Combination

SAID = {
    "1": Verdict.scored(1.0, "one", "rule"),
    "h": Verdict.scored(0.5, "half"),
    "0": Verdict.scored(0.0),
    "t": Verdict.timeout("slow"),
    "e": Verdict.error("broken"),
    "u": Verdict.unparsable("mute"),
    "a": Verdict.abstained("not mine"),
    "r": Verdict.rewarded(3.0),
}


class Scripted(Verifier[Settings]):
    """Says what the reply has for it at its place, and remembers its batches."""

    place = 0

    def __init__(self, place: int) -> None:
        super().__init__(Settings(), None)  # type: ignore[arg-type]
        self.place, self.batches, self.closed = place, list[list[VerificationCase]](), False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        self.batches.append(list(cases))
        return [SAID[case.response[self.place]] for case in cases]

    def close(self) -> None:
        self.closed = True


class Builder:
    """Resolves any verifier's name, and builds the scripted ones in order."""

    def __init__(self) -> None:
        self.built: list[Scripted] = []

    def resolve(self, kind: str, value: Mapping[str, Any]) -> Use[Any]:
        return Use(kind, value["use"], Settings())

    def build(self, use: Use[Any]) -> Any:
        self.built.append(Scripted(len(self.built)))
        return self.built[-1]


def make(cls: type[Combination[Any]], n: int = 2, **settings: Any) -> Combination[Any]:
    if cls is not routing.BySource:
        written = settings.pop("parts", [{}] * n)
        settings["parts"] = [{"verifier": {"use": "v"}, **part} for part in written]
    builder = Builder()
    checked = TypeAdapter(cls.Config).validate_python(settings, context={"resolver": builder})
    return cls(checked, builder)


def case(response: str, truth: Any = "truth", source: str = "") -> VerificationCase:
    return VerificationCase(f"case {response}", "?", response, truth, source)


def said(verifier: Verifier[Any], *responses: str) -> list[float | str]:
    verdicts = verifier.verify([case(response) for response in responses])
    return [verdict.outcome if verdict.value is None else verdict.value for verdict in verdicts]


@pytest.mark.parametrize("module", [parts, weighted])
def test_the_worked_examples_hold(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


class Objecting(Scripted):
    """Cannot judge by a ground truth that names it."""

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        self.batches.append(list(cases))
        return ["mine" if str(self.place) in str(one.ground_truth) else None for one in cases]


@pytest.mark.parametrize("cls", [weighted.Weighted, logic.All, logic.AnyOf, logic.First])
def test_objections_are_the_parts_of_every_part(cls: type[Combination[Any]]) -> None:
    """Also of a part that the first part's verdict on a blank reply would spare."""
    settings = [{"weight": 1.0}, {"weight": 1.0}] if cls is weighted.Weighted else [{}, {}]
    verifier = make(cls, parts=settings).with_parts([Objecting(0), Objecting(1)])
    told = verifier.objections([case("", truth) for truth in ("a", "b0", "c1", "d01")])
    assert told == [None, "v: mine", "v#2: mine", "v: mine"]
    keyed = make(cls, parts=[{**settings[0], "truth": "x"}, settings[1]]).with_parts([Objecting(0), Objecting(1)])
    assert keyed.objections([case("", {"x": "a"}), case("", {"y": "a"})]) == [
        None,
        "v: ground truth: no key named 'x'. There are: y.",
    ]


def test_objections_go_by_the_route() -> None:
    routed = make(routing.BySource, routes={"a": {"use": "v"}, "b": {"use": "v"}})
    verifier = routed.with_parts([Objecting(0), Objecting(1)])
    cases = [case("", "0", "a"), case("", "0", "b"), case("", "1", "b"), case("", "1", "c")]
    *told, last = verifier.objections(cases)
    assert told == ["mine", None, "mine"]
    assert last is not None
    assert last.startswith("no route for a source named 'c'")


def test_weighted_is_the_weighted_mean() -> None:
    """Weights 3 and 1: (3·1 + 1·0)/4, (3·0 + 1·½)/4, (3·½ + 1·1)/4; all right is exactly 1."""
    verifier = make(weighted.Weighted, parts=[{"weight": 3.0}, {"weight": 1.0}])
    assert said(verifier, "10", "0h", "h1", "11", "00") == [0.75, 0.125, 0.625, 1.0, 0.0]
    thirds = make(weighted.Weighted, parts=[{"weight": 0.1}, {"weight": 0.2}, {"weight": 0.3}])
    assert said(thirds, "111") == [1.0]


@pytest.mark.parametrize("scored", ["1", "0", "h"])
def test_weighted_is_never_scored_where_a_part_is_not(scored: str) -> None:
    verifier = make(weighted.Weighted)
    for missing, outcome in (("t", "timeout"), ("e", "error"), ("u", "unparsable")):
        assert said(verifier, scored + missing, missing + scored) == [outcome, outcome]
    assert said(verifier, "ue", "ut", "te", "uu") == ["error", "timeout", "error", "unparsable"]


def test_zero_counts_what_it_names_and_never_an_error() -> None:
    verifier = make(weighted.Weighted, zero=["unparsable"])
    assert said(verifier, "1u", "uu", "1t", "1e") == [0.5, 0.0, "timeout", "error"]
    everything = make(logic.All, zero=["unparsable", "timeout"])
    assert said(everything, "1u", "1t", "1e", "u1") == [0.0, 0.0, "error", 0.0]


def test_all_takes_the_lowest_and_a_zero_decides() -> None:
    verifier = make(logic.All)
    table = {"11": 1.0, "1h": 0.5, "h1": 0.5, "10": 0.0, "01": 0.0, "00": 0.0}
    table |= {f"0{other}": 0.0 for other in "teu"} | {f"{other}0": 0.0 for other in "teu"}
    table |= {"1t": "timeout", "1e": "error", "1u": "unparsable", "ht": "timeout", "ue": "error", "tu": "timeout"}
    assert said(verifier, *table) == list(table.values())


def test_any_takes_the_highest_and_a_one_decides() -> None:
    verifier = make(logic.AnyOf)
    table = {"00": 0.0, "0h": 0.5, "h0": 0.5, "01": 1.0, "10": 1.0}
    table |= {f"1{other}": 1.0 for other in "teu"} | {f"{other}1": 1.0 for other in "teu"}
    table |= {"0t": "timeout", "he": "error", "tu": "timeout", "0u": 0.0, "uh": 0.5, "uu": "unparsable"}
    assert said(verifier, *table) == list(table.values())


def test_first_takes_the_first_score_and_stops_at_an_error() -> None:
    verifier = make(logic.First)
    table = {"01": 0.0, "10": 1.0, "h1": 0.5, "u1": 1.0, "t0": 0.0, "e1": "error", "ut": "timeout", "uu": "unparsable"}
    assert said(verifier, *table) == list(table.values())
    lenient = make(logic.First, pass_over=["error", "unparsable"])
    assert said(lenient, "e1", "t1", "ee", "eu") == [1.0, "timeout", "error", "error"]


@pytest.mark.parametrize(("cls", "left_open"), [(logic.All, "1?"), (logic.AnyOf, "0?"), (logic.First, "u?")])
def test_each_part_gets_one_batch_of_what_is_still_open(cls: type[Combination[Any]], left_open: str) -> None:
    verifier = make(cls)
    decided = {logic.All: "0?", logic.AnyOf: "1?", logic.First: "h?"}[cls]
    verifier.verify(
        [case(decided), case(left_open.replace("?", "0")), case(decided), case(left_open.replace("?", "1"))]
    )
    first, second = verifier.parts
    assert [len(batch) for batch in first.batches] == [4]  # type: ignore[attr-defined]
    assert [[one.response[1] for one in batch] for batch in second.batches] == [["0", "1"]]  # type: ignore[attr-defined]
    assert verifier.verify([]) == []
    assert len(first.batches) == 1, "nothing is asked about no cases"  # type: ignore[attr-defined]


def test_the_detail_tells_every_part() -> None:
    verifier = make(logic.AnyOf, 3)
    (verdict,) = verifier.verify([case("u10")])
    assert verdict == Verdict.scored(1.0, "one", "v unparsable (mute); v#2 1 (rule); not asked: v#3")
    (failed,) = verifier.verify([case("ueu")])
    assert (failed.outcome, failed.detail) == (
        "error",
        "v unparsable (mute); v#2 error (broken); v#3 unparsable (mute)",
    )


def test_a_part_gets_its_key_of_the_ground_truth() -> None:
    verifier = make(weighted.Weighted, parts=[{"truth": "answer"}, {}])
    good = case("11", {"answer": 7, "form": None})
    bad = [case("11", {"anwser": 7}), case("11", "7")]
    verdicts = verifier.verify([good, *bad])
    assert [verdict.outcome for verdict in verdicts] == ["scored", "error", "error"]
    assert "no key named 'answer'. Did you mean 'anwser'?" in verdicts[1].detail
    assert "must be a mapping with the key 'answer', not str" in verdicts[2].detail
    picked, whole = verifier.parts
    assert [one.ground_truth for one in picked.batches[0]] == [7]  # type: ignore[attr-defined]
    assert whole.batches[0][0].ground_truth == good.ground_truth  # type: ignore[attr-defined]


def test_routes_go_by_source_and_an_unknown_one_is_an_error() -> None:
    verifier = make(routing.BySource, routes={"gsm8k": {"use": "a"}, "squad": {"use": "b"}})
    cases = [
        case("10", source="squad"),
        case("10", source="gsm8k"),
        case("10", source="gsm8"),
        case("11", source="squad"),
        case("11"),
    ]
    verdicts = verifier.verify(cases)
    assert [verdict.value for verdict in verdicts] == [0.0, 1.0, None, 1.0, None]
    assert verdicts[4].detail == "the case has no source, and there is no default route. There are: gsm8k, squad."
    assert verdicts[2].detail == "no route for a source named 'gsm8'. Did you mean 'gsm8k'? There are: gsm8k, squad."
    assert [verdict.detail for verdict in verdicts[:2]] == ["b: ", "a: rule"]
    assert [len(part.batches) for part in verifier.parts] == [1, 1]  # type: ignore[attr-defined]


def test_a_default_route_takes_the_others() -> None:
    verifier = make(routing.BySource, routes={"gsm8k": {"use": "a"}}, default={"use": "b"})
    verdicts = verifier.verify([case("10", source="gsm8k"), case("10", source="other"), case("10")])
    assert [verdict.value for verdict in verdicts] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("cls", [weighted.Weighted, logic.All, logic.AnyOf, logic.First])
def test_parts_can_be_replaced_and_are_closed(cls: type[Combination[Any]]) -> None:
    """What a pool does: the whole is not isolated, its parts are."""
    verifier = make(cls)
    assert not verifier.isolated
    others = [Scripted(1), Scripted(0)]
    swapped = verifier.with_parts(others)
    assert swapped.parts == tuple(others)
    said(swapped, "hh")
    assert [len(part.batches) for part in others] == [1, 0 if cls is logic.First else 1]
    assert verifier.parts != swapped.parts, "the original keeps its own"
    swapped.close()
    assert [part.closed for part in others] == [True, True]
    with pytest.raises(ValueError, match="has 2 parts, not 1"):
        verifier.with_parts(others[:1])
    assert verifier.timeout == 20.0


@given(st.lists(st.sampled_from("1h0teu"), min_size=3, max_size=3), st.permutations(range(3)))
def test_order_never_changes_all_any_and_weighted(said_by: list[str], order: list[int]) -> None:
    response = "".join(said_by)
    moved = "".join(said_by[place] for place in order)
    for cls in (weighted.Weighted, logic.All, logic.AnyOf):
        verifier = make(cls, 3)
        assert said(verifier, response) == said(verifier, moved)


def test_all_and_any_say_what_every_completion_of_the_unknown_says() -> None:
    """Three-valued logic with 0 and 1: a score is given exactly where time-outs, read as 0 or as 1, cannot matter."""
    for cls, rule in ((logic.All, min), (logic.AnyOf, max)):
        verifier = make(cls, 3)
        for response in map("".join, itertools.product("10t", repeat=3)):
            readings = itertools.product(*("10" if letter == "t" else letter for letter in response))
            values = {rule(map(float, reading)) for reading in readings}
            (found,) = said(verifier, response)
            assert found == (values.pop() if len(values) == 1 else "timeout"), response


@pytest.mark.slow
def test_a_part_that_hangs_is_killed_and_its_time_out_is_the_wholes() -> None:
    """Through the pool, with installed verifiers: one part hangs on one case, everything else is judged."""
    import aftertrain

    bomb = {"verifier": {"use": "regex", "pattern": "(?:a+)+$", "equality": "search", "timeout": 0.5}}
    split = [{"verifier": {"use": "gsm8k"}, "weight": 3.0}, bomb]
    cases = [{"response": text + "\n#### 7", "ground_truth": "7"} for text in ("b", "a" * 60 + "!")]
    weighed = aftertrain.verify("weighted", cases, parts=split)
    assert [verdict.outcome for verdict in weighed] == ["scored", "timeout"]
    assert weighed[0].value == 0.75
    spared = aftertrain.verify("any", cases, parts=[{"verifier": {"use": "gsm8k"}}, bomb])
    assert [verdict.value for verdict in spared] == [1.0, 1.0], "a part that decides spares the one that hangs"
    routed = [{**case, "source": source} for case, source in zip(cases, ("sums", "bombs"), strict=True)]
    routes = {"sums": {"use": "gsm8k"}, "bombs": bomb["verifier"]}
    assert [v.outcome for v in aftertrain.verify("by_source", routed, routes=routes)] == ["scored", "timeout"]


@pytest.mark.parametrize("cls", [logic.All, logic.AnyOf, logic.First, weighted.Weighted])
@pytest.mark.parametrize("other", "1h0teu")
def test_a_part_that_abstains_is_as_if_it_were_not_there(cls: type[Combination[Any]], other: str) -> None:
    """Whichever place it has; where all abstain, so does the whole."""
    alone = said(make(cls, 1), other)
    assert said(make(cls), f"a{other}") == alone
    assert said(make(cls), f"{other}a") == alone or cls is logic.First
    assert said(make(cls, 3), f"a{other}a") == alone or cls is logic.First
    assert said(make(cls), "aa") == ["abstained"]


def test_a_weighted_mean_leaves_out_the_weight_of_what_abstains() -> None:
    parts_ = [{"weight": 1.0}, {"weight": 2.0}, {"weight": 3.0}]
    assert said(make(weighted.Weighted, parts=parts_), "1a0", "aah") == [0.25, 0.5]


@pytest.mark.parametrize("cls", [logic.All, logic.AnyOf, weighted.Weighted])
def test_a_reward_of_its_own_scale_is_not_combined_with_scores(
    cls: type[Combination[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "own_scale", True)
    with pytest.raises(RunError, match="the part 'v' gives rewards on a scale of its own"):
        make(cls)


def test_the_first_that_can_judge_keeps_its_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "own_scale", True)
    first = make(logic.First)
    assert first.own_scale
    assert [verdict.reward for verdict in first.verify([case("ar"), case("ur"), case("1r")])] == [3.0, 3.0, None]
