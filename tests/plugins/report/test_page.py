"""The page as a document: well formed, self-contained, labelled, and safe whatever a model wrote."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from aftertrain.core.events import Metrics, RunStarted, Sample, ScoreRow, Scores, StageStarted, VerdictCounts, Warned
from aftertrain.core.events.diary import EventLog
from aftertrain.plugins.report.page import render

VOID = {"meta", "link", "br", "img", "input", "hr"}
SHAPES = {"circle", "line", "path", "rect"}


class Document(HTMLParser):
    """Tags with attributes, text, and whether every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(full_run: Path) -> str:
    return render(full_run)


@pytest.fixture(scope="module")
def page(html: str) -> Document:
    return Document(html)


def test_it_is_well_formed(page: Document) -> None:
    assert page.open == []


def test_it_asks_for_nothing_outside_itself(html: str, page: Document) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "srcset", "poster", "data", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), attributes
    assert not re.search(r"url\(|@import|https?:|//[a-z]", html)


def test_links_lead_somewhere(page: Document) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link["href"][1:] in ids


def test_every_picture_is_labelled_and_every_section_named(page: Document) -> None:
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or svg.get("aria-label") or "track" in svg.get("class", ""), svg
        assert svg.get("role") == "img" or "track" in svg.get("class", "")
    assert sum(1 for svg in page.all("svg") if svg.get("role") == "img") > 40
    ids = {attributes.get("id") for _, attributes in page.tags}
    for section in page.all("section"):
        assert section["aria-labelledby"] in ids
    for region in (attributes for _, attributes in page.tags if attributes.get("role") == "region"):
        assert region["aria-label"]
        assert region["tabindex"] == "0"


def test_its_headings_go_down_one_level_at_a_time(page: Document) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_score_stands_with_interval_and_n(full_run: Path, page: Document) -> None:
    from aftertrain.plugins.report.reading import read_run

    for score in read_run(full_run).scores:
        if score.metric == "accuracy":
            label = (
                f"{100 * score.mean:.1f}\u202f%, 95 % interval {100 * score.low:.1f} to {100 * score.high:.1f}, n = 60"
            )
            assert any(label in svg.get("aria-label", "") for svg in page.all("svg"))


@pytest.mark.parametrize(
    "words",
    [
        "Reward", "KL from the reference model", "Verified as right", "Throughput", "Time of a step, by activity",
        "Chosen scored above rejected", "Learning rate", "Grad norm", "Acme · oddity", "unparsable", "Example CPU",
        "3 of 4000 rows are longer than max_tokens", "too_long", "row-17", "reduction: token_mean", "8.0 GiB",
        "critic rm", "a rise", "20 up, 3 down, p < 0.001", "transformers 5.1.0",
        "What became of everything", "sft row 4 000 learnt 3 997 learnt 71 234 dropped: too long 3 cut 9 001",
    ],
)  # fmt: skip
def test_it_shows(words: str, page: Document) -> None:
    assert words in page.text


def test_local_paths_of_the_machine_stay_out(html: str) -> None:
    assert "/home/ann" not in html


def test_it_is_small_and_the_same_every_time(full_run: Path, html: str) -> None:
    assert len(html.encode()) < 400_000
    assert render(full_run) == html


def test_only_its_own_script_may_run(html: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert "default-src &#39;none&#39;" in policy
    assert digest in policy.replace("&#43;", "+").replace("&#47;", "/")


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</div></section><style>*{display:none}</style>",
    "{{ 7 * 7 }} {% raw %}",
    "C:\\Users\\new\\table",
    "\u202egnp.exe",
    "שלום עולם مرحبا",
    "😀👩‍👩‍👧",
    "x" * 5000,
)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_text_is_only_text(make_run: Callable[..., Path], text: str, page: Document) -> None:
    document = Document(render(make_run(text=text)))
    assert document.open == []
    assert len(document.all("script")) == 1
    assert len(document.all("style")) == 1
    assert document.all("img") == []
    assert [tag for tag, _ in document.tags if tag == "section"] == [tag for tag, _ in page.tags if tag == "section"]
    if len(text) < 100:
        assert text.replace("\u202e", "⟨U+202E⟩") in "".join(document.texts)
    else:
        assert "more characters not shown" in document.text


def test_hostile_names_of_metrics_are_only_text(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(RunStarted("<b>run</b>"))
    for step in (1, 2):
        log.emit(Metrics({"'\"><script>x</script>": 1.0 * step, "loss": 2.0}), "sft", step)
    log.emit(VerdictCounts({"<i>v</i>": {"scored": 3, "<u>odd</u>": 1}}), "sft", 1)
    log.emit(Warned("<script>y</script>"), "sft")
    log.close()
    document = Document(render(tmp_path))
    assert document.open == []
    assert len(document.all("script")) == 1
    assert not {"b", "i", "u"} & {tag for tag, _ in document.tags}
    assert "<b>run</b>" in document.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"until": "dpo", "end": "run_failed", "error": "step 10: the loss is not finite", "at": "dpo"},
            "This run failed in stage dpo after step 9 of 30: step 10: the loss is not finite. "
            "Not done: dpo, dpo-eval, rm, rlvr, rlvr-eval.",
        ),
        (
            {"until": "sft", "end": "run_failed", "error": "x", "at": "sft", "interrupted": True},
            "This run was stopped by the user in stage sft after step 20 of 62.",
        ),
        ({"until": "rlvr", "end": None}, "This run has no recorded end in stage rlvr after step 13 of 40"),
        ({"until": "base-eval", "end": "run_failed", "error": "disk full"}, "This run failed: disk full."),
    ],
)
def test_partial_runs_render_and_say_so(make_run: Callable[..., Path], options: dict[str, object], words: str) -> None:
    document = Document(render(make_run(**options)))
    assert document.open == []
    assert words in document.text


def test_one_evaluation_alone_is_not_called_a_change(make_run: Callable[..., Path]) -> None:
    text = Document(render(make_run(until="base-eval"))).text
    assert "There is no second evaluation to compare it with." in text
    assert "Paired differences compare" in text
    assert "Problems and replies" in text
    assert "before and after" not in text


def test_a_run_that_only_started_renders(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(RunStarted("bare"))
    log.close()
    text = Document(render(tmp_path)).text
    assert "No evaluation has finished" in text
    assert "no end recorded" in text


def test_a_run_of_before_events_had_types_renders_with_a_plugin_s_own(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "core" / "run_of_api_1.jsonl", tmp_path / "events.jsonl")
    document = Document(render(tmp_path))
    assert document.open == []
    for words in ("acme/souped", "share: 0.5", "overlong", "no update: step 6: loss", "stopped by the user"):
        assert words in document.text
    assert "word-problems · exact match" in document.text


def test_a_long_run_stays_below_a_megabyte(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(RunStarted("long"))
    for stage in ("sft", "dpo", "rlvr"):
        for step in range(1, 401):
            log.emit(Metrics({f"metric/{index}": step * 0.37 + index for index in range(30)}), stage, step)
        for step in range(1, 40):
            log.emit(Sample("p" * 20_000, "r" * 20_000, 0.0), stage, step)
    log.close()
    assert len(render(tmp_path).encode()) < 1_000_000


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_colours_have_contrast(theme: int) -> None:
    """WCAG 2.2 AA: text 4.5:1, graphics 3:1, on every surface they are used on."""
    style = resources.files("aftertrain.plugins.report").joinpath("style.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block))
    surfaces = [colours[name] for name in ("paper", "card", "wash")]
    for text in ("ink", "soft", "rise", "fall", "none", "t0", "t1", "t2", "t3", "t4", "t5", "t6"):
        assert min(contrast(colours[text], surface) for surface in surfaces) >= 4.5, text
    for graphic in ("scored", "unparsable", "timeout", "error"):
        assert contrast(colours[graphic], colours["card"]) >= 3.0, graphic


def test_what_could_not_be_judged_stands_beside_the_score(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(RunStarted("r", order=("eval",)))
    log.emit(StageStarted("evaluate", "0" * 64), "eval")
    score = ScoreRow("t", "exact_match", 0.0, 0.4, 0.3, 0.5, n=60, unjudged=3, lowest=0.4, highest=0.45, primary=True)
    log.emit(Scores((score,), (), ()), "eval")
    log.close()
    assert "3 could not be judged: 40.0 to 45.0" in render(tmp_path)


def test_alarms_stand_with_their_advice_and_those_that_stand_at_the_end_in_front(page: Document) -> None:
    stands = (
        "Alarms that stand at the end: rlvr, constant_groups ( 95 % of the groups ). What to do stands with the stage ."
    )
    assert stands.replace("( ", "(").replace(" )", ")").replace(" .", ".") in page.text.replace(" .", ".")
    assert (
        "kl_blow_up from step 3 to step 9: told in step 3. the policy leaves its reference: raise kl.beta" in page.text
    )
    assert "constant_groups from step 7 to the end: 95 % of the groups. take <harder> problems" in page.text
