"""Pages are one file each, safe, and tell what there is."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup
from PIL import Image
from tests.reports.made import made_evaluation, made_run

from ppd_lightning.commands import report
from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.reports.blocks import Interval, Section, Table, Words, as_csv, as_markdown, rounded, shown
from ppd_lightning.reports.page import page
from ppd_lightning.reports.plots import Series, line_plot, ticks
from ppd_lightning.reports.reproduce import command_of
from ppd_lightning.reports.results import read_run_result
from ppd_lightning.reports.thumbnails import thumbnail


class Tags(HTMLParser):
    """Fails where an element is closed that is not open; collects what a browser would fetch."""

    empty = ("meta", "img", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.empty:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def page_of(folder: Path, output: Path, *overrides: str) -> str:
    told = report.run(compose([f"output={output}", f"report.of=[{folder}]", "report.bootstrap=20", *overrides]))
    assert told["page"] == str(folder / "report.html")
    return (folder / "report.html").read_text()


def test_a_run_is_told_in_one_file_that_fetches_nothing(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, ["experiment=emoji/ppd", "objective.beta=0.7"])
    made_evaluation(config, folder, 2.0, gain=1.0, content=0.9)
    text = page_of(folder, tmp_path)
    tags = read(text)
    assert all(one.startswith(("#", "data:image/webp;base64,")) for one in tags.fetched)
    assert "script" not in tags.seen
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", text)
    assert titles == [
        "What was trained",
        "Training",
        "Evaluation at user guidance 2",
        "Taste against content",
        "Compared with the base",
        "Where it fails: the people who gain least",
        "How to make it again",
    ]
    assert "person 00 (seen): win rate 0.200 of 5, mean margin -0.500" in text
    assert "0.800 (0.700 to 0.900)" in text
    assert len(text) < 100_000


def test_an_unfinished_run_is_told_as_far_as_it_came(tmp_path: Path) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/ppd"], finished=False)
    text = page_of(folder, tmp_path)
    assert "not finished" in text
    assert "Evaluation" not in text


def test_judges_blends_and_what_verbs_leave_are_told_without_knowing_their_keys(tmp_path: Path) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/ppd"])
    (folder / "judge-abc").mkdir()
    rate = '{"rate": 0.76, "low": 0.7, "high": 0.82, "n": 90}'
    (folder / "judge-abc/summary.json").write_text(f'{{"win_rate": {{"unseen": {rate}}}, "inconsistent": 17}}')
    (folder / "interpolation-abc").mkdir()
    (folder / "interpolation-abc/summary.json").write_text('{"rank_correlation": {"clutter": 0.97}}')
    Image.new("RGB", (40, 40)).save(folder / "interpolation-abc/simplex.png")
    text = page_of(folder, tmp_path)
    for words in ("0.760 (0.700 to 0.820)", "inconsistent", "rank correlation, clutter", "Simplex"):
        assert words in text


def test_words_from_outside_are_no_markup() -> None:
    text = page("<b>", "&", [Section("<i>", [Words("<script>"), Table("", ["<u>"], [["<s>", 1.0]])])])
    assert not re.search("<(script|u|s|i|b)>", text)
    read(text)


def test_sections_without_blocks_are_not_shown() -> None:
    assert "nothing" not in page("page", "", [Section("nothing"), Section("some", [Words("words")])])


def test_the_command_of_a_run_gives_its_folder_or_is_not_told(tmp_path: Path) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/sft", "objective.t_min=0.25", "shots.n=2", "seed=3"])
    run = read_run_result(folder)
    command = command_of(run)
    assert command is not None
    assert "objective=sft" in command
    assert "objective.t_min=0.25" in command
    run.settings["objective"]["of_another_version"] = 1
    run.settings["objective"]["t_min"] = 0.3
    assert command_of(run) is None


def test_what_is_neither_run_nor_sweep_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.of: .* is no sweep's folder .* and no run's"):
        report.run(compose([f"output={tmp_path}", f"report.of=[{tmp_path}]"]))


def test_a_place_is_for_studies_only(tmp_path: Path) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/ppd"])
    with pytest.raises(UserError, match=r"report\.to: is for a study"):
        page_of(folder, tmp_path, "report.to=elsewhere")


def test_tables_keep_their_figures_in_every_form() -> None:
    table = Table("Rates", ["method", "rate"], [["ppd|sft", Interval(0.5, 0.4123, 0.6, 10)], ["base", None]])
    assert as_markdown(table).splitlines()[2:] == [
        "| method | rate |",
        "| --- | --- |",
        "| ppd/sft | 0.500 (0.412 to 0.600) |",
        "| base |  |",
    ]
    assert as_csv(table) == "method,rate,rate low,rate high,rate n\nppd|sft,0.5,0.4123,0.6,10\nbase,,,,\n"


@pytest.mark.parametrize(
    ("number", "words"), [(1600, "1,600"), (0.8, "0.800"), (0.6931471, "0.693"), (0.002, "0.002"), (float("nan"), "-")]
)
def test_numbers_have_as_many_digits_as_they_need(number: float, words: str) -> None:
    assert shown(number) == rounded(number) == words


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.953, 1.0, 4) == [0.96, 0.97, 0.98, 0.99, 1.0]
    assert ticks(0, 1000, 4) == [0, 250, 500, 750, 1000]
    assert ticks(2, 2, 4) == [2]


def test_plots_escape_their_words_and_take_any_points() -> None:
    text = line_plot("<b>", [Series("a & b", [(1, 1)]), Series("", [])], across="<i>")
    assert isinstance(text, Markup)
    assert "&lt;b&gt;" in text
    assert "a &amp; b" in text


def test_thumbnails_are_small_and_missing_files_are_none(tmp_path: Path) -> None:
    Image.effect_noise((1000, 600), 90).save(tmp_path / "large.png")
    found = thumbnail(tmp_path / "large.png")
    assert found is not None
    assert len(found) < 40_000
    (tmp_path / "damaged.png").write_bytes(b"PNG")
    assert thumbnail(tmp_path / "missing.png") is thumbnail(tmp_path / "damaged.png") is None
