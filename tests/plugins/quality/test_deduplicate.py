"""The operator `deduplicate`: planted duplicates found and nothing else, by the Jaccard index of plain Python sets."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.operator import Dropped, Row
from aftertrain.core.overlap.tokens import tokens
from aftertrain.core.records import Document
from aftertrain.plugins.quality.deduplicate import Deduplicate
from aftertrain.plugins.quality.deduplicate_settings import DeduplicateSettings
from aftertrain.plugins.quality.minhash import MinHash, band_keys, band_width, found_with
from aftertrain.plugins.quality.shingles import Shingles
from tests.plugins.quality.test_recipe import data, lines, run

VOCABULARY = [f"w{number}" for number in range(2000)]


def documents(texts: Sequence[str]) -> list[Row]:
    return [Row(Document(str(number), text, "s")) for number, text in enumerate(texts)]


def deduplicated(rows: Sequence[Row], state: Path, **settings: Any) -> tuple[Deduplicate, list[Row | Dropped]]:
    operator = Deduplicate(DeduplicateSettings(**settings), None)  # type: ignore[arg-type]
    state.mkdir(exist_ok=True)
    operator.learn(iter(rows), state, seed=0)
    operator.recall(state)
    return operator, list(operator.apply(rows, 0))


def left_out(results: Iterable[Row | Dropped]) -> dict[str, tuple[str, float]]:
    return {
        result.row.id: (result.evidence["kept"], result.evidence["similarity"])
        for result in results
        if isinstance(result, Dropped)
    }


def index(one: str, other: str, n: int = 5) -> float:
    """The Jaccard index of two texts' n-grams, by definition."""
    sets = [
        {tuple(found[place : place + n]) for place in range(max(1, len(found) - n + 1))}
        for found in (tokens(one), tokens(other))
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def planted(seed: int, originals: int, copies: int) -> tuple[list[str], dict[int, int]]:
    """Texts, and for each copy among them its original: one word in a hundred to one in twelve is another."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(VOCABULARY, k=rng.randint(40, 300))) for _ in range(originals)]
    origin = {}
    for _ in range(copies):
        source = rng.randrange(originals)
        rate = rng.choice([0.0, 0.01, 0.02, 0.04, 0.08])
        edited = [rng.choice(VOCABULARY) if rng.random() < rate else word for word in texts[source].split()]
        origin[len(texts)] = source
        texts.append(" ".join(edited).replace(" ", "\n", 3).upper())
    return texts, origin


def test_planted_duplicates_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Recall over the copies that are as like as the threshold asks, precision over all that are left out."""
    texts, origin = planted(seed=1, originals=600, copies=400)
    _, results = deduplicated(documents(texts), tmp_path / "state")
    out = left_out(results)
    wanted = {copy for copy, source in origin.items() if index(texts[copy], texts[source]) >= 0.7}
    assert 200 < len(wanted) < 400
    for row, (kept, similarity) in out.items():
        assert similarity == pytest.approx(index(texts[int(row)], texts[int(kept)]), abs=1e-6)
        assert similarity >= 0.7
        assert kept not in out
    found = {int(row) for row in out}
    # A copy of an original is like another copy of it too, and may be left out for that one alone.
    assert found <= origin.keys()
    assert len(found & wanted) / len(wanted) >= 0.98
    clear = {copy for copy in wanted if index(texts[copy], texts[origin[copy]]) >= 0.8}
    assert clear <= found


def test_no_two_that_are_kept_are_alike(tmp_path: Path) -> None:
    """Against all pairs by hand: of rows that are kept at most the rate that LSH may miss has a like one before it."""
    texts, _ = planted(seed=2, originals=60, copies=200)
    _, results = deduplicated(documents(texts), tmp_path / "state", recall=0.999)
    kept = [int(result.id) for result in results if isinstance(result, Row)]
    alike = [(one, other) for one in kept for other in kept if one < other and index(texts[one], texts[other]) >= 0.7]
    assert alike == []


def test_exact_duplicates_whatever_their_case_and_white_space(tmp_path: Path) -> None:
    """By text, punctuation counts; by words it does not."""
    rows = documents(["A b, c", "a  B,\nc", "a b c", "", " ", "?!", "?!", "!"])
    _, exact = deduplicated(rows, tmp_path / "exact", method="exact")
    assert left_out(exact) == {"1": ("0", 1.0), "4": ("3", 1.0), "6": ("5", 1.0)}
    operator, near = deduplicated(rows, tmp_path / "near")
    assert left_out(near) == {"1": ("0", 1.0), "2": ("0", 1.0), "4": ("3", 1.0), "6": ("5", 1.0)}
    assert [row.facts["duplicates"] for row in near if isinstance(row, Row)] == [2, 1, 1, 0]
    assert operator.figures() == {
        "rows": 8,
        "duplicates": 4,
        "near_duplicates": 0,
        "clusters": 3,
        "largest": {"0": 3, "3": 2, "5": 2},
        "compared": 0,
    }


@pytest.mark.parametrize(
    ("keep", "kept"), [("first", "0"), ({"highest": "a.b"}, "2"), ({"lowest": "a.b"}, "1")], ids=str
)
def test_the_row_that_is_kept_is_the_one_that_the_rule_says(tmp_path: Path, keep: Any, kept: str) -> None:
    """Five near copies with the fact a.b = none, 1, 3, 3, 2: of the two with the most the first."""
    text = " ".join(VOCABULARY[:100])
    worth = [None, 1, 3, 3, 2]
    rows = [
        row.with_facts({"a.b": value})
        for row, value in zip(documents([text] * 3 + [f"{text} end"] * 2), worth, strict=True)
    ]
    _, results = deduplicated(rows, tmp_path / "state", keep=keep)
    out = left_out(results)
    assert {row: name for row, (name, _) in out.items()} == {str(row): kept for row in range(5) if str(row) != kept}


def test_a_chain_of_likes_leaves_no_row_out_for_one_that_it_is_unlike(tmp_path: Path) -> None:
    """b is like a, c is like b and not like a: b is left out for a, and c stays."""
    base = VOCABULARY[:104]
    texts = [" ".join(base[place : place + 80]) for place in (0, 12, 24)]
    near, far = index(texts[0], texts[1]), index(texts[0], texts[2])
    assert near == pytest.approx(64 / 88)
    assert far == pytest.approx(52 / 100)
    _, results = deduplicated(documents(texts), tmp_path / "state", recall=0.9999)
    assert left_out(results) == {"1": ("0", round(near, 6))}


def test_facts_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no fact named 'quality.score'"):
        deduplicated(documents(["a", "b"]), tmp_path / "state", keep={"highest": "quality.score"})


def test_signatures_estimate_the_index() -> None:
    """The share of places that agree lies within four standard errors of the Jaccard index, √(s(1 − s)/k)."""
    k = 512
    shingles, signature = Shingles(3), MinHash(k, 0)
    base = VOCABULARY[:400]
    for moved in (0, 20, 60, 150, 300):
        one, other = base[:300], base[moved // 3 : moved // 3 + 300]
        s = index(" ".join(one), " ".join(other), 3)
        agree = float((signature(shingles(one)) == signature(shingles(other))).mean())
        assert abs(agree - s) <= 4 * (s * (1 - s) / k) ** 0.5


def test_bands_are_as_wide_as_the_recall_allows() -> None:
    """1 − (1 − sʳ)^⌊k/r⌋ at s = 0.7, k = 128: 0.9878 for r = 5, 0.9258 for r = 6."""
    assert found_with(0.7, 128, 5) == pytest.approx(1 - (1 - 0.7**5) ** 25)
    assert (band_width(0.7, 128, 0.98), band_width(0.7, 128, 0.99), band_width(0.7, 128, 0.9)) == (5, 4, 6)
    signatures = np.arange(20, dtype=np.uint32).reshape(2, 10)
    signatures[1, :4] = signatures[0, :4]
    keys = band_keys(signatures, 4)
    assert keys.shape == (2, 2)
    assert (keys[0] == keys[1]).tolist() == [True, False]


def test_rensa_finds_the_same(tmp_path: Path) -> None:
    """The peer's estimate of each pair that is left out is near the index that is told."""
    rensa = pytest.importorskip("rensa")
    texts, _ = planted(seed=3, originals=50, copies=50)
    _, results = deduplicated(documents(texts), tmp_path / "state")

    def signed(text: str) -> Any:
        found = tokens(text)
        peer = rensa.RMinHash(num_perm=512, seed=7)
        peer.update([" ".join(found[place : place + 5]) for place in range(len(found) - 4)])
        return peer

    out = left_out(results)
    assert len(out) > 20
    for row, (kept, similarity) in out.items():
        assert signed(texts[int(row)]).jaccard(signed(texts[int(kept)])) == pytest.approx(similarity, abs=0.1)


def test_from_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Replies of one word, again and again, have one set of words: of ten rows the longest stays, as the rule says, and
    the card shows the cluster by it."""
    operators = "[{use: length, of: reply}, {use: deduplicate, of: reply, n: 1, keep: {highest: length.words}}]"
    assert run(tmp_path, operators) == 0
    (kept,) = lines(tmp_path, "rows")
    assert json.loads(kept["facts"])["deduplicate.duplicates"] == 9
    assert json.loads(kept["facts"])["length.words"] == 10
    dropped = lines(tmp_path, "dropped")
    assert {json.loads(row["evidence"])["kept"] for row in dropped} == {kept["id"]}
    funnel = json.loads((data(tmp_path) / "funnel.json").read_text(encoding="utf-8"))
    assert funnel["passages"]["deduplicate"]["figures"]["clusters"] == 1
    assert funnel["passages"]["deduplicate"]["figures"]["largest"] == {kept["id"]: 10}
    assert f"| deduplicate | largest | {{'{kept['id']}': 10}} |" in (data(tmp_path) / "README.md").read_text("utf-8")
    assert "9 dropped: deduplicate: duplicate" in "".join(capsys.readouterr())
