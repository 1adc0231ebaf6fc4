"""An export on the model hub.

Who is logged in is the hub client's business (`hf auth login`, or the variable HF_TOKEN): no setting holds a token, and
none is written.
"""

from __future__ import annotations

from pathlib import Path

from ppd_lightning.errors import UserError


def push(folder: Path, name: str, *, private: bool) -> str:
    """Upload a folder's files to a repository, which is made where it is not there, and give the commit's URL.

    Args:
        name: OWNER/NAME.
        private: whether a new repository is.

    Raises:
        UserError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi  # half a second, which checking a configuration does not need

    try:
        hub = HfApi()
        hub.create_repo(name, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of ppd").commit_url)
    except Exception as error:  # of the hub's client, of its HTTP library, of the network
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"export.push: {name} was not uploaded ({reason}); log in by `hf auth login` or HF_TOKEN as somebody who "
            f"may write there, and run `ppd export` again; {folder} is whole"
        ) from None
