"""An export is uploaded by the hub's client, which a local fake stands for; its token is nobody else's business."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from tests.model_card.fake_hub import Hub

from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.model_card.hub import push


def test_it_goes_to_a_repository_that_is_made_or_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export/README.md").write_text("a card")
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    assert push(tmp_path / "export", "ann/new", private=True) == "https://hub.invalid/ann/new/commit/1"
    push(tmp_path / "export", "ann/old", private=True)
    assert hub.made == {"ann/old": False, "ann/new": True}
    assert (tmp_path / "hub/ann/new/README.md").read_text() == "a card"


def test_a_refusal_says_what_to_do_and_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    refusal = RuntimeError("401: hf_secretsecretsecret is no token of ann\nand more")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(tmp_path, refusal))
    with pytest.raises(UserError) as failure:
        push(tmp_path, "ann/new", private=True)
    [fault] = failure.value.faults
    assert fault.startswith("export.push: ann/new was not uploaded (401: *** is no token of ann); log in by")
    assert f"{tmp_path} is whole" in fault


def test_a_name_that_is_none_is_refused_before_the_work() -> None:
    with pytest.raises(UserError, match=r"export\.push: "):
        compose(["export.push=apples"])
