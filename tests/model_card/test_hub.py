"""An export is uploaded by the hub's client, which a local fake stands for; its token is nobody else's business."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from pydantic import ValidationError
from tests.model_card.fake_hub import Hub

from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.model_card.hub import push
from ppd_lightning.model_card.settings import Export


def test_it_goes_to_a_repository_that_is_made_or_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export/README.md").write_text("a card")
    (tmp_path / "export/collected.csv").write_text("of a studio that ran here")
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    assert push(tmp_path / "export", ["README.md"], "ann/new", private=True) == "https://hub.invalid/ann/new/commit/1"
    push(tmp_path / "export", ["README.md"], "ann/old", private=True)
    assert hub.made == {"ann/old": False, "ann/new": True}
    assert (tmp_path / "hub/ann/new/README.md").read_text() == "a card"
    assert [path.name for path in (tmp_path / "hub/ann/new").iterdir()] == ["README.md"]


def test_a_refusal_says_what_to_do_and_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    refusal = RuntimeError("401: hf_secretsecretsecret is no token of ann\nand more")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(tmp_path, refusal))
    with pytest.raises(UserError) as failure:
        push(tmp_path, [], "ann/new", private=True)
    [fault] = failure.value.faults
    assert fault.startswith("export.push: ann/new was not uploaded (401: *** is no token of ann and more); see that")
    assert f"{tmp_path} is whole" in fault


@pytest.mark.parametrize("name", ["apples", "ann/", "ann/-a", "ann/a.", "a/a--b", "a/a..b", "a/a.git", "ä/b", "a/b/c"])
def test_a_name_that_is_none_is_refused_before_the_work(name: str) -> None:
    with pytest.raises(ValidationError, match="the model hub has OWNER/NAME"):
        Export(push=name, private=True)


def test_its_message_names_the_key() -> None:
    with pytest.raises(UserError, match=r"export\.push: apples is refused, the model hub has OWNER/NAME"):
        compose(["export.push=apples"])
    assert compose(["export.push=a/b_c.d-1"]).export.push == "a/b_c.d-1"
