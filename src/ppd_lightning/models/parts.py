"""Which files make up a model, where they come from and under what licence; finding them in a folder or on the hub.

A part can be stored in several ways (bf16 beside fp32, diffusers' folders beside the files of the original repository);
the first way whose files are all there is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from ppd_lightning.run.errors import UserError

NON_COMMERCIAL = "for non-commercial research only"
PRIOR_HUB, CODEC_HUB = "stabilityai/stable-cascade-prior", "stabilityai/stable-cascade"
UNET = "diffusion_pytorch_model"


@dataclass(frozen=True)
class Part:
    """One part of a model.

    ways: each is a set of files that is enough, relative to the model's folder; the first is the usual one.
    origin: what to say about where the files come from.
    of_codec: whether it lies in the codec's folder, where that is another one.
    """

    ways: tuple[tuple[str, ...], ...]
    origin: str
    of_codec: bool = False


def _network(folder: str, weights: str = UNET) -> tuple[tuple[str, ...], ...]:
    return tuple((f"{folder}/config.json", f"{folder}/{weights}{kind}.safetensors") for kind in ("", ".bf16"))


def _released(size: str, hub: str = CODEC_HUB) -> str:
    return f"this part is in {hub} on the model hub, in all {size}, {NON_COMMERCIAL}"


SHIPPED = "this part ships with the project and is made anew by `make base`"
_EMOJI_CODEC = Part(_network("codec"), SHIPPED)
EMOJI: Mapping[str, Part] = {
    "prior": Part(_network("prior"), SHIPPED),
    "text_encoder": Part(_network("text_encoder", "model"), SHIPPED),
    "tokenizer": Part((("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),), SHIPPED),
    "scheduler": Part((("scheduler/scheduler_config.json",),), SHIPPED),
    "encoder": _EMOJI_CODEC,
    "previewer": _EMOJI_CODEC,
    "decoder": _EMOJI_CODEC,
}


def _stable_cascade(folder: str, original: str, prior_size: str) -> Mapping[str, Part]:
    return {
        "prior": Part(
            (*_network(folder), (f"{original}.safetensors",), (f"{original}_bf16.safetensors",)),
            _released(prior_size, PRIOR_HUB),
        ),
        "text_encoder": Part(_network("text_encoder", "model"), _released("2.8 GB, or 1.4 GB as .bf16", PRIOR_HUB)),
        "tokenizer": Part(
            (
                ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),
                ("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json"),
            ),
            _released("2 MB", PRIOR_HUB),
        ),
        "scheduler": Part((("scheduler/scheduler_config.json",),), _released("1 kB", PRIOR_HUB)),
        "encoder": Part((("effnet_encoder.safetensors",),), _released("81 MB"), of_codec=True),
        "previewer": Part((("previewer.safetensors",),), _released("16 MB"), of_codec=True),
        "decoder": Part(
            tuple(
                (*unet, "vqgan/config.json", f"vqgan/{UNET}.safetensors")
                for unet in (*_network("decoder"), *_network("decoder_lite"))
            ),
            _released("6.3 GB, or 3.1 GB as .bf16, and 74 MB"),
            of_codec=True,
        ),
    }


PARTS: Mapping[str, Mapping[str, Part]] = {
    "emoji": EMOJI,
    "stage_c_lite": _stable_cascade("prior_lite", "stage_c_lite", "4.1 GB, or 2.1 GB as .bf16"),
    "stage_c": _stable_cascade("prior", "stage_c", "14.4 GB, or 7.2 GB as .bf16"),
}
"""The parts of each model, by name: what `ReleasedModel.require` takes."""


def find(part: Part, folder: Path) -> list[Path]:
    """The files of a part in a folder, in the order of the way that is complete; empty where none is."""
    for way in part.ways:
        if all((folder / name).is_file() for name in way):
            return [folder / name for name in way]
    return []


def missing(key: str, part: Part, folder: Path) -> list[str]:
    """A sentence for each file of the usual way that is not there, unless another way is complete."""
    if find(part, folder):
        return []
    absent = [name for name in part.ways[0] if not (folder / name).is_file()]
    return [f"{key}: {folder / name} is missing; {part.origin}" for name in absent]


def local_folder(key: str, place: str, parts: Sequence[Part]) -> Path:
    """The folder that `place` names, or the hub's snapshot of these parts where it names none.

    What was fetched before is taken without asking the hub again.

    Raises:
        UserError: it is neither a folder nor the name of something on the hub that can be reached.
    """
    folder = Path(place).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", place):
        raise UserError(f"{key}: there is no folder {place}; give the folder with the released files")
    try:
        fetched = Path(snapshot_download(place, local_files_only=True))
        if all(find(part, fetched) for part in parts):
            return fetched
    except (LocalEntryNotFoundError, HFValidationError):
        pass  # nothing was fetched yet
    try:
        listed = set(HfApi().list_repo_files(place))
        ways = [next((way for way in part.ways if listed.issuperset(way)), ()) for part in parts]
        return Path(snapshot_download(place, allow_patterns=[name for way in ways for name in way]))
    except Exception as error:  # of the hub's client, of its HTTP library, of the network
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{key}: there is no folder {place} here, and the model hub has no answer for that name ({reason}); "
            "give the folder with the released files"
        ) from None
