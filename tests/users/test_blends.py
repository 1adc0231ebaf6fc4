from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training import tiny_world

from ppd_lightning.config.compose import as_yaml, compose, read_config
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.generation.selection import chosen_users
from ppd_lightning.users.blends import blended_embeddings, name_of, people_in, weights_of
from ppd_lightning.users.users import Users

CAPTION = ["thing 1"]


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Users:
    folder = tiny_world.make(tmp_path_factory.mktemp("blends"))
    return Workspace(compose(tiny_world.overrides(folder, folder / "out"))).users


def test_names_are_short_and_readable() -> None:
    assert name_of("ann") == "ann"
    assert name_of({"ann": 0.3, "bob": 0.7}) == "0.3 ann + 0.7 bob"
    assert name_of({"ann": 1 / 3, "bob": 2 / 3}) == "0.333 ann + 0.667 bob"
    assert name_of({"ann": 1}) == "1 ann"


def test_everybody_in_a_blend_is_found_once() -> None:
    assert people_in(["bob", {"ann": 0.3, "bob": 0.7}, "bob", {"zoe": 1.0}]) == ["ann", "bob", "zoe"]


def test_a_person_is_a_blend_of_one() -> None:
    assert weights_of("ann") == {"ann": 1.0}
    assert json.dumps(weights_of({"ann": 1})) == '{"ann": 1.0}'


def test_a_blend_is_the_convex_combination_of_its_people(users: Users) -> None:
    people = np.asarray(users.asked(["1", "2", "3"], CAPTION * 3).embeddings).astype(np.float64)
    asked = ["2", {"1": 0.3, "2": 0.7}, {"3": 0.5, "1": 0.25, "2": 0.25}]
    blended = blended_embeddings(users, asked, CAPTION * 3)
    weights = np.array([[0, 1, 0], [0.3, 0.7, 0], [0.25, 0.25, 0.5]])
    assert blended.dtype == torch.float32
    np.testing.assert_allclose(blended.numpy(), weights @ people, rtol=1e-6, atol=1e-7)


def test_people_alone_and_all_of_a_blend_keep_every_bit(users: Users) -> None:
    alone = torch.from_numpy(np.asarray(users.asked(["3", "1"], CAPTION * 2).embeddings))
    assert torch.equal(blended_embeddings(users, ["3", {"1": 1.0, "2": 0.0}], CAPTION * 2), alone)


def test_the_order_of_a_blend_does_not_count(users: Users) -> None:
    orders = [{"1": 0.2, "2": 0.3, "3": 0.5}, {"3": 0.5, "2": 0.3, "1": 0.2}]
    first, second = blended_embeddings(users, orders, CAPTION * 2)
    assert torch.equal(first, second)
    assert torch.equal(blended_embeddings(users, [orders[0], "4", "5"], CAPTION * 3)[0], first)


def test_somebody_unknown_in_a_blend_is_named(users: Users) -> None:
    with pytest.raises(UserError, match="nobody: nobody of that name is in the pairs"):
        blended_embeddings(users, ["1", {"1": 0.5, "nobody": 0.5}], CAPTION * 2)


NAMES = ["ann", 'Zoë "Z" 李', "O'Neil", "0.3 a + 0.7 b", "a: {b}, [c]=(d)", "مريم 🙂", "12"]


def composed(tmp_path: Path, users: str) -> Config:
    return compose([*tiny_world.overrides(tmp_path, tmp_path), f"generation.users={users}"])


def test_any_name_is_read_on_the_command_line_alone_and_in_blends(tmp_path: Path) -> None:
    """As they are typed: in quotes, which within are written with a backslash."""
    typed = ["ann", *('"' + name.replace('"', '\\"') + '"' for name in NAMES[1:])]
    blends = [f"[{{user: {one}, weight: 0.3}},{{user: {other}, weight: 0.7}}]" for one, other in pairwise(typed)]
    config = composed(tmp_path, f"[{','.join([*typed, *blends])}]")
    expected = [*NAMES, *({one: 0.3, other: 0.7} for one, other in pairwise(NAMES))]
    everybody = dict.fromkeys(NAMES, np.zeros(1))
    assert chosen_users(config.generation, None, everybody) == expected  # type: ignore[arg-type]
    (tmp_path / "config.yaml").write_text(as_yaml(config), encoding="utf-8")
    assert read_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ("[[{user: ann, weight: 0.3},{user: bob, weight: 0.6}]]", "the weights of a blend of users must add up to 1"),
        ("[[{user: ann, weight: 0.5},{user: ann, weight: 0.5}]]", "a user comes twice in a blend"),
        (
            "[{ann: 0.3, bob: 0.7}]",
            r"or a blend such as \[{user: ann, weight: 0.3}, {user: bob, weight: 0.7}\] or null",
        ),
        ("[{user: ann, weight: 0.3},{user: bob, weight: 0.7}]", "or a blend such as"),
        ("[[{user: ann, weight: -1},{user: bob, weight: 2}]]", "or a blend such as"),
        ("[[{name: ann, weight: 1}]]", "or a blend such as"),
    ],
)
def test_what_is_no_blend_is_refused_with_the_form_that_is(tmp_path: Path, users: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        composed(tmp_path, users)
