"""What is said of the released models, and of the one that ships: sizes, origins, terms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests import tiny

import ppd_lightning
from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.stage_c import CODEC_HUB, PRIOR_HUB, StageC
from ppd_lightning.worlds.emoji.vendors import credits_text


def test_latents_of_the_released_sizes() -> None:
    assert tiny.stage_c("nowhere").latent_shape(768) == (16, 24, 24)
    assert tiny.backbone().latent_shape(64) == (16, 8, 8)


@pytest.mark.parametrize(
    ("size", "decoder", "faulty"),
    [(64, "full", True), (64, "preview", False), (768, "full", False), (128, "full", False)],
)
def test_a_size_that_stage_b_cannot_halve_is_one_sentence(size: int, decoder: str, faulty: bool) -> None:
    faults = tiny.stage_c("nowhere").size_faults(size, decoder)
    assert [fault.partition(":")[0] for fault in faults] == ["data.image_size"] * faulty
    assert tiny.backbone().size_faults(size, decoder) == []


@pytest.mark.parametrize(
    ("path", "hub"),
    [("someone/cascade", "someone/cascade"), ("cascade", None), (None, None), (str(Path(__file__).parent), None)],
)
def test_a_folder_of_this_machine_is_no_name_on_the_hub(path: str | None, hub: str | None) -> None:
    model = StageC(**tiny.MODEL | {"name": "stage_c", "path": path, "arithmetic": "stock"})
    assert model.hub_name == hub
    facts = model.card_facts()
    assert facts.front_matter["base_model"] == facts.base == (hub or PRIOR_HUB)
    assert f"`prior/` of [{hub or PRIOR_HUB}]" in facts.origin
    assert facts.codec == CODEC_HUB


def test_the_terms_are_those_of_each_model() -> None:
    released, shipped = tiny.stage_c("nowhere").card_facts(), tiny.backbone().card_facts()
    assert released.front_matter["license_name"] == "stable-cascade-nc-community"
    assert "non-commercial research only" in released.licence[0]
    assert released.credits == ()
    assert shipped.front_matter == {"license": "cc-by-sa-4.0"}
    assert list(shipped.credits) == credits_text().splitlines()
    assert any("fp16" in limit for limit in released.limits)


def test_where_a_local_base_lies_is_not_said(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    facts = tiny.backbone(tmp_path / "base").card_facts()
    assert "was `base`" in facts.origin
    assert str(tmp_path) not in repr(facts)


@pytest.mark.parametrize("model", [tiny.backbone(), tiny.stage_c("nowhere", name="stage_c")], ids=lambda one: one.name)
def test_every_decoder_and_the_encoder_are_parts(model: Backbone) -> None:
    assert {"prior", "text_encoder", "tokenizer", "scheduler", "encoder", *model.decoder_parts.values()} <= {
        *model.parts
    }


def test_nothing_needs_what_diffusers_no_longer_maintains() -> None:
    """Its pipelines of Stable Cascade and the modules of Wuerstchen; the networks and the scheduler it keeps."""
    for file in Path(ppd_lightning.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffusers"):
                assert "pipelines" not in (node.module or ""), file
                pipelines = [alias.name for alias in node.names if alias.name.endswith("Pipeline")]
                assert not any("Cascade" in name or "Wuerstchen" in name for name in pipelines), file
