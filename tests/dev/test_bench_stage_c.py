"""The benchmark of the training step, tried out on tiny networks: its plan, its arithmetic, and every line of it."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ppd_lightning.config.compose import compose

BENCH = Path(__file__).parents[2] / "experiments/bench"


@pytest.fixture
def stage_c(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("stage_c")


def report(stage_c: ModuleType, folder: Path, *arguments: str) -> dict[str, Any]:
    stage_c.main(["--tiny", "--output", str(folder), *arguments])
    return json.loads((folder / "bench/stage_c.json").read_text())


def test_a_line_begins_only_while_there_is_time_and_what_is_left_out_is_named(
    stage_c: ModuleType, tmp_path: Path
) -> None:
    found = report(stage_c, tmp_path, "--seconds", "0")
    assert found["lines"] == []
    assert len(found["left_out"]) == len(stage_c.PLAN)
    assert "not left of --seconds" in found["left_out"][0]["left_out"]
    assert [line.way for line in stage_c.PLAN[:2]] == ["plain", "ours"], "the baseline comes first"


@pytest.mark.long
def test_attention_is_counted(stage_c: ModuleType) -> None:
    """By hand for Stage C: each of its blocks' linear layers, convolutions and attention, of both images of a pair."""
    import random_models

    model = random_models.TINY["stage_c_lite"]
    config = compose(["model=stage_c_lite", "model.path=none"])
    flops = random_models.flops_a_pair(config, model)
    small = random_models.Model(model.model, model.make, (16, 3, 3), model.text, model.embedding)
    fewer = random_models.flops_a_pair(config, small)
    blocks, width, text = 6, 32, 5 + 4 + 4  # tokens of the captions, the pooled state and the absent picture

    def attention(positions: int, keys: int) -> int:
        return 2 * blocks * 2 * 2 * positions * keys * width

    # All else grows with the positions; what is of the text and of the time alone does not.
    quadratic = attention(36, 36 + text) - 4 * attention(9, 9 + text)
    rest = flops.reference - 4 * fewer.reference - quadratic
    constant = -rest // 3
    assert rest == -3 * constant
    assert 0 < constant < fewer.reference
    assert flops.policy - flops.reference > attention(36, 4)


@pytest.mark.long
def test_every_line_of_the_plan_on_tiny_networks(stage_c: ModuleType, tmp_path: Path) -> None:
    found = report(stage_c, tmp_path, "--steps", "2", "--rounds", "1")
    lines = {(line["network"], line["way"]): line for line in found["lines"]}
    assert not found["left_out"]
    assert lines.keys() == {(line.network, line.way) for line in stage_c.PLAN}
    for (_, way), line in lines.items():
        if way.startswith("profile"):
            assert line["ms"] > 0
            continue
        assert line["pairs_per_second"] > 0
        if way != "plain":
            assert line["step0_is_ln2"], f"{line['step0_loss']} is not {math.log(2)}"
        if way.startswith("ours"):
            assert line["noise"] == 0
            assert {"policy", "loss and backward", "optimizer, batch and draws"} <= line["ms"].keys()
            assert ("reference" in line["ms"]) is ("stored" not in way)
    assert {"stage_c_lite, ours, 2", "sdxl_512, ours, 2", "sd35_medium, ours, 2"} <= found["over_plain"].keys()
