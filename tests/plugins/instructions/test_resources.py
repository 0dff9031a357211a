"""Sentences, words and languages against NLTK and langdetect; where their data are looked for."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import MissingExtra
from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.treebank import treebank_words

PIECES_IN_ONE = (
    ".¦!¦?¦...¦. ¦ ¦\n¦\"¦'¦''¦``¦)¦(¦”¦“¦»¦«¦’¦, ¦,¦:¦;¦--¦—¦Mr¦Mr.¦e.g.¦U.S.¦A.¦J. ¦Bach¦He¦he¦the¦The¦3¦3.¦"
    "3.5¦1,000.¦Inc.¦No.¦p.m.¦'s¦n't¦'LL¦'tis¦cannot¦CANNOT¦gimme¦d'ye¦more'n¦wanna¦İ¦ı¦ſ¦K¦Ü¦नमस्ते¦\u093f¦\u0301¦\xa0¦"
    "\x1c¦\u2028¦\x85¦\t¦\r\n¦²¦٣.¦$¦%¦#¦<¦[¦]¦*¦@¦\ud800¦x-Mr.¦. . ."
)
PIECES = tuple(PIECES_IN_ONE.split("¦"))
LETTERS_IN_ONE = (
    "the ¦le ¦und ¦Hello¦WORLD ¦a@b.cd ¦x@¦@@¦http://a.b/c ¦नमस्ते ¦안녕¦你好¦ひら¦カタ¦Ấ¦a\u0301¦e\u0300¦ș¦ی¦سلام¦é¦ß¦"
    "123¦  ¦\n¦ABC¦aBC¦[¦ẞ¦\ud800¦ไทย¦Привет "
)
LETTERS = tuple(LETTERS_IN_ONE.split("¦"))


def _texts(pieces: tuple[str, ...], count: int, longest: int) -> list[str]:
    rng = random.Random(0)
    return [
        "".join(piece + rng.choice(("", " ", "")) for piece in rng.choices(pieces, k=rng.randint(0, longest)))
        for _ in range(count)
    ]


def test_sentences_words_stop_words_and_languages() -> None:
    text = 'Mr. Smith paid $3.50 for tea. "Why?" he asked. J. Bach can\'t know!'
    sentences = ("Mr. Smith paid $3.50 for tea.", '"Why?"', "he asked.", "J. Bach can't know!")
    assert resources.sentences(text) == sentences
    assert resources.words(text)[-6:] == ("J.", "Bach", "ca", "n't", "know", "!")
    assert {"the", "wouldn't"} < resources.stopwords()
    assert resources.language("Der Hund läuft über die Straße.") == "de"
    assert resources.language("12 + 30 = ?") is None
    assert resources.sentences("") == resources.words(" ") == ()


def test_texts_too_long_to_remember_are_divided_all_the_same() -> None:
    text = "So it is. " * 3_000
    assert len(text) > resources.SHORT
    assert resources.sentences(text) == ("So it is.",) * 3_000
    assert resources.words(text) == ("So", "it", "is", ".") * 3_000


@pytest.mark.slow
def test_sentences_and_words_are_nltks() -> None:
    punkt, destructive = pytest.importorskip("nltk.tokenize.punkt"), pytest.importorskip("nltk.tokenize.destructive")
    parameters = punkt.PunktParameters()
    parameters.abbrev_types = set(resources.read("punkt", "abbrev_types.txt").splitlines())
    parameters.sent_starters = set(resources.read("punkt", "sent_starters.txt").splitlines())
    pairs = [line.split("\t") for line in resources.read("punkt", "collocations.tab").splitlines()]
    parameters.collocations = {(first, second) for first, second in pairs}
    for line in resources.read("punkt", "ortho_context.tab").splitlines():
        word, flags = line.split("\t")
        parameters.ortho_context[word] = int(flags)
    sentences, words = punkt.PunktSentenceTokenizer(parameters), destructive.NLTKWordTokenizer()
    for text in _texts(PIECES, 10_000, 14):
        assert list(resources.each_sentence(text)) == sentences.tokenize(text), text
        assert treebank_words(text) == words.tokenize(text), text


@pytest.mark.slow
def test_ngrams_are_langdetects() -> None:
    """The n-grams that are drawn, in order: the draws differ, since langdetect's answer hangs on one seed."""
    languages, factory = resources.known_languages(), _factory()
    grams = list(languages._rows)
    texts = _texts(LETTERS, 2_000, 40)
    for text in [*texts, "".join(texts[:400]), "".join(texts).replace(" ", "@")]:
        detector = factory.create()
        detector.append(text)
        detector.cleaning_text()
        normal = languages.clean(text).translate(languages._table)
        assert [grams[row] for row in languages.ngrams(normal)] == detector._extract_ngrams(), text


@pytest.mark.slow
def test_languages_are_those_that_langdetect_names_whatever_the_seed() -> None:
    factory, agreed = _factory(), 0
    from langdetect import LangDetectException

    for text in _texts(LETTERS, 120, 12):
        names = set()
        for seed in range(6):
            factory.set_seed(seed)
            detector = factory.create()
            detector.append(text)
            try:
                names.add(detector.detect())
            except LangDetectException:
                names.add(None)
        if len(names) == 1:
            agreed += 1
            assert resources.language(text) == names.pop(), text
    assert agreed > 50


def _factory() -> Any:
    pytest.importorskip("langdetect", reason="langdetect is not installed: aftertrain[verifiers]")
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_json_profile([path.read_text("utf-8") for path in sorted(Path(PROFILES_DIRECTORY).iterdir())])
    return factory


def test_the_global_generator_is_left_alone() -> None:
    random.seed(7)
    before = random.getstate()
    resources.language("Le chat dort sur la table, and so does the dog.")
    assert random.getstate() == before


def test_data_are_taken_from_where_nltk_looks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "corpora" / "stopwords"
    folder.mkdir(parents=True)
    (folder / "english").write_text("only\nthese\n", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "nltk.data", raising=False)
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    assert resources.folders()[0] == tmp_path
    assert resources.read("stopwords", "english") == "only\nthese\n"
    assert resources.missing("stopwords") == []


def test_a_broken_package_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import no_such_part")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        resources.MissingResource,
        match=r"a test needs .*'broken_package'.*No module named 'no_such_part'.*--force-reinstall broken_package",
    ):
        resources.load("json", "broken_package", used_by="a test")


def test_what_is_missing_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "folders", list)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert resources.missing("punkt", "stopwords", "langdetect") == ["punkt", "stopwords", "langdetect"]
    with pytest.raises(
        resources.MissingResource,
        match=r"needs NLTK's corpora/stopwords, which was not found: there is no .*pip install 'aftertrain\[ver",
    ):
        resources.require("stopwords", used_by="a test")
    with pytest.raises(MissingExtra, match="a test needs the package 'langdetect'"):
        resources.require("langdetect", used_by="a test")
    with pytest.raises(resources.MissingResource, match="punkt_tab/english/no_file is not installed"):
        resources.read("punkt", "no_file")


def test_neither_nltk_nor_llama_index_is_imported() -> None:
    program = (
        "import sys\n"
        "from aftertrain.plugins.instructions import resources\n"
        "resources.require('punkt', 'stopwords', 'langdetect', used_by='x')\n"
        "resources.words('So it is. Is it?'), resources.stopwords(), resources.language('So it is, my friend.')\n"
        "print([name for name in ('nltk', 'llama_index.core', 'torch', 'pydantic') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
