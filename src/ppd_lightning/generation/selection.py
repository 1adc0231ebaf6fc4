"""Which captions and users are drawn: those that `generation` names, or where it names none, some by hash."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.splits import choose_count
from ppd_lightning.data.table_cells import caption_of
from ppd_lightning.errors import UserError
from ppd_lightning.generation.prompts import read_prompts
from ppd_lightning.generation.settings import Generation
from ppd_lightning.settings.plain_text import user_name
from ppd_lightning.settings.values import Share
from ppd_lightning.users.blends import Asked, people_in
from ppd_lightning.users.users import Users

FEW = 3
"""Names that a message gives as examples."""


def chosen_captions(settings: Generation, data: PreparedData) -> list[str]:
    """`generation.captions`, a list or those of a file, each once in its normal form, or some held-out ones by hash.

    Raises:
        UserError: the file is missing or holds something else.
    """
    if isinstance(settings.captions, str):
        return read_prompts(Path(settings.captions), "generation.captions")
    if settings.captions is not None:
        return list(dict.fromkeys(_asked_caption(number, said) for number, said in enumerate(settings.captions, 1)))
    return sorted(choose_count("grid", data.captions(held_out=True), settings.columns))


def chosen_users(settings: Generation, users: Users, described: Collection[str] = ()) -> list[Asked]:
    """`generation.users`, or everybody who is described in files, or some by hash: not trained on, where there are any.

    Args:
        described: the names in the files of `generation.people`.

    Raises:
        UserError: somebody is asked for, alone or in a blend, who is not in the pairs.
    """
    asked = None if settings.users is None else [_asked(one) for one in settings.users]
    if asked is None and described:
        return [*described]
    if asked is not None and set(people_in(asked)) <= set(described):
        return asked
    groups, not_served = users.served()
    if asked is None:
        return [*sorted(choose_count("grid", groups["unseen"] or groups["seen"], settings.columns))]
    people = set(people_in(asked)) - set(described)
    refused = sorted(people & set(not_served))
    if refused:
        raise UserError(f"generation.users: {', '.join(refused)}: {users.kind.not_served}")
    known = {*groups["seen"], *groups["unseen"]}
    absent = sorted(people - known)
    if absent:
        raise UserError(
            f"generation.users: nobody in the pairs is called {name}{_nearest(name, {*known, *described})}"
            for name in absent
        )
    return asked


def _nearest(name: str, known: Collection[str]) -> str:
    """`; did you mean ...?`: a name spelt alike, or the whole number that a text such as 1e16 is."""
    with suppress(ValueError, OverflowError):
        if (number := user_name(float(name))) in known:
            return f"; did you mean {number}?"
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known)[:FEW])}, for example"


def _asked_caption(number: int, said: str) -> str:
    """A caption in its normal form.

    Raises:
        UserError: no encoder can read it.
    """
    try:
        return caption_of(said)
    except ValueError as error:
        raise UserError(f"generation.captions: the caption {number} {error}") from None


def _asked(user: str | Sequence[Share]) -> Asked:
    return user if isinstance(user, str) else {share.user: share.weight for share in user}
