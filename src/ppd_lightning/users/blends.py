"""People and convex blends of them, as `generation.users` asks for them.

K = people and blends, P = distinct people, E = width of a user embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppd_lightning.config.schemas import Config
from ppd_lightning.models.released import ReleasedModel
from ppd_lightning.users.embeddings import user_embeddings

Asked = str | dict[str, float]
"""A person by name, or a blend as {name: weight} whose weights add up to 1."""


def weights_of(asked: Asked) -> dict[str, float]:
    """The people of a blend with their weights; a person is a blend of one."""
    return {asked: 1.0} if isinstance(asked, str) else {name: float(weight) for name, weight in asked.items()}


def name_of(asked: Asked) -> str:
    """A person's own name, or such as "0.3 ann + 0.7 bob"."""
    return asked if isinstance(asked, str) else " + ".join(f"{weight:.3g} {name}" for name, weight in asked.items())


def people_in(users: Sequence[Asked]) -> list[str]:
    """Everybody who is asked for, alone or in a blend, once and in alphabetical order."""
    return sorted({name for asked in users for name in weights_of(asked)})


def blended_embeddings(config: Config, model: ReleasedModel, users: Sequence[Asked]) -> Tensor:
    """The embedding of each person or blend, (K, E) float32: the weighted sum of its people's embeddings.

    A blend does not depend on the order of its people, and one that gives all its weight to a person is that person.

    Raises:
        UserError: somebody is not in the pairs.
    """
    people = people_in(users)
    weights = torch.tensor([[weights_of(asked).get(name, 0.0) for name in people] for asked in users]).double()
    embeddings = user_embeddings(config, model, people).double()  # (P, E)
    return (weights[:, :, None] * embeddings).sum(1).float()
