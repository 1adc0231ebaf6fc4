"""Which files make up a model, where they come from and under what licence; finding them in a folder or on the hub.

A part can be stored in several ways (bf16 beside fp32, diffusers' folders beside the files of the original repository);
the first way whose files are all there is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

from ppd_lightning.errors import UserError

NON_COMMERCIAL = "for non-commercial research only"
PRIOR_HUB, CODEC_HUB = "stabilityai/stable-cascade-prior", "stabilityai/stable-cascade"
UNET = "diffusion_pytorch_model"


PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Files of weights that are never read, for opening them can run code."""


@dataclass(frozen=True)
class Part:
    """One part of a model.

    ways: each is a set of files that is enough, relative to the model's folder; the first is the usual one.
    hub: the repository on the model hub that has the usual files; empty for a part that ships with the project.
    size: of the usual files.
    of_codec: whether it lies in the codec's folder, where that is another one.
    """

    ways: tuple[tuple[str, ...], ...]
    hub: str = ""
    size: str = ""
    of_codec: bool = False


def _network(folder: str, weights: str = UNET) -> tuple[tuple[str, ...], ...]:
    return tuple((f"{folder}/config.json", f"{folder}/{weights}{kind}.safetensors") for kind in ("", ".bf16"))


_EMOJI_CODEC = Part(_network("codec"))
EMOJI: Mapping[str, Part] = {
    "prior": Part(_network("prior")),
    "text_encoder": Part(_network("text_encoder", "model")),
    "tokenizer": Part((("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),)),
    "scheduler": Part((("scheduler/scheduler_config.json",),)),
    "encoder": _EMOJI_CODEC,
    "previewer": _EMOJI_CODEC,
    "decoder": _EMOJI_CODEC,
}


def _stable_cascade(folder: str, original: str, prior_size: str) -> Mapping[str, Part]:
    prior = (*_network(folder), (f"{original}.safetensors",), (f"{original}_bf16.safetensors",))
    tokenizer = (
        ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),
        ("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json"),
    )
    decoder = tuple(
        (*unet, "vqgan/config.json", f"vqgan/{UNET}.safetensors")
        for unet in (*_network("decoder"), *_network("decoder_lite"))
    )
    return {
        "prior": Part(prior, PRIOR_HUB, prior_size),
        "text_encoder": Part(_network("text_encoder", "model"), PRIOR_HUB, "2.8 GB, or 1.4 GB as .bf16"),
        "tokenizer": Part(tokenizer, PRIOR_HUB, "2 MB"),
        "scheduler": Part((("scheduler/scheduler_config.json",),), PRIOR_HUB, "1 kB"),
        "encoder": Part((("effnet_encoder.safetensors",),), CODEC_HUB, "81 MB", of_codec=True),
        "previewer": Part((("previewer.safetensors",),), CODEC_HUB, "16 MB", of_codec=True),
        "decoder": Part(decoder, CODEC_HUB, "6.3 GB, or 3.2 GB with Stage B as .bf16", of_codec=True),
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


def absent(part: Part, folder: Path) -> list[str]:
    """The files that a part lacks, of the way that most is there of; none where a way is complete."""
    ways = [[name for name in way if not (folder / name).is_file()] for way in part.ways]
    return max(zip(part.ways, ways, strict=True), key=lambda pair: (not pair[1], len(pair[0]) - len(pair[1])))[1]


def missing(key: str, part: Part, folder: Path) -> list[str]:
    """One sentence on the files that a part lacks; none where it is complete."""
    files = absent(part, folder)
    if not files:
        return []
    remedy = "this part ships with the project and is made anew by `make base`"
    if part.hub:
        remedy = f"get this part from {part.hub} on the model hub ({part.size}; {NON_COMMERCIAL})"
        if part.of_codec and key == "model.path":
            remedy += ", or name its folder as model.codec_path"
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


def local_folder(key: str, place: str, parts: Sequence[Part]) -> Path:
    """The folder that `place` names, or the hub's snapshot of these parts where it names none.

    What was fetched before is taken without asking the hub again.

    Raises:
        UserError: it looks like a name on the hub, and the hub cannot be reached or does not know it.
    """
    folder = Path(place).expanduser()
    if folder.is_dir() or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", place):
        return folder
    try:
        fetched = {_fetched(place, part) for part in parts}
        if len(fetched) == 1 and None not in fetched:
            return next(folder for folder in fetched if folder)
        listed = {file.rfilename for file in HfApi().model_info(place, timeout=10).siblings or ()}
        ways = [next((way for way in part.ways if listed.issuperset(way)), ()) for part in parts]
        return Path(snapshot_download(place, allow_patterns=[name for way in ways for name in way]))
    except Exception as error:  # of the hub's client, of its HTTP library, of the network
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{key}: there is no folder {place} here, and the model hub has no answer for that name ({reason}); "
            "give the folder with the released files"
        ) from None


def _fetched(place: str, part: Part) -> Path | None:
    """The hub's snapshot on this machine, where it has the part."""
    for way in part.ways:
        files = [try_to_load_from_cache(place, name) for name in way]
        if all(isinstance(file, str) for file in files):
            return Path(str(files[0])).parents[way[0].count("/")]
    return None
