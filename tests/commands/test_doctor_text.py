"""What `ppd doctor` says of the text store before there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.handmade import rows, write

from ppd_lightning.commands import doctor
from ppd_lightning.config.compose import compose


def said(source: Path, *settings: str) -> str:
    config = compose(["data=pickapic", f"data.root={source}", "user.encoder=codec", "data.image_size=512", *settings])
    (finding,) = doctor._text(config)
    assert not finding.remedies
    return finding.found


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (("model=stage_c",), "0.20 MB"),
        (("model=sd15",), "0.12 MB"),
        (("model=sdxl",), "0.32 MB"),
        (("model=sd35_medium",), "2.42 MB"),
        (("model=sd35_medium", "model.text_tokens=77"), "0.95 MB"),
        (("model=sd35_medium", "model.t5=false"), "0.32 MB"),
    ],
)
def test_a_caption_costs_what_the_states_of_the_model_take(
    tmp_path: Path, settings: tuple[str, ...], size: str
) -> None:
    assert said(tmp_path, *settings, f"model.path={tmp_path}") == f"{size} a caption in fp16"


def test_the_shipped_model_is_measured_by_its_configuration() -> None:
    config = compose(["experiment=emoji/ppd"])
    states = config.model.load_text()(["a red cat"])
    assert config.model.caption_numbers == sum(part[0].numel() for part in states.values())
    assert next(iter(doctor._text(config))).found.startswith("4.6 kB a caption in fp32")


def test_captions_are_counted_where_their_files_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rows()
    write(tmp_path / "source", made)
    count = len({row["caption"] for row in made})
    settings = ("model=sdxl", f"model.path={tmp_path}", f"output={tmp_path}")
    all_of_them = f"{0.317952 * count:.2f} MB for {count} captions"
    assert said(tmp_path / "source", *settings) == f"0.32 MB a caption in fp16, {all_of_them}"
    monkeypatch.setattr(doctor, "LARGE_STORE", 1e6)
    hint = "; trainer.text=computed stores none and computes them in each step"
    assert said(tmp_path / "source", *settings).endswith(hint)
    computed = said(tmp_path / "source", *settings, "trainer.text=computed")
    assert computed.startswith("none are stored (0.32 MB a caption")
