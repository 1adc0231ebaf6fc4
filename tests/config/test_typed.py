"""A path or a text stands on the command line as it is; Hydra's own ways to write it work too."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppd_lightning.cli import main
from ppd_lightning.config.compose import compose, compose_runs
from ppd_lightning.config.overrides import sweep_runs
from ppd_lightning.config.typed import quoted, read_override

OUTPUTS = {
    "/data/run=1/x": "/data/run=1/x",
    "/data/Übung": "/data/Übung",
    "/a,b": "/a,b",
    "/a[b": "/a[b",
    "[a]": "[a]",
    r"C:\x": r"C:\x",
    r"/ends\\": "/ends\\",
    "it's (mine)!": "it's (mine)!",
    "1e5": "1e5",
    "007": "007",
    "true": "true",
    "'/quoted,text'": "/quoted,text",
    '"/it\'s"': "/it's",
    "a  b": "a  b",
}


@pytest.mark.parametrize("typed", OUTPUTS)
def test_a_path_is_taken_as_it_was_typed(typed: str) -> None:
    assert compose([f"output={typed}"]).output == OUTPUTS[typed]


@pytest.mark.parametrize("text", ["'", "\\", "\\'", "a\\\\'b\\", "\\\\", '"', "${x", "é\n", ""])
def test_any_text_can_be_quoted(text: str) -> None:
    assert read_override(f"output={quoted(text)}", several=True)[1].value() == text


def test_items_of_lists_are_texts_too() -> None:
    config = compose(["generation.users=[José, 007, 1e5, [{user: Ann!, weight: 0.3}, {user: 'b,c', weight: 0.7}]]"])
    assert config.generation.users is not None
    *names, blend = config.generation.users
    assert names == ["José", "007", "1e5"]
    assert [(share.user, share.weight) for share in blend if not isinstance(share, str)] == [
        ("Ann!", 0.3),
        ("b,c", 0.7),
    ]
    assert compose(["generation.captions=A cup!"]).generation.captions == "A cup!"
    assert compose(["generation.captions=[A cup!, it's]"]).generation.captions == ["A cup!", "it's"]


def test_a_home_folder_is_expanded_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = compose(
        [
            *("output=~/runs", "data=folder", "data.table=~/pairs.csv", "data.image_size=64", "model.path=~"),
            *("evaluation.captions=~/c.txt", "generation.people=[~/p.safetensors]", "report.of=[~/a]", "report.to=~/b"),
            *("reward=clip", "rewards.clip.weights.model=~/w", "user=stated", "user.texts=~/t.json"),
        ]
    )
    found = [
        *(config.output, config.data.table, config.model.path, config.evaluation.captions),
        *(*config.generation.people, *(config.report.of or []), config.report.to),
        *(config.rewards["clip"].weights["model"], config.user.texts),
    ]
    assert [str(Path(str(path)).relative_to(tmp_path)) for path in found] == [
        *("runs", "pairs.csv", ".", "c.txt", "p.safetensors", "a", "b", "w", "t.json")
    ]
    (tmp_path / "mine/objective").mkdir(parents=True)
    (tmp_path / "mine/objective/mine.yaml").write_text("defaults: [ppd]\nbeta: 7\n")
    assert main(["validate", "--config-dir=~/mine", "objective=mine"]) == 0


def test_with_a_sweep_commas_separate_and_quotes_hold_together() -> None:
    runs = sweep_runs(["output=/a=1,'/b,ü'", "generation.users=[José],[ann,bob]"])
    configs = [run.config for run in compose_runs(runs)]
    assert [config.output for config in configs] == ["/a=1", "/a=1", "/b,ü", "/b,ü"]
    assert [config.generation.users for config in configs][:2] == [["José"], ["ann", "bob"]]
