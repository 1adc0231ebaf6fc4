"""The trained result as a file: the user branch in safetensors, with its configuration and its base in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.base_fingerprint import base_fingerprint
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.backbones.weights import read_safetensors
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path

__all__ = ["adapter_base", "adapter_metadata", "base_fingerprint", "copy_adapter", "load_adapter", "save_adapter"]

FORMAT = "user branch 1"
ENTRY = "ppd_lightning"
"""The key of the one entry in a file's metadata: safetensors writes several in an order of its own each time."""


def save_adapter(branch: UserBranch, path: Path, *, base: str, **metadata: Any) -> None:
    """Write the branch to `path`, whole or not at all; the same branch and metadata give the same bytes.

    The file's one metadata entry is JSON: `format`, `version` of this package, `branch` (what `Backbone.attach`
    takes), `base` and `metadata`.

    Args:
        branch: what was trained.
        path: ends in .safetensors; missing parent folders are made.
        base: `base_fingerprint` of the network it was trained on.
        metadata: what else to keep with it (JSON values), such as the `configuration` of the run.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in branch.state_dict().items()}
    _write(path, tensors, {"branch": branch.config, "base": base, "metadata": metadata})


def copy_adapter(source: Path, target: Path, **metadata: Any) -> None:
    """Write the adapter of `source` to `target` too, with these metadata beside or instead of those that it has.

    Raises:
        UserError: `source` is no adapter, or damaged.
    """
    tensors, header = _read(source)
    _write(target, tensors, {**header, "metadata": header["metadata"] | metadata})


def load_adapter(backbone: Backbone, network: nn.Module, path: Path) -> UserBranch:
    """Attach the branch of `path` to the network that it was trained on.

    Args:
        backbone: whose network it is; the branch's settings are the file's.
        network: with stock attention.
        path: of the adapter.

    Raises:
        UserError: no such file, not an adapter, damaged, or made for another base.
    """
    tensors, header = _read(path)
    found = base_fingerprint(network)
    if header["base"] != found:
        raise UserError(
            f"{path}: trained on the base {header['base']}, this one is {found}; load the base it belongs to"
        )
    branch = backbone.attach(network, **{"token_width": "network"} | header["branch"])  # older files do not say it
    try:
        branch.load_state_dict(tensors)
    except RuntimeError as error:
        branch.detach()
        raise UserError(f"{path}: the weights do not fit their own configuration ({error})") from None
    return branch


def adapter_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `save_adapter` wrote."""
    metadata: dict[str, Any] = _read(path)[1]["metadata"]
    return metadata


def adapter_base(path: Path) -> str:
    """The fingerprint of the network that the branch was trained on."""
    return str(_read(path)[1]["base"])


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    if not path.is_file():
        raise UserError(f"{path}: no such adapter; train one with `ppd train` or give another path")
    tensors, metadata = read_safetensors(path)
    header = json.loads(metadata.get(ENTRY, "{}"))
    if header.get("format") != FORMAT:
        raise UserError(f"{path}: a safetensors file, but not an adapter of this framework")
    return tensors, header


def _write(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    header = {**header, "format": FORMAT, "version": version("ppd-lightning")}
    with atomic_path(path) as unfinished:
        save_file(dict(tensors), unfinished, metadata={ENTRY: json.dumps(header, sort_keys=True)})
