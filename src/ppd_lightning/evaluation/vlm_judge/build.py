"""The judge that the settings name."""

from __future__ import annotations

import torch

from ppd_lightning.config.schemas import OpenaiJudge, VisionJudge, VlmJudge
from ppd_lightning.evaluation.vlm_judge.judge import Judge
from ppd_lightning.run.errors import UserError


def build_judge(settings: VisionJudge, device: torch.device, described_by: str | None = None) -> Judge:
    """The judge, not asked anything yet; no weights are loaded and no network is used.

    Args:
        device: where a model of this machine runs.
        described_by: folder or hub name of the vision-language model that describes the users, where one does.

    Raises:
        UserError: settings or files are missing, or it is the model that describes the users, which would judge its
            own work: the paper has another one.
    """
    judge = _judge(settings, device)
    if described_by is not None and judge.is_model(described_by):
        raise UserError(
            f"{judge.model_key}: {judge.model} describes the users (user.path) and would judge its own work; take "
            "another model"
        )
    return judge


def _judge(settings: VisionJudge, device: torch.device) -> Judge:
    if isinstance(settings, OpenaiJudge):
        from ppd_lightning.evaluation.vlm_judge.openai_client import EndpointJudge

        return EndpointJudge(settings)
    assert isinstance(settings, VlmJudge)
    from ppd_lightning.evaluation.vlm_judge.local_model import LocalJudge

    return LocalJudge(settings, device)
