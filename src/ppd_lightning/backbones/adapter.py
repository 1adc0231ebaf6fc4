"""The trained result as a file: the user branch in safetensors, with its configuration and its base in the metadata."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from ppd_lightning.backbones.adapter_file import AGAIN, read_adapter, write_adapter
from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.base_fingerprint import base_fingerprint
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.errors import UserError

__all__ = [
    "adapter_base",
    "adapter_metadata",
    "adapter_width",
    "base_fingerprint",
    "copy_adapter",
    "load_adapter",
    "save_adapter",
]


def save_adapter(branch: UserBranch, path: Path, *, base: str, **metadata: Any) -> None:
    """Write the branch to `path`, whole or not at all; the same branch and metadata give the same bytes.

    The file's one metadata entry is JSON: `format`, `version` of this package, `branch` (what `Backbone.attach`
    takes), `base`, `metadata` and a checksum (`storage.checked_tensors`).

    Args:
        branch: what was trained.
        path: ends in .safetensors; missing parent folders are made.
        base: `base_fingerprint` of the network it was trained on.
        metadata: what else to keep with it (JSON values), such as the `configuration` of the run.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in branch.state_dict().items()}
    write_adapter(
        path,
        tensors,
        {
            "branch": branch.config,
            "base": base,
            "metadata": metadata,
            "version": version("ppd-lightning"),
        },
    )


def copy_adapter(source: Path, target: Path, **metadata: Any) -> None:
    """Write the adapter of `source` to `target` too, with these metadata beside or instead of those that it has.

    Raises:
        UserError: `source` is no adapter, or damaged.
    """
    tensors, header = read_adapter(source)
    write_adapter(
        target,
        tensors,
        {
            **header,
            "metadata": header["metadata"] | metadata,
            "version": version("ppd-lightning"),
        },
    )


def load_adapter(backbone: Backbone, network: nn.Module, path: Path) -> UserBranch:
    """Attach the branch of `path` to the network that it was trained on.

    Args:
        backbone: whose network it is; the branch's settings are the file's.
        network: with stock attention.
        path: of the adapter.

    Raises:
        UserError: no such file, not an adapter, damaged, or made for another base.
    """
    tensors, header = read_adapter(path)
    found = base_fingerprint(network)
    if header["base"] != found:
        raise UserError(
            f"{path}: trained on the base {header['base']}, this one is {found}; load the base it belongs to"
        )
    try:
        branch = backbone.attach(network, **{"token_width": "network"} | header["branch"])  # older files do not say it
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); {AGAIN}") from None
    expected = {name: tuple(tensor.shape) for name, tensor in branch.state_dict().items()}
    found_shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    others = sorted(name for name, _ in expected.items() ^ found_shapes.items())
    if others:
        branch.detach()
        raise UserError(
            f"{path}: its weights do not fit their own configuration, such as {others[0]}: expected "
            f"{expected.get(others[0], 'none')}, found {found_shapes.get(others[0], 'none')}; {AGAIN}"
        )
    branch.load_state_dict(tensors)
    return branch


def adapter_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `save_adapter` wrote."""
    metadata: dict[str, Any] = read_adapter(path)[1]["metadata"]
    return metadata


def adapter_width(path: Path) -> int:
    """E, the width of the user embeddings that it takes."""
    return int(read_adapter(path)[1]["branch"]["embedding_dim"])


def adapter_base(path: Path) -> str:
    """The fingerprint of the network that the branch was trained on."""
    return str(read_adapter(path)[1]["base"])
