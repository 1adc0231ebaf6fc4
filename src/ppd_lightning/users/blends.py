"""People and convex blends of them.

K = people and blends, C = captions, P = people of a blend, E = width of a user embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppd_lightning.users.users import Users

Asked = str | dict[str, float]
"""A person by name, or a blend as {name: weight} whose weights add up to 1."""


NOBODY: Mapping[str, np.ndarray] = MappingProxyType({})


def weights_of(asked: Asked) -> dict[str, float]:
    """The people of a blend with their weights; a person is a blend of one."""
    return {asked: 1.0} if isinstance(asked, str) else {name: float(weight) for name, weight in asked.items()}


def name_of(asked: Asked) -> str:
    """A person's own name, or such as "0.3 ann + 0.7 bob"."""
    return asked if isinstance(asked, str) else " + ".join(f"{weight:.3g} {name}" for name, weight in asked.items())


def people_in(users: Sequence[Asked]) -> list[str]:
    """Everybody who is asked for, alone or in a blend, once and in alphabetical order."""
    return sorted({name for asked in users for name in weights_of(asked)})


def blended_embeddings(
    users: Users, asked: Sequence[Asked], captions: Sequence[str], described: Mapping[str, np.ndarray] = NOBODY
) -> Tensor:
    """The embedding of each person or blend, (K, E) float32: the weighted sum of its people's embeddings.

    Each is asked for with the caption beside it, which counts where users have a vector for each caption. A blend does
    not depend on the order of its people, and one that gives all its weight to a person is that person.

    Args:
        described: vectors (E,) of people who are not in the pairs, by name; they go before those of that name who are.

    Raises:
        UserError: somebody is not in the pairs.
    """
    parts = [(name, caption) for one, caption in zip(asked, captions, strict=True) for name in sorted(weights_of(one))]
    known = [part for part in parts if part[0] not in described]
    rows: Any = users.asked([name for name, _ in known], [caption for _, caption in known]).embeddings if known else ()
    own = iter(np.asarray(rows))
    vectors = torch.from_numpy(np.stack([described[name] if name in described else next(own) for name, _ in parts]))
    vectors = vectors.double()
    weights = [weights_of(one)[name] for one in asked for name in sorted(weights_of(one))]
    owner = torch.tensor([number for number, one in enumerate(asked) for _ in weights_of(one)])
    blended = torch.zeros(len(asked), vectors.shape[1], dtype=torch.float64)
    return blended.index_add(0, owner, torch.tensor(weights).double()[:, None] * vectors).float()


def sheet_embeddings(
    users: Users, asked: Sequence[Asked], captions: Sequence[str], described: Mapping[str, np.ndarray] = NOBODY
) -> Tensor:
    """The embeddings of each person or blend for every caption, (C, K, E) float32; described as for blends.

    Raises:
        UserError: as `blended_embeddings`.
    """
    each = [caption for caption in captions for _ in asked]
    rows = blended_embeddings(users, [*asked] * len(captions), each, described)
    return rows.reshape(len(captions), len(asked), -1)
