"""A model that was trained on few captions says which of yours it was not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppd_lightning.backbones.known_captions import remark_on_unknown
from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.worlds.emoji.concepts import shipped_concepts


@pytest.mark.parametrize("model", ["emoji", "emoji_flow"])
def test_captions_that_the_emoji_models_do_not_know_are_named(model: str, caplog: pytest.LogCaptureFixture) -> None:
    backbone = Workspace(compose([f"model={model}"])).backbone
    strange = [f"a dog on skateboard {number}" for number in range(7)]
    assert remark_on_unknown(backbone, [*shipped_concepts(100), *strange, strange[0]], "generation.captions") == strange
    (message,) = caplog.messages
    assert "generation.captions: model=emoji" in message
    assert "7 of 107 captions" in message
    assert "'a dog on skateboard 4' and 2 more" in message


def test_known_captions_and_other_models_are_no_occasion(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    concepts = shipped_concepts(100)
    backbone = Workspace(compose([])).backbone
    assert remark_on_unknown(backbone, concepts, "data") == []
    assert remark_on_unknown(backbone, [f" {name.title().replace(' ', '  ')}" for name in concepts], "data") == []
    for settings in (["model=sdxl"], [f"model.path={tmp_path}"]):
        assert remark_on_unknown(Workspace(compose(settings)).backbone, ["a dog"], "data") == []
    assert not caplog.messages
