"""Batches of tensors from the stores: no images, no encoders and no random state.

B = pairs in a batch, N = pairs, E = width of a user embedding, K = other people a pair is compared with.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from lightning import LightningDataModule
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ppd_lightning.data.loading import Loader
from ppd_lightning.errors import UserError
from ppd_lightning.training.accumulation import met_several_times, micro_batches
from ppd_lightning.training.caption_states import open_captions
from ppd_lightning.training.example_order import ExampleOrder
from ppd_lightning.training.examples import EXAMPLE_COLUMNS, Examples
from ppd_lightning.training.groupings import Groupings
from ppd_lightning.training.noisy_latents import Batch
from ppd_lightning.training.other_users import OtherUsers
from ppd_lightning.training.pair_draws import PairDraws
from ppd_lightning.training.sound_inputs import unsound_inputs

if TYPE_CHECKING:
    from ppd_lightning.data.prepared import PreparedData
    from ppd_lightning.users.rows import UserRows

log = logging.getLogger(__name__)


class PreferenceDataModule(LightningDataModule):
    """Training and validation batches of prepared data and its users' embeddings.

    A batch holds pair and epoch (B,) int64, latents_preferred and latents_dispreferred (B, ...), an array (B, ...) for
    each of `text_arrays` and user (B, E), all float32, and reference (B, 2) where the reference's errors are stored.
    With `draws` of an objective that compares people, training batches hold others (B, K, E) (`OtherUsers`).
    Where the data store no text states, caption (B,) int64, the row in the captions table, stands for them.
    Batch k of a run is the examples [k B, (k + 1) B) of an endless stream (`ExampleOrder`), B = batch_size, of which
    every rank takes its equal part, in micro-batches. With `draws`, batches of the loaders hold what is random about
    their pairs too, also of pairs whose user is dropped nothing but their number (`PairDraws`): so of a step's other
    pairs its micro-batches have equal numbers, up to one. Which grouping of shots describes the user of a pair is
    drawn from (seed, epoch, pair) among those without the pair and its caption.

    Args:
        data: prepared.
        rows: the embeddings of its users.
        text_arrays: arrays of the text store that go into a batch, under their names.
        batch_size: pairs of an optimizer step, over all ranks.
        micro_batch_size: most pairs that a rank works on at once; None is its whole share.
        seed: of the order and of the groupings.
        draws: of the training; None leaves them to its step.

    Attributes:
        start_step: the batch at which the training loader starts; a resumed run sets it.
        workers: processes that assemble batches; 0 is the training process itself. Batches for a GPU lie in pinned
            memory.
    """

    def __init__(
        self,
        data: PreparedData,
        rows: UserRows,
        *,
        text_arrays: Sequence[str] = ("text", "text_pooled"),
        batch_size: int = 16,
        micro_batch_size: int | None = None,
        seed: int = 0,
        draws: PairDraws | None = None,
    ) -> None:
        super().__init__()
        self.data, self.rows, self.text_arrays = data, rows, tuple(text_arrays)
        self.batch_size, self.micro_batch_size, self.seed = batch_size, micro_batch_size, seed
        self.draws, self.start_step, self.workers = draws, 0, 0
        self._training: Examples | None = None
        self._validation: Examples | None = None
        self._everything: Examples | None = None

    def setup(self, stage: str) -> None:
        """Open pairs and stores.

        Raises:
            UserError: a table or a store is missing, damaged or stale, there is nothing to train on, or the batch
                cannot be shared between the ranks.
        """
        if self._training is not None:
            return
        self._micro_batches()
        latents, text = self.data.open_latents(), open_captions(self.data)
        table = self.data.read_pairs()
        groupings = Groupings(self.rows, table)
        table = table.select(EXAMPLE_COLUMNS).filter(pc.is_in(table["split"], pa.array(["train", "validation"])))
        everything = Examples(
            table, latents, text, self.rows.embeddings, groupings, self.seed, text_arrays=self.text_arrays
        )
        trained = np.asarray(pc.equal(table["split"], "train"))
        training, validation = everything.part(trained), everything.part(~trained)
        for name, examples in (("training", training), ("validation", validation)):
            if examples.left_out:
                log.warning(
                    "%d %s pairs are left out: their caption is among all shots of their user, or they have none",
                    examples.left_out,
                    name,
                )
        if not len(training):
            raise UserError(
                f"{self.data.pairs_path}: there is no pair to train on; use more pairs, or other shares in data.*"
            )
        if self.batch_size > len(training):
            log.warning(met_several_times(self.batch_size, len(training)))
        if self.draws is not None and self.draws.objective.compared_users:
            _, people = np.unique(self.rows.users, return_inverse=True)
            count = self.draws.objective.compared_users
            training.others = OtherUsers(people[training.user_rows[:, 0]], training.pairs, count, self.seed)
        self._training, self._validation = training, validation
        self._everything = everything.part(trained, described=False)

    @property
    def embedding_dim(self) -> int:
        """E."""
        return int(self._examples().users.shape[1])

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one latent, such as (16, h, w)."""
        return tuple(self._examples().latents.shape[1:])

    @property
    def pairs(self) -> int:
        """N of the training split."""
        return len(self._examples())

    @property
    def pairs_at_once(self) -> int:
        """B of a micro-batch."""
        return self.batch_size // self._rank_and_world_size()[1] // self._micro_batches()

    def first_batch(self) -> Batch:
        """Batch 0, wherever the run starts and however many ranks share it, whole."""
        return self.batch(0)

    def first_pairs(self, count: int) -> Batch:
        """The first pairs of the stream, whatever a batch is."""
        return TrainingStream(self._examples(), count, 0, 1, 0, 1).batch(0)

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """One rank's part of batch `step` of the run, whole."""
        return TrainingStream(self._examples(), self.batch_size, rank, world_size, 0, 1).batch(step)

    def reference_pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All pairs of the training split: their ids and the rows of their two latents and their caption, each (N,).

        Also those that are left out of the training, so that runs with other users share what is stored of the rest.
        """
        everything, _ = self._whole_stream()
        return everything.pairs, everything.preferred, everything.dispreferred, everything.caption

    def reference_length(self, steps: int) -> int:
        """How far the first `steps` batches reach in the stream of all pairs of the training split."""
        end, examples, (_, order) = steps * self.batch_size, self._examples(), self._whole_stream()
        rows, epochs = ExampleOrder(examples.pairs, examples.seed)(max(0, end - len(examples)), end)
        return int(order.positions(examples.pairs[rows], epochs).max()) + 1

    def reference_batch(self, begin: int, end: int) -> Batch:
        """The positions [begin, end) of the stream of all pairs of the training split, without users."""
        everything, order = self._whole_stream()
        return everything.without_user(*order(begin, end))

    def use_reference(self, errors: np.ndarray) -> None:
        """Put stored errors (P, 2) of the reference, by position in that stream, into the training batches.

        What the loader fetches ahead of the last step lies beyond them: it gets nan, and is never trained on.
        """
        _, order = self._whole_stream()
        known = np.append(errors, np.full((1, 2), np.nan, errors.dtype), 0)
        self._examples().reference = lambda pairs, epochs: known[
            np.minimum(order.positions(pairs, epochs), len(errors))
        ]

    def unsound_inputs(self, pairs: Sequence[int]) -> list[str]:
        """A sentence for each store that holds something not finite of training or validation pairs, by stable ids."""
        self._examples()
        parts = [part for part in (self._training, self._validation) if part is not None]
        return [fault for part in parts for fault in unsound_inputs(part, pairs)]

    def train_dataloader(self) -> Loader[Batch]:
        """The endless stream of micro-batches from `start_step` on."""
        rank, world_size = self._rank_and_world_size()
        parts = self._micro_batches()
        stream = TrainingStream(
            self._examples(), self.batch_size, rank, world_size, self.start_step, parts, draws=self.draws
        )
        return self._loader(stream)

    def val_dataloader(self) -> Loader[Batch] | list[Loader[Batch]]:
        """The validation split in the order of its pair ids, as of epoch 0; nothing where the split is empty."""
        self._examples()
        assert self._validation is not None
        rank, world_size = self._rank_and_world_size()
        size = self.batch_size // self._micro_batches()
        batches = ValidationBatches(self._validation, size, rank, world_size, draws=self.draws)
        return self._loader(batches) if len(batches) else []

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """As everywhere, but the numbers of captions stay on the CPU, which reads them (`CaptionStates`)."""
        others = {name: part for name, part in batch.items() if name != "caption"}
        moved: Batch = super().transfer_batch_to_device(others, device, dataloader_idx)
        return batch | moved

    def _loader(self, batches: Dataset[Batch]) -> Loader[Batch]:
        pinned = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return Loader(batches, self.workers, "data.workers", pinned=pinned)

    def _examples(self) -> Examples:
        if self._training is None:
            raise RuntimeError("call setup() first")
        return self._training

    def _whole_stream(self) -> tuple[Examples, ExampleOrder]:
        self._examples()
        assert self._everything is not None
        return self._everything, ExampleOrder(self._everything.pairs, self._everything.seed)

    def _micro_batches(self) -> int:
        return micro_batches(self.batch_size, self.micro_batch_size, self._rank_and_world_size()[1])

    def _rank_and_world_size(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size


class TrainingStream(IterableDataset[Batch]):
    """One rank's part of every batch from `start_step` on, in `parts` micro-batches each, without an end.

    With `draws`, pairs that are left out of a step are left out of its micro-batches, which share the others equally:
    their sizes differ by one at most.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        rank: int,
        world_size: int,
        start_step: int,
        parts: int,
        draws: PairDraws | None = None,
    ) -> None:
        self.examples, self.start, self.parts, self.draws = examples, start_step * parts, parts, draws
        self.order = ExampleOrder(examples.pairs, examples.seed)
        self.batch_size, self.own = batch_size, batch_size // world_size
        self.offset = rank * self.own
        self._kept: tuple[int, np.ndarray, np.ndarray] | None = None

    def batch(self, index: int) -> Batch:
        """The `index`th micro-batch of this rank, counted from the beginning of the run."""
        step, part = divmod(index, self.parts)
        rows, epochs = self._of_step(step)
        here = slice(part * len(rows) // self.parts, (part + 1) * len(rows) // self.parts)
        batch = self.examples.batch(rows[here], epochs[here])
        return batch if self.draws is None else self.draws.of_training(batch, self.own / self.parts)

    def _of_step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows and epochs of this rank's pairs of a step, kept for its other micro-batches."""
        if self._kept is None or self._kept[0] != step:
            begin = step * self.batch_size + self.offset
            rows, epochs = self.order(begin, begin + self.own)
            if self.draws is not None:
                stays = self.draws.stays(torch.from_numpy(epochs), torch.from_numpy(self.examples.pairs[rows])).numpy()
                rows, epochs = rows[stays], epochs[stays]
            self._kept = step, rows, epochs
        return self._kept[1:]

    def __iter__(self) -> Iterator[Batch]:
        """Every worker makes each `num_workers`th batch; the loader takes them in turn, so the order stays."""
        worker = get_worker_info()
        first, every = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        return map(self.batch, itertools.count(self.start + first, every))


class ValidationBatches(Dataset[Batch]):
    """Every `world_size`th example, in batches; where there are fewer than ranks, each has all of them."""

    def __init__(
        self, examples: Examples, batch_size: int, rank: int, world_size: int, draws: PairDraws | None = None
    ) -> None:
        own = slice(rank, None, world_size) if len(examples) >= world_size else slice(None)
        self.examples, self.rows = examples, np.arange(len(examples))[own]
        self.own, self.draws = batch_size // world_size, draws

    def __len__(self) -> int:
        return -(-len(self.rows) // self.own)

    def __getitem__(self, index: int) -> Batch:
        rows = self.rows[index * self.own : (index + 1) * self.own]
        batch = self.examples.batch(rows, np.zeros(len(rows), np.int64))
        return batch if self.draws is None else self.draws.of_measurement(batch)
