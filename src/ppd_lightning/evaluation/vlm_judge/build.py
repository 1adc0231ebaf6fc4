"""The judge that the configuration asks for."""

from __future__ import annotations

from ppd_lightning.config.schemas import Config, OpenaiJudge, StatedUser, VlmJudge, VlmUser
from ppd_lightning.evaluation.vlm_judge.judge import AskedModel
from ppd_lightning.run.errors import UserError
from ppd_lightning.users.vlm_files import vlm_fingerprint, vlm_folder


def open_judge(config: Config) -> AskedModel:
    """The judge, not asked anything yet; nothing is loaded and no network is used.

    Raises:
        UserError: settings or files are missing, or it is the model that describes the users, which would judge its
            own work: the paper has another one.
    """
    settings, described_by = config.judge, _describing_model(config)
    if isinstance(settings, OpenaiJudge):
        from ppd_lightning.evaluation.vlm_judge.openai_client import Endpoint

        endpoint = Endpoint(settings)
        if described_by is not None and _short(str(settings.model)) == _short(described_by):
            raise UserError(_same("judge.model", str(settings.model)))
        return endpoint
    assert isinstance(settings, VlmJudge)
    from ppd_lightning.evaluation.vlm_judge.local_model import LocalJudge

    local = LocalJudge(config, settings)
    if described_by is not None and local.model == vlm_fingerprint(vlm_folder(described_by)):
        raise UserError(_same("judge.path", settings.path))
    return local


def _describing_model(config: Config) -> str | None:
    """The vision-language model that describes the users, where one does."""
    user = config.user
    if isinstance(user, VlmUser) or (isinstance(user, StatedUser) and user.reader == "vlm"):
        return user.path
    return None


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def _same(key: str, name: str) -> str:
    return f"{key}: {name} describes the users (user.path) and would judge its own work; take another model"
