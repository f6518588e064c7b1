"""The page: what is on it, what it says is missing, and what it refuses."""

from __future__ import annotations

import base64
import copy
import dataclasses
import itertools
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nprep._console import run as run_command
from nprep.quality.splits import PARTS
from nprep.report.cli import main
from nprep.report.context import groups
from nprep.report.html import HtmlTable, text
from nprep.report.sections.machines import clock_targets
from nprep.report.sections.predictors import agreement_rows
from nprep.report.tables.accuracy import accuracy_table, regret_table
from nprep.report.tables.clock import clock_table
from nprep.report.tables.efficiency import answer_sentences, answer_table, headline_table
from nprep.report.tables.run import provenance_table
from nprep.report.words import duration, part_words
from nprep.results.reading import read_run
from nprep.search.trace import Predictions
from tests.report.runs import FREE, make_run, rewrite

_VOID = {"meta", "link", "img", "source", "br", "hr"}


class Page(HTMLParser):
    """Elements of a page; fails on tags that do not match."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(content)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID and self.open[-1:] != ["svg"]:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("text",):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_page_is_self_contained_and_sound(page_path: Path) -> None:
    content = page_path.read_text()
    page = Page(content)
    names = {name for name, _ in page.found}
    assert not names & {"script", "iframe", "object", "video", "form"}
    for _, attributes in page.found:
        for key in ("src", "srcset", "href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), value[:80]
    assert "url(" not in content
    assert "@import" not in content
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = {a["href"] for a in page.all("a")}
    assert links == {f"#{anchor}" for anchor in ids}


def test_page_is_accessible(page_path: Path) -> None:
    page = Page(page_path.read_text())
    assert page.all("html")[0]["lang"] == "en"
    headings = [name for name, _ in page.found if re.fullmatch("h[1-6]", name)]
    assert headings.count("h1") == 1
    levels = [int(name[1]) for name in headings]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for image in page.all("img"):
        assert len(image["alt"] or "") > 40
    for drawing in page.all("svg"):
        assert drawing["role"] == "img"
        assert (drawing["aria-label"] or "").startswith("Cell of ")
    for cell in page.all("th"):
        assert cell.get("scope") in ("row", "col")
    boxes = [box for box in page.all("div") if box.get("class") == "scroll"]
    assert len(boxes) == len(page.all("table"))
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_page_has_all_parts(page_path: Path) -> None:
    page = Page(page_path.read_text())
    anchors = [section["aria-labelledby"] for section in page.all("section")]
    assert anchors == [
        "answer", "accuracies", "speedups", "curves", "machines", "cells", "predictions", "map",
        "quality", "run",
    ]  # fmt: skip
    words = " ".join(page.words)
    # What is modelled is said once, in sight wherever one reads.
    assert words.count("Modelled, not measured") == 1
    assert [a.get("class") for a in page.all("aside")] == ["modelled"]
    assert "digest of the values" in words
    # The second run was asked for no simulation of machines, and says so.
    assert "second was not simulated on several machines." in words
    assert "Predicted against true accuracy: mlp, first" in words
    assert "There is" not in words


def test_figures_lie_beside_the_page(page_path: Path) -> None:
    folder = page_path.with_name("report-figures")
    names = {path.name for path in folder.iterdir()}
    for stem in (
        "validation-by-samples", "test-by-samples", "test-by-seconds", "machines-1",
        "predicted-1-mlp", "quality-1", "map-mlp-1", "profile-1",
    ):  # fmt: skip
        assert {f"{stem}.png", f"{stem}.svg"} <= names
    assert "cell-1-1.svg" in names
    for path in folder.iterdir():
        if path.suffix == ".svg":
            ElementTree.parse(path)
        else:
            assert path.read_bytes().startswith(b"\x89PNG")
    # A figure that leaves the page says for itself what is modelled.
    assert "Modelled, not measured" in (folder / "test-by-samples.svg").read_text()


def test_pictures_on_the_page_are_pictures(page_path: Path) -> None:
    page = Page(page_path.read_text())
    sources = [image["src"] for image in page.all("img")]
    sources += [source["srcset"] for source in page.all("source")]
    assert len(sources) >= 16
    for source in sources:
        kind, _, content = (source or "").partition(";base64,")
        decoded = base64.b64decode(content, validate=True)
        if kind == "data:image/png":
            assert decoded.startswith(b"\x89PNG")
        else:
            assert kind == "data:image/svg+xml"
            ElementTree.fromstring(decoded)


def test_same_runs_give_the_same_page(run_folder: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("one.html", "two.html"):
        arguments = [str(run_folder), "--out", str(tmp_path / name), "--quiet", "--no-files"]
        assert main(arguments) == 0
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
    assert not (tmp_path / "one-figures").exists()


def test_tables_are_the_summarys_numbers(run_folder: Path) -> None:
    run = read_run(run_folder)
    accuracy = accuracy_table(run, "test")
    summary = run.summary["methods"]["mlp"]
    row = next(row for row in accuracy.rows if row[0] == "mlp")
    at = accuracy.header.index("50")
    value = next(r["test_mean"] for r in summary["curve"] if r["samples"] == 50)
    assert row[at] == f"{value:.2f}"
    headline = headline_table(run)
    assert headline is not None
    first = run.summary["speedups"][0]["test_at_baseline_samples"]
    assert headline.rows[0][3] == f"{first['samples']:,}"
    regret = regret_table(run)
    assert regret is not None
    assert len(regret.rows) == 6
    assert [row[1] for row in provenance_table(run).rows]


def test_the_answer_is_the_summarys(run_folder: Path) -> None:
    run = read_run(run_folder)
    needed = run.summary["needed"]
    assert (needed["reference"], needed["samples"]) == ("evolution", 120)
    table = answer_table(run)
    assert table is not None
    rows = {row[0]: row for row in table.rows}
    assert set(rows) == {"random", "evolution", "mlp"}
    entry = needed["test"]["methods"]["mlp"]
    if entry["samples"] is None:
        assert rows["mlp"][1] == "not reached"
    else:
        assert rows["mlp"][1].startswith(f"{entry['samples']:,.0f} (")
    assert rows["evolution"][2:4] == ("–", "–")
    [sentence] = answer_sentences(run)
    assert sentence.startswith("mlp ")
    assert ("does not reach" in sentence) == (entry["samples"] is None)


def test_clock_table_is_the_summarys_numbers(run_folder: Path) -> None:
    run = read_run(run_folder)
    # No method of this run reaches a target: here three reach 93.5 %, and one of them 94 %.
    summary = copy.deepcopy(run.summary)
    reached = {"random": {93.5: 7200.0}, "evolution": {93.5: 60.0}, "mlp": {93.5: 12.0, 94.0: 90.0}}
    for method, targets in reached.items():
        for at in summary["clock"]["methods"][method][0]["test"]:
            if at["target_percent"] in targets:
                at["seconds"] = targets[at["target_percent"]]
                at["seconds_interval_95"] = [at["seconds"] / 2, None]
    run = dataclasses.replace(run, summary=summary)
    assert clock_targets(run) == [93.5, 94.0]
    table = clock_table(run, 93.5)
    assert table.header == ("method", "1", "10")
    assert table.rows == (
        ("random", "2.0 h (1.0 h to open)", "not reached"),
        ("evolution", "1.0 min (30 s to open)", "not reached"),
        ("mlp", "12 s (6 s to open)", "not reached"),
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "not reached"), (12.0, "12 s"), (90.0, "1.5 min"), (7200.0, "2.0 h"),
     (864000.0, "10.0 days")],
)  # fmt: skip
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_text_is_escaped() -> None:
    table = HtmlTable("<script>", ("a&b",), (('"quoted" 5 %',),))
    content = table.to_html()
    assert "<script>" not in content
    assert "a&amp;b" in content
    assert "5\u00a0%" in content
    assert text("<b>") == "&lt;b&gt;"
    with pytest.raises(ValueError, match="does not fit"):
        HtmlTable("t", ("a",), (("1", "2"),))


def test_perfect_predictors_agree_perfectly() -> None:
    import numpy as np

    truth = np.linspace(85.0, 94.0, 2000)
    known = np.arange(0, 2000, 100, dtype=np.int32)
    perfect = Predictions(known, (truth / 100).astype(np.float32))
    rows = agreement_rows("mine", perfect, truth)
    assert [row[0] for row in rows] == [f"mine, {part_words(part)}" for part in PARTS]
    for row in rows:
        assert row[1:4] == ("1.000", "1.000", "0.000")
        assert row[5:7] == ("1.000", "1.000")


def test_a_table_that_was_moved_must_be_named(
    run_folder: Path, run_table: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    settings = json.loads((copy / "settings.json").read_text())
    settings["source"]["table"] = str(tmp_path / "gone.h5")
    rewrite(copy, "settings.json", json.dumps(settings))
    out = tmp_path / "r.html"
    assert main([str(copy), "--out", str(out), "--quiet", "--no-files"]) == 0
    assert "Predictions of copy need" in out.read_text()
    assert "gone.h5" in out.read_text()
    arguments = [str(copy), "--out", str(out), "--quiet", "--no-files"]
    assert main([*arguments, "--table", str(run_table)]) == 0
    assert "Predictions of copy need" not in out.read_text()


def test_other_protocols_are_shown_apart(run_folder: Path, run_table: Path, tmp_path: Path) -> None:
    free = make_run(tmp_path / "free", run_table, protocol=FREE, workers=(), methods=("random",))
    runs = [read_run(run_folder), read_run(free)]
    assert [len(group) for group in groups(runs)] == [1, 1]
    out = tmp_path / "r.html"
    arguments = [str(run_folder), str(free), "--out", str(out), "--quiet"]
    assert main([*arguments, "--no-files"]) == 0
    words = " ".join(Page(out.read_text()).words)
    assert "differ in protocol (duplicates 'charged' and 'free'); they are shown apart." in words
    # By samples and by time, for each of the two.
    charts = [str(image["alt"]) for image in Page(out.read_text()).all("img")]
    assert sum(alt.startswith("Line chart of test accuracy") for alt in charts) == 4


def test_damaged_predictions_are_named(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    path = copy / "predictions" / "mlp.npz"
    path.write_bytes(path.read_bytes()[:-50])
    out = tmp_path / "r.html"
    assert main([str(copy), "--out", str(out), "--quiet", "--no-files"]) == 0
    assert "runs that trial again" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{tmp}/nothing", "does not exist: name a folder"),
        ("{tmp}", "is no run, it holds no curves.csv"),
        ("{lone}", "is no folder of a run"),
        ("{run} --out {tmp}/report.pdf", "ends in .html"),
        ("{run} --bend", "unrecognized arguments: --bend"),
        ("", "required: runs"),
        ("{quality}", "holds the quality of predictors alone"),
        ("{unfinished}", "continue it with python -m nprep.quality --resume"),
        ("{run} --out {run}/curves.csv/r.html", "cannot be written"),
    ],
)
def test_mistakes_are_named(
    arguments: str,
    message: str,
    run_folder: Path,
    quality_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    lone = shutil.copy(run_folder / "curves.csv", tmp_path / "mine.csv")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(quality_folder, unfinished, ignore=shutil.ignore_patterns("quality.json"))
    before = sorted(tmp_path.rglob("*"))
    filled = arguments.format(
        tmp=tmp_path, run=run_folder, quality=quality_folder, lone=lone, unfinished=unfinished
    )
    assert run_command(main, filled.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["settings.json", "summary.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"methods": {}}', "[" * 100_000])
def test_damaged_files_are_named(
    name: str, content: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("trials"))
    rewrite(copy, name, content)
    assert run_command(main, [str(copy), "--out", str(tmp_path / "r.html")]) == 2
    assert name in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
