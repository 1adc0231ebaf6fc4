"""The files of LLaVA-OneVision: finding them in a folder or on the hub, and saying what is missing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from ppd_lightning.backbones.files import ModelPart, absent, damage, find, local_folder, pickled
from ppd_lightning.errors import UserError
from ppd_lightning.settings.part import Finding
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint

KEY = "user.path"
LICENCE = "Apache-2.0"
SIZES = {
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": "1.8 GB",
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": "16.1 GB",
}
"""The released models on the hub, with the size of their weights (bf16, or float16)."""

MOST_SHARDS = 32
"""Files that the weights may be cut into; those of 72B are 31."""

TENSOR_BYTES = 4096
"""Of each tensor that the fingerprint reads; training changes all of them."""


def _sharded(count: int) -> tuple[str, ...]:
    files = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    return ("config.json", "model.safetensors.index.json", *files)


PARTS: Mapping[str, ModelPart] = {
    "weights": ModelPart((("config.json", "model.safetensors"), *map(_sharded, range(2, MOST_SHARDS + 1)))),
    "tokenizer": ModelPart((("tokenizer.json", "tokenizer_config.json"),)),
    "processor": ModelPart(
        (
            ("preprocessor_config.json", "processor_config.json", "chat_template.json"),
            ("preprocessor_config.json", "processor_config.json", "chat_template.jinja"),
            ("processor_config.json", "chat_template.jinja"),
        )
    ),
}
"""What is read of the model; the processor's last way is that of newer versions of transformers."""


def vlm_folder(path: str, key: str = KEY) -> Path:
    """The folder of that path, or the hub's snapshot of that name.

    Args:
        key: the setting that names it, for the messages.

    Raises:
        UserError: files are missing or damaged, all of them are named; or the hub has no answer.
    """
    try:
        folder = local_folder(key, path, list(PARTS.values()))
    except UserError as error:
        raise UserError([f"{fault}; {_offer(path)}" for fault in error.faults]) from None
    faults = _faults(path, folder, key)
    if faults:
        raise UserError(faults)
    return folder


def vlm_faults(path: str, key: str = KEY) -> list[str]:
    """A sentence for each part of the model that is missing or damaged, with its origin, size and licence."""
    try:
        vlm_folder(path, key)
    except UserError as error:
        return error.faults
    return []


def vlm_finding(path: str) -> Finding:
    """For `ppd doctor`: whether the files of a vision-language model are there and whole."""
    faults = vlm_faults(path)
    return Finding(f"VLM {path}", "not found" if faults else "there", tuple(faults))


def vlm_fingerprint(folder: Path) -> str:
    """12 hex digits that stand for the files that are read.

    Of the weights the names, types and shapes count and the first bytes of each tensor: all of them are gigabytes, and
    this is asked for each time that the embeddings are opened.
    """
    files = [file for part in PARTS.values() for file in find(part, folder)]
    return fingerprint(
        [_weights_sha256(file) if file.suffix == ".safetensors" else file_sha256(file) for file in files]
    )


def _weights_sha256(path: Path) -> str:
    """Of a safetensors file's header and of the beginning of each tensor, in the order of the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length)
        digest = sha256(header)
        offsets = [entry["data_offsets"] for name, entry in json.loads(header).items() if name != "__metadata__"]
        for begin, end in sorted(offsets):
            file.seek(8 + length + begin)
            digest.update(file.read(min(end - begin, TENSOR_BYTES)))
    return digest.hexdigest()


def _faults(path: str, folder: Path, key: str) -> list[str]:
    faults = [fault for part in PARTS.values() if (fault := _missing(path, part, folder, key))]
    return [*faults, *(fault for part in PARTS.values() for file in find(part, folder) for fault in damage(file))]


def _missing(path: str, part: ModelPart, folder: Path, key: str) -> str:
    """One sentence on the files that a part lacks; empty where it is complete."""
    files = absent(part, folder)
    if not files:
        return ""
    there = f"{folder} lacks" if folder.is_dir() else f"there is no folder {folder} with"
    fetch = shlex.join(["hf", "download", path if path in SIZES else next(iter(SIZES)), "--local-dir", str(folder)])
    sentence = [f"{key}: {there} {' and '.join(files)}", _offer(path), f"fetch it with `{fetch}`"]
    return "; ".join([*sentence, *pickled(files, folder)])


def _offer(path: str) -> str:
    """Where the model comes from, how large it is and under what licence."""
    hubs = [path] if path in SIZES else list(SIZES)
    return "LLaVA-OneVision is " + " or ".join(f"{hub} on the model hub ({SIZES[hub]}, {LICENCE})" for hub in hubs)
