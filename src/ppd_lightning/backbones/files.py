"""Which files make up a model, where they come from and under what licence; finding them in a folder or on the hub.

A part can be stored in several ways (bf16 beside fp32, diffusers' folders beside the files of the original repository);
the first way whose files are all there is taken.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppd_lightning.errors import UserError

UNET = "diffusion_pytorch_model"
"""How diffusers calls the weights of a network, without the ending."""

HUB_TIMEOUT = 5.0
"""Seconds in which the model hub must answer."""

NETWORK_VARIABLES = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
"""What decides how the model hub is reached."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Files of weights that are never read, for opening them can run code."""


@dataclass(frozen=True)
class ModelPart:
    """One part of a model.

    ways: each is a set of files that is enough, relative to the model's folder; the first is the usual one.
    hub: the repository on the model hub that has the usual files; empty for a part that ships with the project.
    size: of the usual files. licence: what the released files may be used for.
    of_codec: whether it lies in the codec's folder, where that is another one.
    instead: how to do without it, in words that begin a clause; empty for a part that is needed in any case.
    """

    ways: tuple[tuple[str, ...], ...]
    hub: str = ""
    size: str = ""
    licence: str = ""
    of_codec: bool = False
    instead: str = ""


def network_files(
    folder: str, weights: str = UNET, kinds: tuple[str, ...] = ("", ".bf16")
) -> tuple[tuple[str, ...], ...]:
    """The ways in which a network is stored in diffusers' and transformers' layout: fp32 first, then bf16.

    Args:
        folder: of the network.
        weights: how the file of weights is called.
        kinds: what is put before the ending for each precision, in the order in which they are looked for.
    """
    return tuple((f"{folder}/config.json", f"{folder}/{weights}{kind}.safetensors") for kind in kinds)


def sharded_files(folder: str, weights: str = UNET, shards: int = 2, kind: str = "") -> tuple[str, ...]:
    """The files of a network whose weights lie in several files, in diffusers' and transformers' layout.

    Args:
        folder: of the network.
        weights: how the files of weights are called.
        shards: their number.
        kind: such as ".fp16".
    """
    pieces = (f"{weights}{kind}-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1))
    return tuple(f"{folder}/{name}" for name in ("config.json", f"{weights}.safetensors.index{kind}.json", *pieces))


def find(part: ModelPart, folder: Path) -> list[Path]:
    """The files of a part in a folder, in the order of the way that is complete; empty where none is."""
    for way in part.ways:
        if all((folder / name).is_file() for name in way):
            return [folder / name for name in way]
    return []


def absent(part: ModelPart, folder: Path) -> list[str]:
    """The files that a part lacks, of the way that most is there of; none where a way is complete."""
    ways = [[name for name in way if not (folder / name).is_file()] for way in part.ways]
    return max(zip(part.ways, ways, strict=True), key=lambda pair: (not pair[1], len(pair[0]) - len(pair[1])))[1]


def missing(key: str, part: ModelPart, folder: Path) -> list[str]:
    """One sentence on the files that a part lacks; none where it is complete."""
    files = absent(part, folder)
    if not files:
        return []
    remedy = "this part ships with the project and is made anew by `make base`"
    if part.hub:
        remedy = f"get this part from {part.hub} on the model hub ({part.size}; {part.licence})"
        if part.of_codec and key == "model.path":
            remedy += ", or name its folder as model.codec_path"
        if part.instead:
            remedy += f", or {part.instead}"
    there = f"{folder} lacks" if folder.is_dir() else f"there is no folder {folder} with"
    return ["; ".join([f"{key}: {there} {' and '.join(files)}", remedy, *pickled(files, folder)])]


def pickled(files: Sequence[str], folder: Path) -> list[str]:
    """A sentence for each file that holds the weights of a missing one in a form that is not read."""
    return [
        f"{other} is not read, for opening a pickle can run code: weights must be .safetensors"
        for name in files
        if name.endswith(".safetensors")
        for other in sorted((folder / name).parent.glob("*"))
        if other.suffix in PICKLES and other.stem in (Path(name).stem, "pytorch_model")
    ]


def read_json(file: Path) -> dict[str, Any]:
    """The configuration of a part.

    Raises:
        UserError: the file is damaged.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("not a mapping")
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: damaged, or not what its name says ({error}); fetch or make it again") from None
    return values


def is_hub_name(path: str) -> bool:
    """Whether a path is OWNER/NAME on the model hub: it looks like that, and there is no such folder here."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path) is not None and not Path(path).is_dir()


def local_folder(key: str, path: str, parts: Sequence[ModelPart]) -> Path:
    """The folder that `path` names, or the hub's snapshot of these parts where it names none.

    What was fetched before is taken without asking the hub again.

    Raises:
        UserError: it looks like a name on the hub, and the hub cannot be reached or does not know it.
    """
    import huggingface_hub  # half a second, which checking a configuration does not need

    folder = Path(path).expanduser()
    if not is_hub_name(path):
        return folder
    try:
        fetched = {_fetched(path, part) for part in parts}
        if len(fetched) == 1 and None not in fetched:
            return next(folder for folder in fetched if folder)
        listed = {
            file.rfilename for file in huggingface_hub.HfApi().model_info(path, timeout=HUB_TIMEOUT).siblings or ()
        }
        ways = [next((way for way in part.ways if listed.issuperset(way)), ()) for part in parts]
        return Path(huggingface_hub.snapshot_download(path, allow_patterns=[name for way in ways for name in way]))
    except Exception as error:  # of the hub's client, of its HTTP library, of the network
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{key}: there is no folder {path} here, and the model hub has no answer for that name ({reason}"
            f"{_network_settings()}); give the folder with the released files"
        ) from None


def _network_settings() -> str:
    """The environment variables that decide how the hub is reached, where some are set."""
    found = [name for name in NETWORK_VARIABLES if os.environ.get(name)]
    return f"; {' and '.join(found)} {'is' if len(found) == 1 else 'are'} set" if found else ""


def _fetched(path: str, part: ModelPart) -> Path | None:
    """The hub's snapshot on this machine, where it has the part."""
    from huggingface_hub import try_to_load_from_cache

    for way in part.ways:
        files = [try_to_load_from_cache(path, name) for name in way]
        if all(isinstance(file, str) for file in files):
            return Path(str(files[0])).parents[way[0].count("/")]
    return None


def damage(file: Path) -> list[str]:
    """What is wrong with a file of JSON or of weights; nothing of others."""
    from ppd_lightning.backbones.weights import require_safetensors

    try:
        if file.suffix == ".json":
            read_json(file)
        elif file.suffix == ".safetensors":
            require_safetensors(file)
    except UserError as error:
        return error.faults
    return []
