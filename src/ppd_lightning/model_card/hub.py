"""An export on the model hub.

Who is logged in is the hub client's business (`hf auth login`, or the variable HF_TOKEN): no setting holds a token, and
none is written.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ppd_lightning.errors import UserError

LETTERS = 400
"""Of what the hub says, at most; its second line says more than its first."""


def push(folder: Path, files: Collection[str], name: str, *, private: bool) -> str:
    """Upload files of a folder to a repository, which is made where it is not there, and give the commit's URL.

    Args:
        files: by their paths from the folder; what else lies there (of a studio that ran in it, say) stays here.
        name: OWNER/NAME.
        private: whether a new repository is.

    Raises:
        UserError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi  # half a second, which checking a configuration does not need

    try:
        hub = HfApi()
        hub.create_repo(name, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=name, folder_path=folder, allow_patterns=sorted(files), commit_message="Export of ppd"
        )
        return str(commit.commit_url)
    except Exception as error:  # of the hub's client, of its HTTP library, of the network
        reason = " ".join(str(error).split())[:LETTERS] or type(error).__name__
        raise UserError(
            f"export.push: {name} was not uploaded ({reason}); see that the hub can be reached, log in by `hf auth "
            f"login` or HF_TOKEN as somebody who may write there, and run `ppd export` again; {folder} is whole"
        ) from None
