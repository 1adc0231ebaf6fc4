"""`user=types`: how much of each of a few base types is in a person, by a logistic regression of their choices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Components, Positive
from ppd_lightning.users.kind import UserKind

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ppd_lightning.users.choice_model import ChoiceModel
    from ppd_lightning.users.describing import Describing, Instruments
    from ppd_lightning.users.new_choices import NewChoice
    from ppd_lightning.users.scale import Scale
    from ppd_lightning.users.shot_features import ImageFeatures
    from ppd_lightning.users.shot_sets import ShotSet
    from ppd_lightning.users.shots import Shots


@settings
class TypesUser(UserKind):
    """Weights over base types of people, whose utilities are learnt from the choices of those who are trained on.

    PIPE's description of a person (openreview G5GipElVVe): a utility that is a weighted sum of those of K base types,
    the weights by a logistic regression of the person's choices. How types are learnt: see `base_types`.
    """

    kind: Literal["types"]
    """Weights over base types of people, by their choices."""
    encoder: Literal["efficientnet_lite0", "codec"]
    """What sees the images: a frozen ImageNet network, or the model's own codec."""
    types: Components
    """Width of an embedding: base types that are learnt, at most one for each person who is trained on."""
    regularisation: Positive
    """Weight of half the squared length of coefficients, those of a person's weights and those of a type's utility."""

    not_for_new: ClassVar[str] = ""
    not_for_pools: ClassVar[str] = ""

    @property
    def learns_of_people(self) -> bool:
        """See `UserKind`: the types."""
        return True

    def describe(self, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
        """See `UserKind`; E is the number of types.

        Raises:
            UserError: the encoder's weights or an image of a shot are missing, or too few people are trained on.
        """
        import numpy as np

        from ppd_lightning.users.choice_features import on_axes
        from ppd_lightning.users.choice_regression import choice_weights
        from ppd_lightning.users.shot_features import differences_of_pairs

        images, fitted = self._fit(using, pairs)
        shots = np.array([one.pairs for one in sets])
        used, places = np.unique(shots, return_inverse=True)
        margins = on_axes(differences_of_pairs(using, pairs, used, images), fitted["types"])
        return choice_weights(margins[places.reshape(shots.shape)], self.regularisation)

    def fitted(self, using: Describing, pairs: pa.Table) -> dict[str, np.ndarray]:
        """See `UserKind`: the principal axes of images' features, and the types' utilities on them."""
        return self._fit(using, pairs)[1]

    def describe_new(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], people: Mapping[str, Sequence[NewChoice]]
    ) -> np.ndarray:
        """See `UserKind`; equal to what rounding and the end of the regression's steps leave."""
        import numpy as np

        from ppd_lightning.users.choice_regression import choice_weights

        margins = [self._margins(using, fitted, own) for own in people.values()]
        return np.concatenate([choice_weights(one[None], self.regularisation) for one in margins])

    def choice_model(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], scale: Scale, shots: int
    ) -> ChoiceModel:
        """See `UserKind`."""
        from ppd_lightning.users.choice_model import RegressionOfChoices

        return RegressionOfChoices(lambda choices: self._margins(using, fitted, choices), self.regularisation, scale)

    def _margins(
        self, using: Instruments, fitted: Mapping[str, np.ndarray], choices: Sequence[NewChoice]
    ) -> np.ndarray:
        """How much more each type likes the preferred pictures, (choices, E)."""
        from ppd_lightning.users.choice_features import features_of_new, on_axes
        from ppd_lightning.users.encoders import picture_encoder

        liked, others = features_of_new(picture_encoder(self.encoder, using), fitted, choices).swapaxes(0, 1)
        return on_axes(liked - others, fitted["types"])

    def _fit(self, using: Describing, pairs: pa.Table) -> tuple[ImageFeatures, dict[str, np.ndarray]]:
        """The images on their principal axes, and `fitted`; made once."""
        from ppd_lightning.users.shot_features import on_principal_axes, types_of_people

        def fit() -> tuple[ImageFeatures, dict[str, np.ndarray]]:
            images, principal = on_principal_axes(using, self.encoder)
            types = types_of_people(using, pairs, images, self.types, self.regularisation)
            return images, {**vars(principal), "types": types}

        return using.once("fit", fit)

    def seen_with(self, using: Instruments) -> str:
        """See `UserKind`: the encoder's weights."""
        from ppd_lightning.users.encoders import encoder_fingerprint

        return encoder_fingerprint(self.encoder, using.backbone)

    def sentence(self, shots: Shots, rewards: Collection[str] = ()) -> str:
        """See `UserKind`."""
        return (
            f"A logistic regression of {shots.words()}, seen by `{self.encoder}`, on the utilities of {self.types} "
            "base types of people makes their vector."
        )

    def extras(self) -> tuple[str, ...]:
        """See `Part`: the package with the encoder's weights."""
        return ("features",) if self.encoder == "efficientnet_lite0" else ()
