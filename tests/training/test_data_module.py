"""Batches are a pure function of seed, step and pairs: not of rank, workers, or where a run was cut off."""

from __future__ import annotations

import functools
import itertools
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from tests import tiny
from tests.data.handmade import SIZE, flip_byte, rows, write
from torch import Tensor

from ppd_lightning.commands import label, prepare
from ppd_lightning.commands.reference import open_batches
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.training import groupings
from ppd_lightning.training.data_module import PreferenceDataModule, TrainingStream, ValidationBatches
from ppd_lightning.training.example_order import ExampleOrder
from ppd_lightning.training.groupings import Groupings
from ppd_lightning.training.pair_draws import COUNT, PairDraws
from ppd_lightning.users.rows import UserRows

Batch = dict[str, Tensor]
Make = Callable[..., PreferenceDataModule]
BATCH = 12
GROUPINGS, SHOTS = 5, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data")
    tiny.model_folder(made / "model")
    write(made / "source", rows())
    prepare.run(configure(made))
    return made


@functools.cache
def configure(folder: Path, *overrides: str) -> Config:
    settings = [
        *("data=pickapic", f"data.root={folder / 'source'}", f"data.image_size={SIZE}", f"output={folder / 'out'}"),
        *("data.held_out_captions=0.2", "data.unseen_users=0.2", f"model.path={folder / 'model'}"),
        *(f"trainer.batch_size={BATCH}", "data.validation=0.2"),
    ]
    return compose([*settings, *overrides])


def prepared(folder: Path, *overrides: str) -> PreparedData:
    return Workspace(configure(folder, *overrides)).data


def user_rows(data: PreparedData) -> UserRows:
    """Five groupings of three training pairs for everybody; an embedding holds the number of its row."""
    pairs, generator = data.read_pairs(), np.random.default_rng(0)
    users, shots = [], []
    for user in sorted(pc.unique(pairs["user_id"]).to_pylist()):
        own = stable_ids(pairs.filter(pc.equal(pairs["user_id"], user))["pair_id"])
        for _grouping in range(GROUPINGS):
            users.append(user)
            shots.append(generator.choice(own, SHOTS, replace=False))
    embeddings = np.arange(len(users), dtype=np.float32)[:, None].repeat(4, 1)
    return UserRows(tuple(users), embeddings, np.array(shots))


@pytest.fixture
def make(folder: Path) -> Make:
    def made(*overrides: str, **settings: int | None) -> PreferenceDataModule:
        data = prepared(folder, *overrides)
        module = PreferenceDataModule(data, user_rows(data), **{"batch_size": BATCH} | settings)
        module.setup("fit")
        return module

    return made


def take(module: PreferenceDataModule, count: int) -> list[Batch]:
    return list(itertools.islice(module.train_dataloader(), count))


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other) > 0
    for ours, theirs in zip(one, other, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name


def joined(batches: list[Batch]) -> Batch:
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_a_batch_is_tensors_of_the_promised_shapes(make: Make) -> None:
    module = make()
    (batch,) = take(module, 1)
    shapes = {name: tuple(value.shape) for name, value in batch.items()}
    text = (tiny.TEXT_LENGTH, tiny.TEXT_WIDTH)
    assert shapes == {
        "pair": (BATCH,),
        "epoch": (BATCH,),
        "latents_preferred": (BATCH, *tiny.LATENT),
        "latents_dispreferred": (BATCH, *tiny.LATENT),
        "text": (BATCH, *text),
        "text_pooled": (BATCH, 1, tiny.POOLED_WIDTH),
        "user": (BATCH, 4),
    }
    for name, value in batch.items():
        assert value.dtype == (torch.int64 if name in ("pair", "epoch") else torch.float32)
    assert module.latent_shape == tiny.LATENT
    assert module.embedding_dim == 4


def test_each_example_holds_the_rows_of_its_own_pair(make: Make, folder: Path) -> None:
    module, data = make(), prepared(folder)
    table = data.read_pairs("train")
    by_id = dict(zip(stable_ids(table["pair_id"]).tolist(), table.to_pylist(), strict=True))
    latents, text = data.open_latents(), data.open_text()
    users = user_rows(data).users
    for number, pair in enumerate((batch := joined(take(module, 3)))["pair"].tolist()):
        expected = by_id[pair]
        for side in ("preferred", "dispreferred"):
            stored = latents.rows([expected[side]])["latents"][0].astype(np.float32)
            np.testing.assert_array_equal(batch[f"latents_{side}"][number], stored)
        states = text.rows([expected["caption_id"]])
        np.testing.assert_array_equal(batch["text"][number], states["text"][0])
        np.testing.assert_array_equal(batch["text_pooled"][number], states["text_pooled"][0])
        assert users[int(batch["user"][number, 0])] == expected["user_id"]


def test_each_epoch_is_every_training_pair_once_in_a_new_order(make: Make, folder: Path) -> None:
    module = make()
    expected = sorted(stable_ids(prepared(folder).read_pairs("train")["pair_id"]).tolist())
    assert module.pairs == len(expected)
    stream = joined(take(module, 3 * len(expected) // BATCH + 1))
    orders = [stream["pair"][stream["epoch"] == epoch].tolist() for epoch in range(3)]
    for order in orders:
        assert sorted(order) == expected
    assert orders[0] != orders[1] != orders[2]
    assert stream["epoch"].tolist() == sorted(stream["epoch"].tolist())


def test_a_resumed_stream_is_the_rest_of_the_uninterrupted_one(make: Make) -> None:
    whole = take(make(), 20)
    resumed = make()
    resumed.start_step = 9
    assert_equal(take(resumed, 11), whole[9:])


def test_an_objective_that_compares_people_gets_others(make: Make, folder: Path) -> None:
    asked = configure(folder, "objective=dispersion", "objective.other_users=3").objective
    module, plain = make(draws=PairDraws(asked, 0)), make(draws=PairDraws(configure(folder).objective, 0))
    users = user_rows(prepared(folder)).users
    table = prepared(folder).read_pairs()
    person = dict(zip(stable_ids(table["pair_id"]).tolist(), table["user_id"].to_pylist(), strict=True))
    for one, other in zip(take(module, 4), take(plain, 4), strict=True):
        assert one.keys() - other.keys() == {"others"}
        assert all(torch.equal(one[name], part) for name, part in other.items())
        assert one["others"].shape == (len(one["pair"]), 3, 4)
        for pair, others in zip(one["pair"].tolist(), one["others"][:, :, 0].long().tolist(), strict=True):
            assert person[pair] not in {users[row] for row in others}
    split = take(make(draws=PairDraws(asked, 0), micro_batch_size=4), 3)
    assert torch.equal(torch.cat([part["others"] for part in split]), next(iter(module.train_dataloader()))["others"])
    nobody = configure(folder, "objective=dispersion", "objective.drop_user=0.999").objective
    assert {tuple(part["others"].shape) for part in take(make(draws=PairDraws(nobody, 0)), 3)} == {(0, 4, 4)}
    assert "others" not in next(iter(module.val_dataloader()))
    examples, pair, epochs = module._examples(), np.arange(6), np.array([0, 3, 1, 2, 0, 5])
    mixed = examples.batch(pair, epochs)["others"]  # as at the end of an epoch
    alone = [examples.batch(pair[i : i + 1], epochs[i : i + 1])["others"] for i in range(6)]
    assert torch.equal(mixed, torch.cat(alone))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_do_not_change_the_stream(make: Make) -> None:
    alone, helped = make(), make()
    helped.workers = 2
    alone.start_step = helped.start_step = 2
    assert_equal(take(helped, 8), take(alone, 8))


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_together_see_what_one_process_sees(make: Make, world_size: int) -> None:
    module = make()
    for step in (0, 5, 11):
        parts = [module.batch(step, rank=rank, world_size=world_size) for rank in range(world_size)]
        assert [len(part["pair"]) for part in parts] == [BATCH // world_size] * world_size
        assert_equal([joined(parts)], [module.batch(step)])


def test_the_loader_gives_the_batches_of_its_step(make: Make) -> None:
    module = make()
    assert_equal(take(module, 4), [module.batch(step) for step in range(4)])
    module.start_step = 3
    assert_equal([module.first_batch()], [module.batch(0)])


def test_the_seed_decides_the_order(make: Make) -> None:
    assert_equal(take(make(seed=3), 2), take(make(seed=3), 2))
    assert take(make(seed=3), 1)[0]["pair"].tolist() != take(make(seed=4), 1)[0]["pair"].tolist()


def test_the_batch_size_does_not_change_the_stream(make: Make) -> None:
    small = joined(take(make(batch_size=4), 12))
    assert_equal([small], [joined(take(make(batch_size=24), 2))])


@pytest.mark.parametrize(("size", "parts"), [(4, 3), (5, 3), (1, 12), (12, 1), (99, 1)])
def test_micro_batches_are_the_batch_in_equal_parts(make: Make, size: int, parts: int) -> None:
    """Of at most so many pairs; also where the stream goes on in the middle of the run."""
    whole = take(make(), 3)
    split = make(micro_batch_size=size)
    assert_equal(split_into(take(split, 3 * parts), parts), whole)
    split.start_step = 2
    assert_equal(split_into(take(split, parts), parts), whole[2:])


def split_into(batches: list[Batch], parts: int) -> list[Batch]:
    assert {len(batch["pair"]) for batch in batches} == {12 // parts}
    return [joined(batches[begin : begin + parts]) for begin in range(0, len(batches), parts)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_micro_batches_share_the_pairs_that_stay_in_a_step_equally(make: Make, workers: int) -> None:
    """With the draws that the pairs have alone; also where the stream goes on in the middle of the run."""
    draws = PairDraws(tiny.objective(drop_user=0.4), 0)
    steps = [
        {key: value[draws.stays(one["epoch"], one["pair"])] for key, value in one.items()} for one in take(make(), 6)
    ]
    expected = [draws.of_training(one, BATCH / 3) for one in steps]
    assert len({len(one["pair"]) for one in expected}) > 2
    module = make(micro_batch_size=4)
    module.draws, module.workers, module.start_step = draws, workers, 1
    batches = take(module, 15)
    for step, whole in enumerate(expected[1:]):
        parts = batches[3 * step : 3 * step + 3]
        sizes = sorted(len(part["pair"]) for part in parts)
        assert sizes[-1] - sizes[0] <= 1
        assert {part.pop(COUNT).item() for part in parts} == {whole.pop(COUNT).item()} == {4.0}
        assert_equal([joined(parts)], [whole])


def test_held_out_pairs_are_measured_with_their_draws_and_nobody_dropped(make: Make) -> None:
    draws = PairDraws(tiny.objective(drop_user=0.9, share_noise=False), 0)
    plain, module = make(), make()
    module.draws = draws
    expected = [draws.of_measurement(batch) for batch in plain.val_dataloader()]
    assert "noise_dispreferred" in expected[0]
    assert_equal(list(module.val_dataloader()), expected)


def test_a_pair_never_gets_a_grouping_that_contains_it(make: Make, folder: Path) -> None:
    module, rows_of_users = make(), user_rows(prepared(folder))
    stream = joined(take(module, 30 * module.pairs // BATCH))
    met: dict[int, set[int]] = {}
    for pair, row in zip(stream["pair"].tolist(), stream["user"][:, 0].long().tolist(), strict=True):
        assert pair not in rows_of_users.shots[row]
        met.setdefault(pair, set()).add(row)
    # Every other grouping of the person comes in some epoch.
    pairs = prepared(folder).read_pairs("train")
    for pair, user in zip(stable_ids(pairs["pair_id"]).tolist(), pairs["user_id"].to_pylist(), strict=True):
        own = {row for row, name in enumerate(rows_of_users.users) if name == user}
        assert met[pair] == {row for row in own if pair not in rows_of_users.shots[row]}


def test_shots_and_pair_differ_in_their_captions() -> None:
    pairs = [("1", "ann", "cat"), ("2", "ann", "dog"), ("3", "ann", "cat"), ("4", "bob", "cat"), ("5", "ann", "owl")]
    table = pa.table(
        {
            "pair_id": [f"{number:0>16}" for number, _, _ in pairs],
            "user_id": [user for _, user, _ in pairs],
            "caption_id": [caption for _, _, caption in pairs],
        }
    )
    users = UserRows(("bob", "ann", "ann", "ann"), np.zeros((4, 1)), np.array([[5, 2], [1, 2], [2, 5], [3, 5]]))
    rows, counts = Groupings(users, table).rows_for(table)
    found = [set(row[:count].tolist()) for row, count in zip(rows, counts, strict=True)]
    # Pair 3 is no shot of row 1, but pair 1 of the same caption is.
    assert found == [{2}, {3}, {2}, {0}, {1}]


def test_many_pairs_are_compared_with_their_shots_as_few_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(folder)
    pairs = data.read_pairs()
    whole = Groupings(user_rows(data), pairs).rows_for(pairs)
    monkeypatch.setattr(groupings, "BLOCK", 7)
    assert len(pairs) % 7
    for ours, theirs in zip(Groupings(user_rows(data), pairs).rows_for(pairs), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_batch_is_the_stored_rows_of_its_pairs(make: Make, folder: Path) -> None:
    """Read from the shards themselves; also in a process that is sent the examples."""
    module, data = make(), prepared(folder)
    (batch,) = take(module, 1)
    latents, text = stored(data, "latents"), stored(data, "text")
    pairs = data.read_pairs()
    index = {pair: row for row, pair in enumerate(stable_ids(pairs["pair_id"]).tolist())}
    for number, pair in enumerate(batch["pair"].tolist()):
        row = pairs.slice(index[pair], 1).to_pylist()[0]
        for side in ("preferred", "dispreferred"):
            np.testing.assert_array_equal(batch[f"latents_{side}"][number], latents[row[side]]["latents"])
        for name in ("text", "text_pooled"):
            np.testing.assert_array_equal(batch[name][number], text[row["caption_id"]][name])
    sent = pickle.loads(pickle.dumps(module._examples()))
    assert_equal([TrainingStream(sent, BATCH, 0, 1, 0, 1).batch(0)], [batch])


def stored(data: PreparedData, name: str) -> dict[str, dict[str, np.ndarray]]:
    """Everything in a store, by id."""
    found = {}
    for path in (data.folder / name).glob("*.arrow"):
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        columns = {
            column: table[column].combine_chunks().to_numpy_ndarray() for column in table.column_names if column != "id"
        }
        for number, one in enumerate(table["id"].to_pylist()):
            found[one] = {column: rows[number] for column, rows in columns.items()}
    return found


def test_shots_of_other_data_are_refused() -> None:
    table = pa.table({"pair_id": [f"{1:0>16}"], "user_id": ["ann"], "caption_id": ["cat"]})
    for shot in (0, 2):
        users = UserRows(("ann",), np.zeros((1, 1)), np.array([[shot]]))
        with pytest.raises(UserError, match="the shots of the user embeddings are no pairs of these data"):
            Groupings(users, table)


@pytest.mark.parametrize("captions", [None, ("cat",)])
def test_a_user_without_an_embedding_has_no_row(captions: tuple[str, ...] | None) -> None:
    """One whom nothing describes; if that is everybody, the embeddings are of other people."""
    ids = [f"{number:0>16}" for number in range(2)]
    table = pa.table({"pair_id": ids, "user_id": ["ann", "bob"], "caption_id": ["cat", "cat"]})
    groupings = Groupings(UserRows(("bob",), np.zeros((1, 1)), np.empty((1, 0), np.int64), captions), table)
    rows, counts = groupings.rows_for(table)
    assert counts.tolist() == [0, 1]
    assert rows[1, 0] == 0
    with pytest.raises(UserError, match="nobody in the pairs has an embedding, such as ann; run `ppd embed` again"):
        groupings.rows_for(table.slice(0, 1))


def test_a_pair_in_every_grouping_of_its_user_is_left_out_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = prepared(folder)
    pairs = data.read_pairs("train")
    first, user = stable_ids(pairs["pair_id"])[0], pairs["user_id"][0].as_py()
    known = user_rows(data)
    shots = np.where((np.array(known.users) == user)[:, None], first, known.shots)
    module = PreferenceDataModule(data, UserRows(known.users, known.embeddings, shots), batch_size=BATCH)
    module.setup("fit")
    assert module.pairs == len(pairs) - 1
    assert "1 training pairs are left out: their caption is among all shots of their user" in caplog.text
    assert first not in joined(take(module, module.pairs // BATCH + 1))["pair"]


def test_a_batch_larger_than_the_training_split_is_remarked_on(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    pairs = make(batch_size=BATCH).pairs
    make(batch_size=pairs)
    assert "trainer.batch_size" not in caplog.text
    make(batch_size=40 * pairs)
    assert f"meets each of the {pairs} training pairs about 40.0 times" in caplog.text


@pytest.mark.parametrize("kind", ["one_hot", "constant"])
def test_users_without_shots_need_no_store(folder: Path, kind: str) -> None:
    settings = ("mode=synthetic", f"user={kind}")
    config = configure(folder, *settings)
    label.run(config)
    workspace = Workspace(config)
    module = open_batches(workspace)
    module.setup("fit")
    table = workspace.data.read_pairs("train")
    users = dict(zip(stable_ids(table["pair_id"]).tolist(), table["user_id"].to_pylist(), strict=True))
    names = sorted(set(workspace.data.read_pairs()["user_id"].to_pylist()))
    (batch,) = take(module, 1)
    expected = np.eye(len(names))[[names.index(users[pair]) for pair in batch["pair"].tolist()]]
    np.testing.assert_array_equal(batch["user"], expected if kind == "one_hot" else np.ones((BATCH, 1)))


def test_validation_is_its_split_once_in_a_fixed_order(make: Make, folder: Path) -> None:
    module = make()
    expected = stable_ids(prepared(folder).read_pairs("validation")["pair_id"]).tolist()
    once, again = list(module.val_dataloader()), list(module.val_dataloader())
    assert_equal(once, again)
    assert joined(once)["pair"].tolist() == expected
    assert joined(once)["epoch"].tolist() == [0] * len(expected)


def test_ranks_share_the_validation_split_equally(make: Make) -> None:
    module = make()
    assert module._validation is not None
    parts = [ValidationBatches(module._validation, BATCH, rank, 2) for rank in (0, 1)]
    pairs = [joined([part[index] for index in range(len(part))])["pair"].tolist() for part in parts]
    assert len(pairs[0]) == len(pairs[1])
    everything = joined(list(module.val_dataloader()))["pair"].tolist()
    assert set(pairs[0]) | set(pairs[1]) == set(everything[: len(everything) // 2 * 2])
    assert not set(pairs[0]) & set(pairs[1])


def test_removing_pairs_leaves_the_order_of_the_others() -> None:
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 500)
    kept = np.arange(500) % 3 != 0
    whole, rest = ExampleOrder(ids, 1), ExampleOrder(ids[kept], 1)
    order = [pair for pair in ids[whole(500, 1000)[0]].tolist() if pair in set(ids[kept].tolist())]
    assert ids[kept][rest(kept.sum(), 2 * kept.sum())[0]].tolist() == order


def test_orders_are_uniform() -> None:
    order = ExampleOrder(np.arange(5), 0)
    firsts = np.bincount([order(5 * epoch, 5 * epoch + 1)[0][0] for epoch in range(5000)], minlength=5)
    assert (np.abs(firsts - 1000) < 120).all()  # four standard deviations


def test_a_batch_that_devices_cannot_share_is_one_clear_message(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreferenceDataModule, "_rank_and_world_size", lambda self: (0, 5))
    with pytest.raises(UserError, match=r"trainer\.batch_size: 12 pairs cannot be shared equally by 5 devices"):
        make()


def test_data_that_are_not_prepared_name_the_command(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this table is missing; run `ppd prepare` with the same settings"):
        make(f"output={tmp_path}")


def test_users_that_are_not_embedded_name_the_command(folder: Path) -> None:
    with pytest.raises(UserError, match="this store is missing; run `ppd embed` with the same settings"):
        open_batches(Workspace(configure(folder, "user.encoder=codec")))


def test_a_stale_store_is_refused(make: Make, tmp_path: Path) -> None:
    other = tiny.model_folder(tmp_path / "other")
    tiny.codec(seed=7).save_pretrained(other / "codec")
    with pytest.raises(UserError, match=r"this store is stale \(codec was"):
        make(f"model.path={other}")


def test_damaged_pairs_are_one_clear_message(folder: Path) -> None:
    path = prepared(folder).pairs_path
    sound, module = path.read_bytes(), PreferenceDataModule(prepared(folder), user_rows(prepared(folder)))
    try:
        flip_byte(path, len(sound) - 20)
        with pytest.raises(UserError, match=r"pairs\.arrow: damaged"):
            module.setup("fit")
    finally:
        path.write_bytes(sound)


def test_an_empty_split_is_one_clear_message(tmp_path: Path) -> None:
    tiny.model_folder(tmp_path / "model")
    write(tmp_path / "source", rows(users=2, each=20))
    config = configure(tmp_path, "data.unseen_users=0.999999")
    prepare.run(config)
    data = Workspace(config).data
    module = PreferenceDataModule(data, user_rows(data))
    with pytest.raises(UserError, match="there is no pair to train on; use more pairs, or other shares"):
        module.setup("fit")


def test_no_validation_split_means_no_validation_loader(folder: Path, tmp_path: Path, make: Make) -> None:
    config = configure(folder, f"output={tmp_path}", "data.validation=0.0")
    prepare.run(config)
    assert make(f"output={tmp_path}", "data.validation=0.0").val_dataloader() == []


def test_nothing_of_the_tests_is_in_a_batch(make: Make, folder: Path) -> None:
    module, pairs = make(), prepared(folder).read_pairs()
    tested = pairs.filter(pc.not_equal(pairs["split"], "train"))
    trained = set(joined(take(module, 2 * module.pairs // BATCH))["pair"].tolist())
    assert not trained & set(stable_ids(tested["pair_id"]).tolist())


def test_the_stream_takes_well_under_a_millisecond_a_pair(make: Make) -> None:
    module = make()
    stream = iter(TrainingStream(module._examples(), BATCH, 0, 1, 0, 1))
    next(stream)
    begun = time.process_time()
    for _ in range(50):
        next(stream)
    assert (time.process_time() - begun) / (50 * BATCH) < 1e-3


def test_a_position_is_where_the_order_has_the_pair() -> None:
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 50)
    order = ExampleOrder(ids, seed=4)
    rows, epochs = order(0, 170)
    np.testing.assert_array_equal(order.positions(ids[rows], epochs), np.arange(170))
    with pytest.raises(ValueError, match="not among"):
        order.positions(np.array([7]), np.array([0]))
