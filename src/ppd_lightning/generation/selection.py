"""What is drawn and for whom: as `generation` says, or where it leaves that open, by hash."""

from __future__ import annotations

from pathlib import Path

from ppd_lightning.config.schemas import Config
from ppd_lightning.data.prepared import captions_of
from ppd_lightning.data.splits import choose_count
from ppd_lightning.errors import UserError
from ppd_lightning.generation.prompts import read_prompts
from ppd_lightning.users.blends import Asked, people_in
from ppd_lightning.users.embeddings import NOT_SERVED, people_served


def chosen_captions(config: Config) -> list[str]:
    """`generation.captions`, a list or those of a file, or some held-out ones by hash.

    Raises:
        UserError: the file is missing or holds something else.
    """
    asked = config.generation.captions
    if isinstance(asked, str):
        return read_prompts(Path(asked), "generation.captions")
    if asked is not None:
        return list(asked)
    return sorted(choose_count("grid", captions_of(config, held_out=True), config.generation.columns))


def chosen_users(config: Config) -> list[Asked]:
    """`generation.users`, or some by hash: people who were not trained on, where there are any.

    Raises:
        UserError: somebody is asked for, alone or in a blend, who is not in the pairs.
    """
    groups, not_served = people_served(config)
    asked = config.generation.users
    if asked is None:
        return [*sorted(choose_count("grid", groups["unseen"] or groups["seen"], config.generation.columns))]
    refused = sorted(set(people_in(asked)) & set(not_served))
    if refused:
        raise UserError(f"generation.users: {', '.join(refused)}: {NOT_SERVED[config.user.kind]}")
    absent = sorted(set(people_in(asked)) - {*groups["seen"], *groups["unseen"]})
    if absent:
        raise UserError(f"generation.users: nobody in the pairs is called {', '.join(absent)}")
    return list(asked)
