"""`rnn-ref report`: what it reads, what the page shows, and how it looks in a browser."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_ref.judging.failures import Failure, Kind
from rnn_ref.recording.compare import as_dict, compare_records
from rnn_ref.recording.record import UnusableFile, read_record
from rnn_ref.report import write_report
from rnn_ref.report.growth import growth
from rnn_ref.report.inputs import read_file, read_files
from rnn_ref.running.rows import Row
from tests.support.commands import ROOT, Here

BASELINE = str(ROOT / "tests/baseline/torch-2.13.0-cpu.jsonl")
CASE = "tanh L1 D1 bias T3 N1 I2 H4 float32 weights=chaotic input=normal seed=7"
REPLAY = f"rnn-ref verify --subject mylib:RNN -k test_every_step --case '{CASE}'"
HOSTILE = "<script>alert('1')</script> & $x_ \ud800 \x1b[0m"


# Samples of each kind of file.


def failing_row(name: str = "test_every_step_obeys_the_recurrence[deep]") -> Row:
    failure = Failure(Kind.NUMBERS, name, CASE, REPLAY).as_dict()
    return Row(name, "FAILS", "bounds", failure["text"], 3, 40, 2, 23.5, failure=failure)


ROWS = (
    failing_row(),
    Row("test_h_n_is_the_last_state", "holds", "laws", "", 3, 40, 0, 0.25),
    Row("test_a_length_is_refused", "known", "packing", "known deviation: #1", 1, 1, 0, 0.0),
    Row("test_copies_are_equal", "not judged", "state", "it can't be copied"),
)


def verified(*rows: Row, **others: Any) -> dict[str, Any]:
    """What `verify --json` writes, without causes as older versions did."""
    return {
        "schema": 1,
        "conforms": all(row.verdict != "FAILS" for row in rows),
        "summary": "mylib:RNN, torch 2.13.0, cpu, float32: a verdict",
        "run": {"subject": "mylib:RNN", "dtypes": ["float32"], "seed": 1, "case": None},
        "environment": {"torch": "2.13.0", "device": "cpu"},
        "seconds": 1.0,
        "properties": [
            asdict(row) | {"worst": row.worst if math.isfinite(row.worst) else None} for row in rows
        ],
        **others,
    }


def cause(**others: Any) -> dict[str, Any]:
    """One cause of what `verify --json` writes."""
    ratio = [[0.1, None, 0.5, 0.9], [0.2, 12.0, 0.5, 1.0], [0.1, 23.5, "inf", 0.0]]
    return {
        "sentence": "the state is rounded to bfloat16",
        "kind": "numbers over their bound",
        "evidence": ["it explains 11 of 11", "  from step 1 on"],
        "worst": 23.5,
        "properties": ["test_every_step_obeys_the_recurrence[deep]", "test_h_n"],
        "case": CASE,
        "replay": REPLAY,
        "capability": "",
        "failure": failing_row().failure,
        "places": {
            "name": "output of layer 0",
            "axes": ["step", "row", "direction", "unit"],
            "ratio": ratio,
        },
        **others,
    }


def timed() -> dict[str, Any]:
    """What `bench --json` writes."""
    peers = [
        {"peer": "the products alone", "why": "", "note": "", "forward": 1e-5, "both": 2e-5},
        {"peer": "reference", "why": "", "note": "", "forward": 2e-5, "both": 5e-5},
        {"peer": "torch eager", "why": "", "note": "quick", "forward": 3e-5, "both": 9e-5},
        {"peer": "OpenVINO", "why": "not installed", "note": "", "forward": None, "both": None},
    ]
    exponents = {"T": 1.0, "N": 0.9, "H": 1.8}
    return {
        "environment": {"torch": "2.13.0", "numpy": "2.4.6", "processor": "a processor"},
        "threads": 1,
        "processors": 2,
        "load": 0.9,
        "openblas": {},
        "shapes": [{"sizes": [4, 2, 3, 5], "peers": peers}],
        "growth": [{"peer": "reference", "forward": exponents, "both": exponents}],
    }


def timed_suite() -> dict[str, Any]:
    """What `bench --suite --json` writes."""
    row = {"property": "test_h_n", "group": "laws", "examples": 6, "seconds": 2.0}
    return {
        "environment": {"torch": "2.13.0", "numpy": "2.4.6", "processor": "a processor"},
        "properties": [row],
        "shares": {"drawing": 0.25},
    }


def write(folder: Path, name: str, content: Any) -> str:
    """Write a file, as JSON unless it is text; return its path."""
    file = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    file.write_text(text, encoding="utf-8")
    return str(file)


def compared() -> dict[str, Any]:
    """What `compare --json` writes of two equal records."""
    record = read_record(BASELINE)
    return as_dict(compare_records(record, record))


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A file of each kind, and two records."""
    folder = tmp_path_factory.mktemp("files")
    samples = {
        "causes.json": verified(*ROWS, causes=[cause(), cause(places=None, worst=None)]),
        "older.json": verified(*ROWS),
        "compared.json": compared(),
        "matrix.json": {"eager": verified(*ROWS), "compiled": None},
        "bench.json": timed(),
        "suite.json": timed_suite(),
    }
    return [write(folder, name, content) for name, content in samples.items()] + [BASELINE] * 2


@pytest.fixture(scope="module")
def page(one_of_each: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all of them."""
    needs_matplotlib()
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(one_of_each, str(out))
    return out


def needs_matplotlib() -> None:
    """Skip a test where nothing can be drawn."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: rnn_ref[report]")


def report_of(folder: Path, content: Any) -> str:
    """Write the report of one file; return it."""
    needs_matplotlib()
    out = folder / "report.html"
    write_report([write(folder, "one.json", content)], str(out))
    return out.read_text(encoding="utf-8")


# What is read.


def test_each_file_is_told_by_its_structure(one_of_each: list[str]) -> None:
    """Every kind of file is recognized, whatever its name."""
    inputs = read_files(one_of_each)
    of_kind = (inputs.judged, inputs.compared, inputs.recorded, inputs.matrices)
    assert [len(files) for files in (*of_kind, inputs.timed, inputs.suites)] == [2, 1, 2, 1, 1, 1]


@pytest.mark.parametrize(
    "content",
    ["", "{", "{}", "[]", "3", "null", "NaN", "[" * 100_000, '{"a": 1}', '{"a": {}}', "text\n"],
)
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    """What none of the commands wrote is no report's."""
    with pytest.raises(UnusableFile) as refused:
        read_file(write(tmp_path, "other", content))
    assert "can't be shown: expected what verify --json," in str(refused.value)


@pytest.mark.parametrize("sample", [verified(*ROWS, causes=[cause()]), timed(), timed_suite()])
@pytest.mark.parametrize("wrong", [3, {}, [{}], None], ids=str)
def test_a_file_with_something_else_in_a_place_is_refused(
    tmp_path: Path, sample: dict[str, Any], wrong: Any
) -> None:
    """Whatever stands where a list or a dictionary should, the refusal is one sentence."""
    for name, value in sample.items():
        if isinstance(value, list) or (isinstance(value, dict) and wrong != {}):
            file = write(tmp_path, "broken.json", {**sample, name: wrong})
            assert (refusal(file).count("\n"), bool(refusal(file))) == (0, True), name


def refusal(file: str) -> str:
    """Say why a file is refused; nothing if it is not."""
    try:
        read_file(file)
    except UnusableFile as error:
        return str(error)
    return ""


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """A file that can't be read is named, with the reason."""
    with pytest.raises(UnusableFile, match=r"missing\.json can't be read: No such file"):
        read_files([str(tmp_path / "missing.json")])


def test_an_older_file_shows_its_failing_properties(tmp_path: Path) -> None:
    """Without causes, each failing property stands in their place."""
    (judged,) = read_files([write(tmp_path, "older.json", verified(*ROWS))]).judged
    (shown,) = judged.shown
    assert (shown.sentence, shown.replay) == ("every step obeys the recurrence, deep", REPLAY)


def test_files_are_named_without_folders_where_that_is_clear(tmp_path: Path) -> None:
    """Two files of one name keep their folders."""
    for name in "ab":
        (tmp_path / name).mkdir()
    same = [write(tmp_path / name, "same.json", verified()) for name in "ab"]
    inputs = read_files([*same, write(tmp_path, "other.json", verified())])
    assert [judged.name for judged in inputs.judged] == [*same, "other.json"]


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without matplotlib the command says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    expected = r"^report: matplotlib is not installed \(it comes with rnn_ref\[report\]\)$"
    with pytest.raises(UnusableFile, match=expected):
        write_report([BASELINE], str(tmp_path / "report.html"))


# How errors grow, which is computed here.


def test_errors_grow_with_chaotic_weights_alone() -> None:
    """End to end, chaotic weights multiply errors by thousands, and contracting ones don't."""
    chaotic, contracting = growth("chaotic"), growth("contracting")
    assert chaotic.error[-10:].max() > 1e3 * chaotic.error[:5].max()
    assert contracting.error.max() < 1e-6


@pytest.mark.parametrize("weights", ["chaotic", "contracting"])
def test_the_error_of_one_step_does_not_grow(weights: str) -> None:
    """From its own states, the plain program is as accurate at the last step as at the first."""
    assert growth(weights).one_step.max() < 1e-6


def test_the_plain_program_is_within_its_bound() -> None:
    """What the page draws as a correct program is one."""
    run = growth("chaotic")
    assert np.all(run.error <= run.bound)


# What the page shows.


class Page(HTMLParser):
    """A page's elements, ids and references; raises where an end tag does not fit."""

    EMPTY = frozenset({"meta", "link", "br", "img", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, *names: str) -> list[str]:
        """List the values of some attributes."""
        return [of[name] or "" for _, of in self.elements for name in names if name in of]


def read_page(text: str) -> Page:
    return Page(text)


def test_the_page_is_whole(page: Path) -> None:
    """Every element is closed where it was opened, and no two share an id."""
    ids = read_page(page.read_text(encoding="utf-8")).values("id")
    assert len(ids) == len(set(ids))


def test_the_page_needs_no_other_file(page: Path) -> None:
    """What it refers to is in it."""
    read = read_page(page.read_text(encoding="utf-8"))
    ids = {f"#{id}" for id in read.values("id")}
    references = read.values("href", "src", "xlink:href")
    assert all(link in ids or link.startswith("data:") for link in references)


def test_every_figure_has_words(page: Path) -> None:
    """A figure has a label for those who hear it, and a caption."""
    read = read_page(page.read_text(encoding="utf-8"))
    figures = [of for tag, of in read.elements if tag == "svg"]
    captions = [of for tag, of in read.elements if tag == "figcaption"]
    assert len(figures) == len(captions) > 10
    assert all(of["aria-label"] for of in figures)


@pytest.mark.parametrize(
    "section", ["causes", "steps", "properties", "ulps", "comparison", "matrix", "benchmark"]
)
def test_each_kind_of_file_has_its_section(page: Path, section: str) -> None:
    """The page of all kinds has all sections, and a link to each."""
    read = read_page(page.read_text(encoding="utf-8"))
    assert (section in read.values("id"), f"#{section}" in read.values("href")) == (True, True)


def test_the_verdict_and_the_causes_come_first(tmp_path: Path) -> None:
    """Whoever opens the page reads the verdict, then the cause, its case and its replay line."""
    text = report_of(tmp_path, verified(*ROWS, causes=[cause()]))
    words = "".join(read_page(text).texts)
    first = ["does not conform", "the state is rounded to bfloat16", CASE, REPLAY, "3 of 12"]
    places = [words.index(each) for each in first]
    assert places == sorted(places)


def test_a_replay_line_is_shown_as_it_is_run(page: Path) -> None:
    """The line to copy is alone in its element, without a change."""
    assert REPLAY in read_page(page.read_text(encoding="utf-8")).texts


def test_a_cause_with_places_has_a_heat_map(tmp_path: Path) -> None:
    """The picture says in words how many places are over their bound, and which is the worst."""
    text = report_of(tmp_path, verified(*ROWS, causes=[cause()]))
    assert "3 of 12 places are over their bound, the first at step 1" in text


def test_a_cause_without_places_has_none(tmp_path: Path) -> None:
    """Nothing is drawn of places that are not known."""
    text = report_of(tmp_path, verified(*ROWS, causes=[cause(places=None)]))
    assert "places are over their bound" not in text


@pytest.mark.parametrize(
    "ratio",
    [[[None]], [["inf"]], [[0.0]], [[None, None], [None, None]], [[2.0] * 300] * 500, [[1e300]]],
    ids=["open", "infinite", "zero", "all open", "large", "huge"],
)
def test_any_places_can_be_drawn(tmp_path: Path, ratio: list[list[Any]]) -> None:
    """A heat map of one place, of none that is judged, or of very many is no trouble."""
    places = {"name": "output", "axes": ["step", "row", "direction", "unit"], "ratio": ratio}
    read_page(report_of(tmp_path, verified(*ROWS, causes=[cause(places=places)])))


def test_places_of_a_parameter_are_named_by_its_axes(tmp_path: Path) -> None:
    """A gradient of a weight has units and inputs, and no steps."""
    places = {"name": "gradient", "axes": ["unit", "input"], "ratio": [[0.5, 3.0]]}
    text = report_of(tmp_path, verified(*ROWS, causes=[cause(places=places)]))
    assert "at unit 0, input 1," in text


def test_an_infinite_ratio_is_shown(tmp_path: Path) -> None:
    """A worst error that JSON can't hold counts as failing."""
    row = Row("test_h_n", "FAILS", "laws", "wrong", 1, 1, 0, math.inf)
    assert "inf" in read_page(report_of(tmp_path, verified(row))).texts


def test_all_text_is_escaped(tmp_path: Path) -> None:
    """A name that is markup stays text, wherever it stands."""
    row = Row(HOSTILE, "FAILS", HOSTILE, HOSTILE, 1, 1, 0, 2.0, failure=failing_row().failure)
    hostile = dict.fromkeys(("sentence", "kind", "case", "replay", "capability"), HOSTILE)
    hostile_lists = {"evidence": [HOSTILE], "properties": [HOSTILE, HOSTILE]}
    result = verified(row, causes=[cause(**hostile, **hostile_lists)], summary=HOSTILE)
    read = read_page(report_of(tmp_path, {**result, "run": {HOSTILE: [HOSTILE]}}))
    assert "script" not in {tag for tag, _ in read.elements}


def test_a_figure_takes_on_the_pages_colours(page: Path) -> None:
    """Text in a figure has the colour of the page's text, so that it is read in the dark."""
    read = read_page(page.read_text(encoding="utf-8"))
    styles = [of.get("style") or "" for tag, of in read.elements if tag == "text"]
    assert styles
    assert all("fill: currentColor" in style for style in styles)


@pytest.fixture(scope="module")
def again(page: Path, one_of_each: list[str]) -> tuple[Path, float]:
    """The same report once more, and the seconds of a processor that it took."""
    out, start = page.with_name("again.html"), time.process_time()
    write_report(one_of_each, str(out))
    return out, time.process_time() - start


def test_the_same_files_make_the_same_page(page: Path, again: tuple[Path, float]) -> None:
    """Nothing in the page depends on when it was made."""
    assert again[0].read_bytes() == page.read_bytes()


def test_the_page_is_soon_made(again: tuple[Path, float]) -> None:
    """The report of a file of each kind takes less than 10 s."""
    assert again[1] < 10


def test_the_page_is_small(page: Path) -> None:
    """It has less than 3 MB."""
    assert page.stat().st_size < 3e6


# The command.


def test_the_command_writes_the_page(here: Here, tmp_path: Path) -> None:
    """`rnn-ref report FILE -o OUT` ends with status 0."""
    needs_matplotlib()
    file = write(tmp_path, "verified.json", verified(*ROWS))
    assert here("report", file, "-o", "report.html").returncode == 0
    assert (tmp_path / "report.html").exists()


def test_the_command_refuses_other_files_with_status_2(here: Here, tmp_path: Path) -> None:
    """What can't be shown is said in one line."""
    needs_matplotlib()
    done = here("report", write(tmp_path, "other.json", "{}"), "-o", "report.html")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_report_overwrites_no_file_it_is_made_of(tmp_path: Path) -> None:
    """An output that is one of the inputs is a slip."""
    needs_matplotlib()
    file = write(tmp_path, "verified.json", verified(*ROWS))
    with pytest.raises(UnusableFile, match="refusing to overwrite"):
        write_report([file], file)


def test_a_report_that_cant_be_written_says_why(tmp_path: Path) -> None:
    """A folder that is not there is named."""
    needs_matplotlib()
    file = write(tmp_path, "verified.json", verified(*ROWS))
    with pytest.raises(UnusableFile, match="can't be written: No such file"):
        write_report([file], str(tmp_path / "none" / "report.html"))


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium: the machine's, or the one that playwright brought."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        installed = shutil.which("chromium") or shutil.which("google-chrome")
        path = installed or driver.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("there is no Chromium on this machine")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]
WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"
UNFOLD = "document.querySelectorAll('details').forEach(each => each.open = true)"
SPILLING = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const own = text.getBoundingClientRect();
    return own.width && (own.left < box.left - 2 || own.right > box.right + 2);
  }).map(text => text.textContent);
})"""


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_opens_from_disk_without_a_complaint(
    browser: Any, page: Path, width: int, scheme: str
) -> None:
    """With the network off, nothing is asked for but the page, and the console stays empty."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    tab, complaints = context.new_page(), []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda request: complaints.append(request.url))
    tab.goto(page.as_uri())
    tab.evaluate(UNFOLD)
    context.close()
    assert complaints == []


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_is_as_wide_as_its_window(
    browser: Any, page: Path, width: int, scheme: str
) -> None:
    """Nothing has to be scrolled sideways but tables within their own box, folded or not."""
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.goto(page.as_uri())
    folded = tab.evaluate(WIDTHS)
    tab.evaluate(UNFOLD)
    unfolded = tab.evaluate(WIDTHS)
    tab.close()
    assert folded == unfolded == [width, width]


def test_words_in_figures_stay_within_them(browser: Any, page: Path) -> None:
    """The browser's letters may be wider than those that matplotlib measured."""
    tab = browser.new_page(viewport={"width": 390, "height": 900})
    tab.goto(page.as_uri())
    spilling = tab.evaluate(SPILLING)
    tab.close()
    assert spilling == []


def test_the_text_needs_no_javascript(browser: Any, page: Path) -> None:
    """The verdict, the cause and the replay line are read without any."""
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    seen = [tab.get_by_text(text, exact=True).first.is_visible() for text in (CASE, REPLAY)]
    context.close()
    assert seen == [True, True]


def test_paper_is_white_whatever_the_screen_is(browser: Any, page: Path) -> None:
    """What is printed from a dark screen is black on white."""
    tab = browser.new_page(color_scheme="dark")
    tab.goto(page.as_uri())
    tab.emulate_media(media="print")
    colours = tab.evaluate(
        "(style => [style.color, style.backgroundColor])(getComputedStyle(document.body))"
    )
    tab.close()
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
