"""The scan (F3, F5, F6) against a plain Python reference; rules by hand; precision and recall on planted sets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.errors import DataError
from aftertrain.core.overlap.evidence import evidence
from aftertrain.core.overlap.findings import findings
from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import Evaluation, Item, TrainingRow
from aftertrain.core.overlap.planting import EDITS, planted_row, recall
from aftertrain.core.overlap.rules import RULES, Rule, rule_named
from aftertrain.core.overlap.scan import Scan

TULU3 = RULES["tulu3"]
Share = dict[tuple[str, str, str], float]


def row(id_: str, *texts: str, source: str = "mix") -> TrainingRow:
    return TrainingRow(id_, source, texts, tuple(range(len(texts))))


def evaluation(name: str, *items: str | tuple[str, ...]) -> Evaluation:
    texts = [(item,) if isinstance(item, str) else item for item in items]
    return Evaluation(name, [Item(str(number), text) for number, text in enumerate(texts)], "")


def shares_of(scan: Scan, rows: Sequence[TrainingRow]) -> Share:
    return {
        (flagged.row.id, match.evaluation, match.item.id): match.share
        for flagged in scan.flagged(rows)
        for match in flagged.matches
        if match.how == "ngrams"
    }


def reference(rows: Sequence[TrainingRow], sets: Sequence[Evaluation], rule: Rule) -> Share:
    """F6 as it is written, with dictionaries of tuples and nothing clever."""
    vocabulary = {w for e in sets for i in e.items for t in i.texts for w in TULU3.tokens(t)} if rule.steps else set()
    found: Share = {}
    for one in rows:
        grams = set()
        for text in one.texts:
            words = rule.tokens(text, vocabulary)
            grams |= {tuple(words[start : start + rule.n]) for start in range(len(words) - rule.n + 1)}
        for each in sets:
            for item in each.items:
                shares = []
                for text in item.texts:
                    words = rule.tokens(text, vocabulary)
                    covered: set[int] = set()
                    for start in range(len(words) - rule.n + 1):
                        if tuple(words[start : start + rule.n]) in grams:
                            covered |= set(range(start, start + rule.n))
                    shares.append(len(covered) / len(words) if words else 0.0)
                share = sum(shares) / len(shares)
                if share > rule.threshold:
                    found[one.id, each.name, item.id] = share
    return found


def test_six_tokens_of_ten_by_hand() -> None:
    """Item of 10 tokens, n = 3. The row has `a b c d` (4 tokens) and `g h i` (3): 7 of 10 are covered."""
    rule = replace(TULU3, n=3)
    index = EvaluationIndex([evaluation("e", "a b c d e f g h i j")], rule)
    assert shares_of(Scan(index), [row("r", "x a b c d x, G-H-I x")]) == {("r", "e", "0"): pytest.approx(0.7)}
    assert evidence(row("r", "x a b c d x, G-H-I x"), index.items[0], rule).share == pytest.approx(0.7)


def test_exactly_half_is_not_above_half() -> None:
    index = EvaluationIndex([evaluation("e", "a b c d e f")], replace(TULU3, n=3))
    assert shares_of(Scan(index), [row("r", "a b c")]) == {}
    assert index.testable.tolist() == [True]
    [finding] = findings(Scan(index))
    assert finding.found == 0


def test_an_ngram_of_two_turns_or_of_two_rows_is_none() -> None:
    index = EvaluationIndex([evaluation("e", "a b c d")], replace(TULU3, n=4))
    assert shares_of(Scan(index), [row("1", "a b", "c d"), row("2", "a b"), row("3", "c d")]) == {}
    assert shares_of(Scan(index), [row("1", "x", "a b c d")]) == {("1", "e", "0"): 1.0}


def test_a_share_is_of_one_row() -> None:
    """Two rows that cover half each cover the item for F3, and neither has it for F6."""
    index = EvaluationIndex([evaluation("e", "a b c d e f g h")], replace(TULU3, n=4))
    scan = Scan(index)
    assert shares_of(scan, [row("1", "a b c d"), row("2", "e f g h")]) == {}
    [finding] = findings(scan)
    assert (finding.found, finding.sample, finding.contamination) == (0, 1.0, 1.0)


def test_passage_and_question_are_averaged() -> None:
    """The passage is there, the question is not: (1 + 0) / 2 is not above a half; with half the question it is."""
    index = EvaluationIndex([evaluation("e", ("a b c d e", "q r s t u v"))], replace(TULU3, n=3))
    assert shares_of(Scan(index), [row("r", "a b c d e")]) == {}
    assert shares_of(Scan(index), [row("r", "a b c d e. q r s")]) == {("r", "e", "0"): pytest.approx(0.75)}


def test_what_cannot_pass_the_threshold_is_not_testable() -> None:
    sets = [evaluation("e", "one two three", "a b c d e f g h", ("short", "a b c d e f g h i"), "")]
    index = EvaluationIndex(sets, TULU3)
    assert index.testable.tolist() == [False, True, False, False]
    [finding] = findings(Scan(index))
    assert (finding.items, finding.testable, finding.untestable) == (4, 1, 0.75)


def test_items_too_short_for_ngrams_are_looked_for_as_a_whole() -> None:
    """From four tokens on within a text, below that as all of a text: two words in a row say nothing."""
    sets = [evaluation("e", "Who wrote Dune first?", "Dune?", "Paul's age", ("Dune", "who is Paul Atreides"))]
    scan = Scan(EvaluationIndex(sets, TULU3))
    rows = [
        row("inside", "Tell me: who wrote DUNE first, please"),
        row("phrase", "I read Dune and Paul s age is in it"),
        row("all", "¿dune!"),
        row("both", "Dune", "Now who is Paul Atreides"),
        row("one", "who is Paul Atreides"),
    ]
    found = {f.row.id: [(m.item.id, m.how) for m in f.matches] for f in scan.flagged(rows)}
    assert found == {
        "inside": [("0", "whole")],
        "all": [("1", "whole")],
        "both": [("1", "whole"), ("3", "whole")],
    }
    [finding] = findings(scan)
    assert (finding.found, finding.whole, finding.contaminated) == (0, 3, True)


def test_a_source_is_contaminated_above_two_percent_of_the_testable_items() -> None:
    """Two of 100 testable items are 2 %, three are above; items that cannot be found do not dilute them."""
    words = [f"{letter}{number}" for number in range(100) for letter in "abcdefgh"]
    asked = [" ".join(words[start : start + 8]) for start in range(0, 800, 8)]
    index = EvaluationIndex([evaluation("e", *asked, *["too short"] * 50)], TULU3)
    for count, expected in ((2, False), (3, True)):
        scan = Scan(index)
        rows = [row(f"r{number}", text, source="bad") for number, text in enumerate(asked[:count])]
        assert len(list(scan.flagged([*rows, row("x", "nothing", source="good")]))) == count
        [finding] = findings(scan)
        assert [(s.source, s.found, s.contaminated) for s in finding.sources] == [("bad", count, expected)]


def test_coverage_by_several_lengths_by_hand() -> None:
    """Corpus `a b c x d e f`. By 2-grams `a b c` and `d e f` cover 6 of 8 tokens; by 3-grams the same; by 4-grams none.

    C(D) is the largest, 6/8; C(s) of the two items are 3/4 each.
    """
    index = EvaluationIndex([evaluation("e", "a b c z", "d e f y")], replace(TULU3, n=4), sizes=(2, 3))
    scan = Scan(index)
    list(scan.flagged([row("r", "a b c x d e f")]))
    [finding] = findings(scan)
    assert finding.covered == {2: 0.75, 3: 0.75, 4: 0.0}
    assert finding.contamination == 0.75
    assert (finding.sample, dict(finding.samples)) == (0.75, {2: 0.75, 3: 0.75, 4: 0.0})
    assert dict(finding.sampled) == {2: 2, 3: 2, 4: 2}


def test_short_items_are_in_no_mean_of_shares() -> None:
    """Of `a b c d`, `a b` and `x` the first has 4 tokens, two have 2: by 4-grams (1) / 1, by 2-grams (1 + 1) / 2."""
    index = EvaluationIndex(
        [evaluation("e", "a b c d", "a b", "x"), evaluation("f", "x", "")], replace(TULU3, n=4), (2,)
    )
    scan = Scan(index)
    list(scan.flagged([row("r", "a b c d")]))
    first, second = findings(scan)
    assert (dict(first.samples), dict(first.sampled)) == ({2: 1.0, 4: 1.0}, {2: 2, 4: 1})
    assert first.sample == 1.0
    assert (dict(second.samples), second.sample) == ({2: None, 4: None}, None)


def test_short_items_contaminate_above_two_percent_of_the_short_ones() -> None:
    """One of 50 short items is 2 %, two are above, whatever the number of testable items."""
    asked = [f"w{number} one two three" for number in range(50)]
    index = EvaluationIndex(
        [evaluation("e", *asked, *[" ".join(f"t{n}x{m}" for m in range(9)) for n in range(7)])], TULU3
    )
    for count, expected in ((1, False), (2, True)):
        scan = Scan(index)
        list(scan.flagged([row(f"r{number}", text) for number, text in enumerate(asked[:count])]))
        [finding] = findings(scan)
        [source] = finding.sources
        assert (source.whole, source.whole_share, source.share) == (count, count / 50, 0.0)
        assert finding.contaminated is expected


def test_a_hash_hit_is_verified_on_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hashes that say nothing every n-gram hits, and only true ones are kept."""
    from aftertrain.core.overlap import blocks
    from aftertrain.core.overlap import index as indexed

    rng = random.Random(5)
    texts = [" ".join(rng.choices("abcdefgh", k=12)) for _ in range(40)]
    true = Scan(EvaluationIndex([evaluation("e", texts[0])], replace(TULU3, n=3)))
    expected = shares_of(true, [row(str(n), text) for n, text in enumerate(texts)])
    words = len(TULU3.tokens(texts[0]))
    monkeypatch.setattr(indexed.GramTable, "_verify", lambda *_: None)
    table_hash = blocks.Block.ngrams
    monkeypatch.setattr(blocks.Block, "ngrams", lambda block, n: table_hash(block, n) % np.uint64(1))
    crippled = EvaluationIndex([evaluation("e", texts[0])], replace(TULU3, n=words))
    hits = shares_of(Scan(crippled), [row(str(n), text) for n, text in enumerate(texts)])
    assert hits == {("0", "e", "0"): 1.0}
    assert expected["0", "e", "0"] == 1.0


def test_two_ngrams_of_one_hash_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from aftertrain.core.overlap import blocks

    monkeypatch.setattr(blocks.Block, "ngrams", lambda block, n: np.zeros(len(block.starts) - n + 1, dtype=np.uint64))
    with pytest.raises(DataError, match="have one hash"):
        EvaluationIndex([evaluation("e", "a b c d")], replace(TULU3, n=3))


WORDS = st.sampled_from(
    ["a", "b", "c", "the", "ÉTÉ", "ß", "日本", "ก", "x1", "averylongtokenindeed", "1.", "\n2) ", "_"]
)
TEXT = st.lists(WORDS, max_size=14).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(TEXT, min_size=1, max_size=2), min_size=1, max_size=5),
    st.lists(st.lists(TEXT, max_size=2), max_size=5),
    st.sampled_from(["tulu3", "robust"]),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.3, 0.5]),
)
def test_agrees_with_the_reference_item_by_item(
    items: list[list[str]], texts: list[list[str]], name: str, n: int, threshold: float
) -> None:
    rule = rule_named(name, n=n, threshold=threshold)
    sets = [Evaluation("e", [Item(str(i), tuple(item)) for i, item in enumerate(items)], "")]
    rows = [row(str(number), *given_texts) for number, given_texts in enumerate(texts)]
    index = EvaluationIndex(sets, rule)
    expected = reference(rows, sets, rule)
    found = shares_of(Scan(index), rows)
    assert found == pytest.approx(expected)
    for (id_, _, item), share in found.items():
        shown = evidence(rows[int(id_)], index.items[int(item)], rule, index.vocabulary)
        assert shown.share == pytest.approx(share)


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from aftertrain.core.overlap import scan as scanning

    rng = random.Random(3)
    texts = [" ".join(rng.choices(["a", "b", "c", "é"], k=30)) for _ in range(60)]
    rows = [row(str(number), text) for number, text in enumerate(texts)]
    index = EvaluationIndex([evaluation("e", *texts[:5])], replace(TULU3, n=5, threshold=0.1))
    whole = shares_of(Scan(index), rows)
    monkeypatch.setattr(scanning, "LETTERS", 1)
    monkeypatch.setattr(scanning, "EXPANDED", 1)
    assert shares_of(Scan(index), rows) == whole
    assert len(whole) > 5


def questions(rng: random.Random, count: int) -> list[str]:
    """Sentences of invented words, so that none is another's."""
    letters = "abcdefghijklmnoprstuvw"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(600)]
    texts = []
    for _ in range(count):
        sentences = [" ".join(rng.choices(words, k=rng.randint(9, 16))).capitalize() for _ in range(rng.randint(2, 4))]
        texts.append(". ".join(sentences) + "?")
    return texts


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fresh_planted_sets_have_precision_and_recall_one(seed: int) -> None:
    """Copies by every edit among clean rows, fragments of items, and rows of the same words in another order."""
    rng = random.Random(seed)
    asked = questions(rng, 120)
    index = EvaluationIndex([evaluation("e", *asked)], RULES["robust"])
    clean = [row(f"clean{n}", text) for n, text in enumerate(questions(rng, 200))]
    for number, text in enumerate(asked):
        words = text.split()
        clean.append(row(f"fragment{number}", "Consider: " + " ".join(words[2:11])))
        clean.append(row(f"shuffled{number}", " ".join(rng.sample(words, len(words)))))
    planted, truth = [], {}
    for name, edit in EDITS.items():
        for place, item in enumerate(rng.sample(range(len(asked)), 20)):
            copy = planted_row((asked[item],), name, edit, clean, rng=rng, place=place)
            planted.append(copy)
            truth[copy.id] = str(item)
    mixed = rng.sample([*clean, *planted], len(clean) + len(planted))
    found = {flagged.row.id: flagged.matches[0].item.id for flagged in Scan(index).flagged(mixed)}
    assert found == truth


def test_recall_sees_what_a_rule_misses() -> None:
    """Lists of short sentences are what `tulu3` loses, for their numbers are tokens; `robust` takes them away."""
    asked = [f"One two a{n}. Three four b{n}. Five six c{n}. Seven eight d{n}. Nine ten e{n}." for n in range(30)]
    recalls = {}
    for name, rule in RULES.items():
        index = EvaluationIndex([evaluation("e", *asked)], rule)
        recalls[name] = {found.edit: found.interval.mean for found in recall(index, [row("h", "Hello you")], each=30)}
    assert recalls["robust"]["as a list"] == 1.0
    assert recalls["tulu3"]["as a list"] < 0.8
    assert recalls["tulu3"]["verbatim"] == recalls["robust"]["verbatim"] == 1.0


def test_hostile_texts_end_and_cost_no_memory() -> None:
    texts = [
        "a" * 2_000_000,
        "a " * 500_000,
        "é" * 500_000,
        "\x1e" * 10_000,
        "\n1. " * 50_000,
        "日" * 100_000,
        "-\n" * 9999,
    ]
    for rule in RULES.values():
        index = EvaluationIndex([evaluation("e", "a " * 20, "日本" * 10, "1 1 1 1 1 1 1 1 1 1")], rule)
        scan = Scan(index)
        found = [flagged.row.id for flagged in scan.flagged(row(str(n), text) for n, text in enumerate(texts))]
        assert found == (["1"] if rule.steps else ["1", "4"])  # its numbers are list markers
        assert sum(scan.tally.rows.values()) == len(texts)
