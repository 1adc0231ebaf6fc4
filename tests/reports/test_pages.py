"""A page is one file that needs nothing beside it; its figures are files too."""

from __future__ import annotations

import errno
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from tests.reports.made import made_choices, made_evaluation, made_run

from ppd_lightning.commands import report
from ppd_lightning.config.compose import compose
from ppd_lightning.config.run_resolver import RunResolver
from ppd_lightning.errors import UserError
from ppd_lightning.figures.lines import Series, line_figure
from ppd_lightning.reports.blocks import (
    Block,
    Drawing,
    Figures,
    Interval,
    Section,
    Table,
    Text,
    as_csv,
    as_markdown,
    formatted,
    rounded,
)
from ppd_lightning.reports.few_shot_images import FewShotImages
from ppd_lightning.reports.image_sections import image_url
from ppd_lightning.reports.page_files import Page, as_html, write_page
from ppd_lightning.reports.run_results import read_run_result
from ppd_lightning.reports.study import round_levels


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
    summary = report.run(compose([f"output={output}", f"report.of=[{folder}]", "report.bootstrap=20", *overrides]))
    assert summary["page"] == str(folder / "report.html")
    return (folder / "report.html").read_text()


@pytest.mark.usefixtures("without_figure_files")
def test_own_against_other_and_the_preference_accuracy_have_tables_of_their_own(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, ["experiment=emoji/ppd"])
    evaluation = made_evaluation(config, folder, 2.0, gain=1.0)
    summary = json.loads((evaluation / "summary.json").read_text())
    rate = summary["win_rate"]["seen"] | {"rate": 0.487, "low": 0.431, "high": 0.512}
    summary |= {"other_taste_win_rate": {"seen": rate}, "own_against_other": {"seen": rate}}
    one_person = {"rate": 0.525, "low": None, "high": None, "n": 40}
    accuracy = {"unseen": {"rate": 0.623, "low": 0.571, "high": 0.664, "n": 200}, "seen": one_person}
    summary["preference_accuracy"] = accuracy
    (evaluation / "summary.json").write_text(json.dumps(summary))
    text = page_of(folder, tmp_path)
    for words in (
        "Win rates of own against other",
        "judged by another person: the user&#39;s image over the base&#39;s, seen",
        "judged by the user: the user&#39;s image over another person&#39;s, seen",
        "Preference accuracy on held-out pairs",
        "0.487 (0.431 to 0.512)",
        "0.623 (0.571 to 0.664)",
        "0.525 (none: fewer than 2 to resample)",
        "averaged over 8 draws of times and noise",
    ):
        assert words in text
    for name in ("win_rate", "other_taste_win_rate", "own_against_other"):
        del summary[name]
    (evaluation / "summary.json").write_text(json.dumps(summary))
    text = page_of(folder, tmp_path)
    assert "Unseen users: the model prefers what the user preferred in 62.3 % of 200 held-out pairs" in text


@pytest.mark.usefixtures("without_figure_files")
def test_the_page_of_a_run_begins_with_the_result_ends_with_settings_and_fetches_nothing(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, ["experiment=emoji/ppd", "objective.beta=0.7"])
    made_evaluation(config, folder, 2.0, gain=1.0, content=0.9)
    text = page_of(folder, tmp_path)
    tags = read(text)
    assert all(re.match("#|data:image/webp;base64,", one) for one in tags.fetched)
    assert "script" not in tags.seen
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", text)
    assert titles == [
        "Result",
        "Evaluation at user guidance 2",
        "Taste against content",
        "Training curves",
        "Failures",
        "Settings",
        "Reproduction",
    ]
    assert "Unseen users: the image for the user wins over the base&#39;s in 80.0 % of 60 comparisons" in text
    assert "95 % interval (bootstrap over users) 70.0 to 90.0 %" in text
    assert "person 00 (seen): win rate 0.200 of 5, mean margin -0.500" in text
    assert "0.800 (0.700 to 0.900)" in text
    assert len(text) < 150_000


def test_each_figure_of_a_page_is_there_as_png_pdf_and_svg(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, ["experiment=emoji/ppd"])
    made_evaluation(config, folder, 2.0, gain=1.0)
    text = page_of(folder, tmp_path)
    files = {path.name for path in (folder / "figures").iterdir()}
    names = {"training_loss", "training_implicit_accuracy", "win_rates_over_the_base"}
    assert files == {f"{name}.{kind}" for name in names for kind in ("png", "pdf", "svg")}
    assert text.count("<svg") == len(names)
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", text)) == set(), "a dark page has dark figures"


@pytest.mark.usefixtures("without_figure_files")
def test_ids_within_the_figures_of_a_page_are_distinct(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, ["experiment=emoji/ppd"])
    made_evaluation(config, folder, 2.0, gain=1.0)
    ids = re.findall(r' id="([^"]+)"', page_of(folder, tmp_path))
    assert len(ids) > 10
    assert len(set(ids)) == len(ids)


@pytest.mark.usefixtures("without_figure_files")
def test_the_page_of_an_unfinished_run_has_what_there_is(tmp_path: Path) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/ppd"], finished=False)
    text = page_of(folder, tmp_path)
    assert "not finished" in text
    assert "Not evaluated" in text
    assert "Evaluation at" not in text


@pytest.mark.usefixtures("without_figure_files")
def test_the_summaries_of_judge_and_interpolation_are_reported_whatever_their_keys(tmp_path: Path) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/ppd"])
    (folder / "judge-abc").mkdir()
    rate, none = {"rate": 0.76, "low": 0.7, "high": 0.82, "n": 90}, {"rate": None, "low": None, "high": None, "n": 0}
    (folder / "judge-abc/summary.json").write_text(
        json.dumps({"win_rate": {"unseen": rate, "seen": none}, "inconsistent": 17})
    )
    (folder / "interpolation-abc").mkdir()
    (folder / "interpolation-abc/summary.json").write_text('{"rank_correlation": {"clutter": 0.97}}')
    Image.new("RGB", (40, 40)).save(folder / "interpolation-abc/simplex.png")
    text = page_of(folder, tmp_path)
    for words in ("0.760 (0.700 to 0.820)", "inconsistent", "rank correlation, clutter", "Simplex"):
        assert words in text


def test_words_from_outside_are_no_markup() -> None:
    text = as_html(Page("<b>", "&", [Section("<i>", [Text("<script>"), Table("", ["<u>"], [["<s>", 1.0]])])]), {})
    assert not re.search("<(script|u|s|i|b)>", text)
    read(text)


def test_sections_without_blocks_are_left_out() -> None:
    assert "nothing" not in as_html(Page("page", "", [Section("nothing"), Section("some", [Text("words")])]), {})


def test_the_command_of_a_run_has_its_folder_or_is_left_out(tmp_path: Path) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/sft", "objective.t_min=0.25", "shots.n=2", "seed=3"])
    run = read_run_result(folder, RunResolver())
    command = run.command
    assert command is not None
    assert "objective=sft" in command
    assert "objective.t_min=0.25" in command
    run.settings["objective"]["of_another_version"] = 1
    run.settings["objective"]["t_min"] = 0.3
    assert run.command is None


def test_a_folder_of_neither_run_nor_sweep_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.of: .* is no sweep's folder .* and no run's"):
        report.run(compose([f"output={tmp_path}", f"report.of=[{tmp_path}]"]))
    (tmp_path / ".done").touch()  # of a training
    with pytest.raises(UserError, match=r"config\.yaml: missing; run `ppd train`"):
        report.run(compose([f"output={tmp_path}", f"report.of=[{tmp_path}]"]))


@pytest.mark.parametrize("name", ["metrics.csv", "summary.json", "adapter.safetensors"])
def test_a_finished_run_that_lacks_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/ppd"])
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing; run `ppd train`"):
        read_run_result(folder, RunResolver())


def test_a_page_about_a_run_that_cannot_be_written_to_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = made_run(tmp_path, ["experiment=emoji/ppd"])

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(report, "write_page", refused)
        with pytest.raises(UserError, match=r"Read-only file system.*report\.to"):
            page_of(folder, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    report.run(compose([f"output={tmp_path}", f"report.of=[{folder}]", f"report.to={tmp_path / 'elsewhere'}"]))
    assert (tmp_path / "elsewhere/report.html").exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_hostile_names_are_text_in_a_page_its_tables_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hush-hush-token")
    name = "<script>`|](javascript:a)\n# x\x1b[31m\u202e$a_{$ /home/ann/x hush-hush-token " + "y" * 9999
    lines = line_figure(name[:80], [Series(name[:60], [(0, 1), (1, 2)], 0)], x_label=name[:60])
    blocks: list[Block] = [
        Text(name, "headline"),
        Text(name, "command"),
        Table(name, [name, "rate"], [[name, 0.5]], note=name, name="rates"),
        Figures(name, [Drawing("figure", name, lines)]),
    ]
    write_page(tmp_path, Page(name, name, [Section(name, blocks)], [{"methods": [{"name": name}]}]))
    for path in [tmp_path / "report.html", tmp_path / "tables.md", tmp_path / "tables/rates.csv"]:
        text = path.read_text()
        assert not re.search("\x1b|\u202e|/home/ann|hush-hush-token", text), path
    read((tmp_path / "report.html").read_text())
    assert "<script" not in (tmp_path / "report.html").read_text()
    assert not re.search("<script|`|\\]\\(|\\n# ", (tmp_path / "tables.md").read_text())


def test_tables_keep_their_figures_in_every_form() -> None:
    alone = Interval(0.4, math.nan, math.nan, 3)
    rows = [["ppd|sft", Interval(0.5, 0.4123, 0.6, 10)], ["base", None], ["sft", alone]]
    table = Table("Rates", ["method", "rate"], rows)
    assert as_markdown(table).splitlines()[2:] == [
        "| method | rate |",
        "| --- | --- |",
        "| ppd&#124;sft | 0.500 (0.412 to 0.600) |",
        "| base |  |",
        "| sft | 0.400 (none: fewer than 2 to resample) |",
    ]
    assert as_csv(table) == "method,rate,rate low,rate high,rate n\nppd|sft,0.5,0.4123,0.6,10\nbase,,,,\nsft,0.4,,,3\n"


@pytest.mark.parametrize(
    ("number", "words"), [(1600, "1,600"), (0.8, "0.800"), (0.6931471, "0.693"), (0.002, "0.002"), (float("nan"), "-")]
)
def test_numbers_have_as_many_digits_as_they_need(number: float, words: str) -> None:
    assert formatted(number) == rounded(number) == words


def test_levels_are_round_and_within() -> None:
    assert round_levels(0.953, 1.0, 4) == [0.96, 0.97, 0.98, 0.99, 1.0]
    assert round_levels(0, 1000, 4) == [0, 250, 500, 750, 1000]
    assert round_levels(2, 2, 4) == [2]


def test_images_are_small_and_missing_files_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.effect_noise((1000, 600), 90).save(tmp_path / "large.png")
    found = image_url(tmp_path / "large.png")
    assert found is not None
    assert len(found) < 40_000
    with caplog.at_level("WARNING"):
        assert [image_url(tmp_path / name) for name in ("missing.png", "gone.png")] == [None, None]
    [record] = caplog.records
    assert "images are missing" in record.getMessage()
    (tmp_path / "damaged.png").write_bytes(b"PNG")
    with pytest.raises(UserError, match=r"damaged.png: damaged .*; run `ppd evaluate`"):
        image_url(tmp_path / "damaged.png")


def test_few_shot_choices_are_those_that_the_embeddings_were_made_of(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, ["experiment=emoji/ppd", "shots.n=2"])
    assert FewShotImages(read_run_result(folder, RunResolver())).of(["ann"]) == {}, "no data, no choices"
    colours = dict(zip("abcd", ["red", "green", "blue", "black"], strict=True))
    made_choices(config, colours, {"ann": ["a", "c"], "bo": ["b", "d"]})
    found = FewShotImages(read_run_result(folder, RunResolver())).of(["bo", "ann", "nobody"])
    assert {user: [picture.getpixel((0, 0)) for picture in pictures] for user, pictures in found.items()} == {
        "ann": [(255, 0, 0), (0, 0, 255)],
        "bo": [(0, 128, 0), (0, 0, 0)],
    }
