"""A frozen text-to-image model: all that differs between model families, as one object.

B = batch, E = width of a user embedding.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, Strict

from ppd_lightning.backbones.files import ModelPart, absent, damage, find, local_folder, missing, pickled
from ppd_lightning.errors import UserError
from ppd_lightning.settings.part import Finding, Part, settings
from ppd_lightning.settings.values import PathText
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.hash_memory import remembered_sha256

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from ppd_lightning.backbones.card_facts import CardFacts, DrawingCode
    from ppd_lightning.backbones.interfaces import Codec, Conditions, Decoder, Sampler, TextEncoder
    from ppd_lightning.backbones.user_branch import TokenWidth, UserBranch
    from ppd_lightning.diffusion.path import DiffusionPath

PATH, CODEC_PATH = "model.path", "model.codec_path"


@settings
class Backbone(Part, ABC):
    """The frozen text-to-image model and the user branch on it.

    Its parts (`parts`) are found when they are needed, and loaded frozen, in evaluation mode. A part is called `prior`
    (the network that is trained on), `text_encoder`, `tokenizer`, `scheduler` (where one belongs to the files), or is
    one of the codec: `encoder` (images to latents), and those that `decoder_parts` names.
    """

    name: str
    """Which model."""
    path: PathText | None
    """Folder of its weights in the released layout, or a name on the model hub; null is the one that ships."""
    codec_path: PathText | None
    """The same for the parts of the codec (image encoder, decoders), where they lie elsewhere; null is path."""
    num_tokens: Annotated[int, Strict(), Field(ge=2, le=1_024)]
    """User tokens that a user embedding is projected to; attention to a single one would be constant."""
    null_user: Literal["zero", "learned"]
    """What no user means: the base model itself, or a learnt population preference."""
    token_width: Literal["network", "enough"] | Annotated[int, Strict(), Field(ge=1, le=65_536)]
    """Width of a user token: network is the network's own (the paper's way), enough what suffices: num_tokens times the
    width of a user embedding, at most the network's own; or a number."""

    stride: ClassVar[int]
    """Pixels of an encoded image to one position of its latents, in each direction."""
    latent_channels: ClassVar[int]
    compile_regions: ClassVar[Callable[[Any, nn.Module], None] | None] = None
    """A method that compiles the blocks of a network one by one, in place, when they are first called; None where it is
    compiled as a whole alone."""
    decoder_parts: ClassVar[Mapping[Decoder, str]]
    """The part of the codec that each decoder needs."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What people call the model."""

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name."""

    @property
    @abstractmethod
    def text_arrays(self) -> tuple[str, ...]:
        """The names of the text encoder's arrays: the conditions of `predict`; the last has the pooled states."""

    @property
    def caption_numbers(self) -> int | None:
        """How many numbers these arrays have for a caption; None where that is not known without the weights."""
        return None

    @property
    def known_captions(self) -> frozenset[str] | None:
        """The only captions that the model was trained on; None where it reads any text."""
        return None

    def drawing_parts(self, decoder: Decoder) -> tuple[str, ...]:
        """The parts that drawing needs beside the network."""
        named = ("text_encoder", "tokenizer", "scheduler")
        return *(name for name in named if name in self.parts), self.decoder_parts[decoder]

    @property
    def shipped_folder(self) -> Path | None:
        """The folder of the model in this package, where it ships."""
        return None

    @property
    def shipped(self) -> bool:
        """Whether its weights come with this package."""
        return self.shipped_folder is not None

    # What it computes.

    @property
    @abstractmethod
    def diffusion_path(self) -> DiffusionPath:
        """Its way from latents to noise."""

    @abstractmethod
    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The network's prediction (B, ...) float32 of the path's target.

        Args:
            network: of `load_network`, with or without a branch.
            noised: latents (B, ...).
            t: times (B,) in [0, 1].
            conditions: the text encoder's arrays by name, each (B, ...).
        """

    def latent_shape(self, image_size: int) -> tuple[int, ...]:
        """The shape of one image's latents; `image_size` is the side in pixels of the images that are encoded."""
        side = image_size // self.stride
        return self.latent_channels, side, side

    def size_faults(self, image_size: int, decoder: Decoder) -> list[str]:
        """Sentences on why latents of such images cannot be decoded so; none where they can."""
        return []

    @property
    def image_sizes(self) -> tuple[int, int] | None:
        """The smallest and the largest side of images that its weights still make sense for; None is not known."""
        return None

    def contradictions_with(self, image_size: int) -> Iterator[str]:
        """As `contradictions`, with the side in pixels of the images that are encoded."""
        if self.image_sizes is not None and not self.image_sizes[0] <= image_size <= self.image_sizes[1]:
            low, high = self.image_sizes
            yield (
                f"data.image_size: {image_size} pixels are far from what {self.title} was trained for; use {low} to "
                f"{high}, or another model"
            )

    def null_text(self, text: TextEncoder) -> dict[str, Tensor]:
        """The conditions (1, ...) that text guidance leads away from: those of the empty caption, unless overridden."""
        return text([""])

    def prediction_settings(self) -> dict[str, Any]:
        """What predictions depend on beside the files, as JSON values: reference errors are stored by it."""
        return {}

    def attach(
        self,
        network: nn.Module,
        embedding_dim: int,
        *,
        num_tokens: int | None = None,
        null: str | None = None,
        token_width: TokenWidth | None = None,
    ) -> UserBranch:
        """Put a new user branch on a stock network; the network's own weights and state dict stay as they are.

        Args:
            network: of `load_network`.
            embedding_dim: E.
            num_tokens: user tokens; None is the setting of that name.
            null: "zero" or "learned"; None is the setting `null_user`.
            token_width: of a user token; None is the setting of that name.

        Raises:
            ValueError: the network has a branch already, or the settings make no sense.
        """
        tokens = self.num_tokens if num_tokens is None else num_tokens
        width = self.token_width if token_width is None else token_width
        return self._attach(network, embedding_dim, tokens, self.null_user if null is None else null, width)

    @abstractmethod
    def _attach(
        self, network: nn.Module, embedding_dim: int, num_tokens: int, null: str, token_width: TokenWidth
    ) -> UserBranch: ...

    # What is loaded. All of it raises UserError where files are missing or damaged, and names them.

    @abstractmethod
    def load_network(self, dtype: torch.dtype | None = None) -> nn.Module:
        """The frozen network in evaluation mode, its weights in `dtype`; None is float32."""

    @abstractmethod
    def load_codec(self, device: torch.device | str = "cpu", *needs: str) -> Codec:
        """The codec on a device, with the parts of it that are named: encoder, or those of `decoder_parts`."""

    @abstractmethod
    def load_text(self, device: torch.device | str = "cpu") -> TextEncoder:
        """The frozen text encoder on a device, with its tokenizer."""

    @abstractmethod
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """What cuts captions into tokens; `model_max_length` of them are read."""

    @abstractmethod
    def sampler(self) -> Sampler:
        """A new sampler."""

    # What is said of it.

    @abstractmethod
    def card_facts(self) -> CardFacts:
        """What the model card of an adapter says about it."""

    @abstractmethod
    def drawing_code(self) -> DrawingCode:
        """The code that an export carries."""

    @property
    def hub_name(self) -> str | None:
        """`path`, where it is a name on the model hub."""
        here = self.path is None or "/" not in self.path or Path(self.path).expanduser().exists()
        return None if here else self.path

    # Where its files are.

    def key(self, part: str) -> str:
        """The key of the configuration that says where a part lies."""
        return CODEC_PATH if self.parts[part].of_codec and self.codec_path else PATH

    def folders(self, *needs: str) -> tuple[dict[str, Path], list[str]]:
        """The folder of each part, fetched where it is on the hub; and a sentence for each key that leads nowhere."""
        folders: dict[str, Path] = {}
        faults: list[str] = []
        for key in self._paths:
            parts = {name: self.parts[name] for name in needs or self.parts if self.key(name) == key}
            try:
                if parts:
                    folders |= dict.fromkeys(parts, self._folder(key, parts))
            except UserError as error:
                faults += error.faults
        return folders, faults

    def faults(self, *needs: str) -> list[str]:
        """A sentence for each incomplete part and each damaged file of these parts, of all where none is named."""
        folders, faults = self.folders(*needs)
        for need, folder in folders.items():
            faults += missing(self.key(need), self.parts[need], folder)
            faults += [fault for file in find(self.parts[need], folder) for fault in damage(file)]
        return list(dict.fromkeys(faults))

    def require(self, *needs: str) -> None:
        """Refuse at once what would fail later.

        Raises:
            UserError: files of these parts are missing or damaged; all of them are named.
        """
        faults = self.faults(*needs)
        if faults:
            raise UserError(faults)

    def files(self, part: str) -> list[Path]:
        """The files of a part.

        Raises:
            UserError: some are missing or damaged.
        """
        self.require(part)
        return find(self.parts[part], self.folders(part)[0][part])

    def fingerprint(self, part: str) -> str:
        """12 hex digits that stand for the content of a part's files."""
        return fingerprint([remembered_sha256(file) for file in self.files(part)])

    def findings(self) -> Iterator[Finding]:
        """Each part: its folder, or the files that it lacks and how to get them."""
        folders, faults = self.folders()
        if faults:
            yield Finding(f"model {self.name}", "not found", tuple(faults))
        lacks = {name: absent(self.parts[name], folder) for name, folder in folders.items()}
        for name, folder in folders.items():
            need, part, key = f"model {self.name}: {name.replace('_', ' ')}", self.parts[name], self.key(name)
            files, remedies = lacks[name], self.faults(name)
            if not files:
                yield Finding(need, "damaged" if remedies else str(folder), tuple(remedies))
                continue
            if part.hub and Path(self._paths[key] or "").expanduser() == folder:
                wanted = dict.fromkeys(
                    file for other in folders if self.parts[other].hub == part.hub for file in lacks[other]
                )
                command = shlex.join(["hf", "download", part.hub, *wanted, "--local-dir", str(folder)])
                elsewhere = ", or name its folder as model.codec_path" if part.of_codec and key == PATH else ""
                remedies = [
                    f"{key}: get what is missing of {part.hub}{elsewhere}:\n  {command}",
                    *([f"or {part.instead}"] if part.instead else []),
                    *pickled(files, folder),
                ]
                files = [*files, f"of {part.hub}, {part.size}, {part.licence}"]
            yield Finding(need, "\n".join(files), tuple(remedies))

    @property
    def _paths(self) -> Mapping[str, str | None]:
        return {PATH: self.path, CODEC_PATH: self.codec_path}

    def _folder(self, key: str, parts: Mapping[str, ModelPart]) -> Path:
        path = self._paths[key]
        if path is not None:
            return local_folder(key, path, list(parts.values()))
        if self.shipped_folder is None:
            raise UserError(
                f"{key}: null is the folder that ships, and {self.name} ships with no weights; "
                "give the folder with the released files, or its name on the model hub"
            )
        return self.shipped_folder
