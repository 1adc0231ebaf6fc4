"""`user=features`: what the preferred images have, and have more of than the others, to a small frozen network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Components
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.rewards.encoder_code import EncoderCode
    from ppd_lightning.users.choice_model import ChoiceModel
    from ppd_lightning.users.describing import Describing, Instruments
    from ppd_lightning.users.new_choices import NewChoice
    from ppd_lightning.users.scale import Scale
    from ppd_lightning.users.shot_features import ImageFeatures
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots


@settings
class FeaturesUser(UserKind):
    """Features of the images of the choices, on the directions in which users differ most."""

    kind: Literal["features"]
    """Features of the images of a user's choices."""
    encoder: Literal["efficientnet_lite0", "codec"]
    """What sees the shots: a frozen ImageNet network, or the model's own codec."""
    components: Components
    """Width of an embedding: directions in which users differ most, beside how each one's choices vary."""

    not_for_new: ClassVar[str] = ""
    not_for_pools: ClassVar[str] = ""
    mean_of_choices: ClassVar[bool] = True

    @property
    def learns_of_people(self) -> bool:
        """See `UserKind`: the directions."""
        return True

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See `UserKind`.

        Raises:
            UserError: the encoder's weights or an image of a shot are missing, or too few people are trained on.
        """
        from ppd_lightning.users.shot_features import features_of_sets

        images, fitted = self._fit(using, pairs)
        return features_of_sets(using, pairs, sets, images, fitted["discriminants"])

    def fitted(self, using: Describing, pairs: pa.Table) -> dict[str, np.ndarray]:
        """See `UserKind`: the principal axes of images' features, and the discriminants of people."""
        return self._fit(using, pairs)[1]

    def describe_new(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], people: Mapping[str, Sequence[NewChoice]]
    ) -> np.ndarray:
        """See `UserKind`."""
        from ppd_lightning.users.choice_features import vectors_of_new
        from ppd_lightning.users.encoders import picture_encoder

        return vectors_of_new(picture_encoder(self.encoder, using), fitted, list(people.values()))

    def choice_model(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], scale: Scale, shots: int
    ) -> ChoiceModel:
        """See `UserKind`."""
        from ppd_lightning.users.choice_model import MeanOfChoices
        from ppd_lightning.users.encoders import picture_encoder

        return MeanOfChoices(picture_encoder(self.encoder, using), fitted, scale, shots)

    def encoder_code(self, using: Instruments) -> EncoderCode | str:
        """See `UserKind`; a codec goes along by the code of its base, where that encodes."""
        from ppd_lightning.users.encoders import codec_code, efficientnet_code

        if self.encoder == "efficientnet_lite0":
            return efficientnet_code(using.image_size)
        return codec_code(using.backbone, using.image_size) or super().encoder_code(using)

    def _fit(self, using: Describing, pairs: pa.Table) -> tuple[ImageFeatures, dict[str, np.ndarray]]:
        """The images on their principal axes, and `fitted`; made once."""
        from ppd_lightning.users.shot_features import axes_of_people, on_principal_axes

        def fit() -> tuple[ImageFeatures, dict[str, np.ndarray]]:
            images, principal = on_principal_axes(using, self.encoder)
            axes = axes_of_people(using, pairs, images, self.components)
            return images, {**vars(principal), "discriminants": axes}

        return using.once("fit", fit)

    def seen_with(self, using: Instruments) -> str:
        """See `UserKind`: the encoder's weights."""
        from ppd_lightning.users.encoders import encoder_fingerprint

        return encoder_fingerprint(self.encoder, using.backbone)

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        return f"{shots.words()}, seen by `{self.encoder}`, make their vector."

    def extras(self) -> tuple[str, ...]:
        """See `Part`: the package with the encoder's weights."""
        return ("features",) if self.encoder == "efficientnet_lite0" else ()
