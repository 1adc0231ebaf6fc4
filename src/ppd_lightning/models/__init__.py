"""The prior with its user branch, the codec and the text encoder."""

from ppd_lightning.models.adapter import load_adapter, save_adapter
from ppd_lightning.models.user_branch import UserBranch, attach_user_branch

__all__ = ["UserBranch", "attach_user_branch", "load_adapter", "save_adapter"]
