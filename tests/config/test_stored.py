"""What files hold of a configuration, and what their readers get."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppd_lightning.config.compose import as_yaml, compose, read_config
from ppd_lightning.config.stored import WITHHELD, stored_values
from ppd_lightning.errors import UserError

SETTINGS = (
    "experiment=emoji/demo",
    "logger.project='${oc.env:PLANTED}'",
    "output='/data/${oc.env:PLANTED}'",
    "report.of=['${output}/runs/x','${logger.project}']",
    "judge.base_url='https://ann:s3cret@host/v1?sig=s1gned'",
    "generation.captions=['a \\${b} c']",
)


def test_secrets_are_not_in_the_file_and_its_reader_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "hush-hush")
    monkeypatch.setenv(WITHHELD, "{}")
    config = compose(SETTINGS)
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml(config))
    assert not any(secret in path.read_text() for secret in ("hush", "s3cret", "s1gned"))
    assert config.report.of == ["/data/hush-hush/runs/x", "hush-hush"]
    assert read_config(path) == config  # in this process, and in those that it starts
    assert as_yaml(read_config(path)) == path.read_text()
    assert stored_values(config)["report"]["of"] == ["${output}/runs/x", "${logger.project}"]
    monkeypatch.setenv(WITHHELD, "{}")
    assert read_config(path).judge.base_url == "https://***@host/v1?***"  # type: ignore[attr-defined]


def test_a_variable_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "hush-hush")
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml(compose(SETTINGS)))
    monkeypatch.delenv("PLANTED")
    with pytest.raises(UserError, match=r"config\.yaml: logger\.project: Environment variable 'PLANTED' not found"):
        read_config(path)
    assert read_config(path, complete=False).output == "/data/${oc.env:PLANTED}"
