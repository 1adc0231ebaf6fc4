"""The choices of a world with generated pictures: all of them, or half beside half among the vendors' pictures.

N = pictures, K = concepts, S = styles, J = image statistics, P = people, M = choices.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppd_lightning.rewards.image_statistics import STATISTICS
from ppd_lightning.storage.atomic import write_text_atomic
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.worlds.emoji.choices import (
    PEOPLE,
    Pictures,
    World,
    decoded,
    encode_pictures,
    image_uid,
    made_from,
    statistics_of,
    write_rows,
)
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.drawers import DRAWERS
from ppd_lightning.worlds.emoji.generated import generated_pictures, pictures_key
from ppd_lightning.worlds.emoji.people import People, choose, make_people, person_generator, write_people
from ppd_lightning.worlds.emoji.pictures import STYLES, draw_world
from ppd_lightning.worlds.emoji.pool import DRAWINGS, POOL, Pool, own_weights
from ppd_lightning.worlds.emoji.sides import CHOOSING, JUDGING, Side
from ppd_lightning.worlds.emoji.vendors import credits_text, fetch_packages

log = logging.getLogger(__name__)

VERSION = 1
"""Raised when the same settings would make another world."""


@dataclass(frozen=True)
class Merits:
    """How much people mind what everybody likes.

    faithfulness, quality: means over people, in units of taste for a deviation of the merit. spread: deviation over
    people of the logarithms.
    """

    faithfulness: float
    quality: float
    spread: float

    def weights(self, ids: Sequence[str], seed: int) -> np.ndarray:
        """Of each person, (P, 2)."""
        return own_weights(ids, seed, (self.faithfulness, self.quality), self.spread)


def make_parquet(
    folder: Path,
    output: Path,
    world: World,
    *,
    noises: int,
    candidates: int,
    merits: Merits,
    mixed: bool,
    workers: int = 0,
) -> None:
    """Draw the world's pictures, let its people choose, and write source/, people.json, CREDITS.txt and the pool.

    Nothing is done where the source is there already.

    Args:
        folder: the data folder.
        output: the folder of everything, for the packages and the generated pictures.
        world: who chooses among pictures of what.
        noises: pictures of a concept by each drawer.
        candidates: pictures that a person picks one of.
        merits: what everybody likes.
        mixed: whether half of each person's choices are among the vendors' pictures, as in the drawn world.
        workers: processes that draw pictures; with 0 it is this one.

    Raises:
        UserError: the packages cannot be fetched, or a file of the models that ship is missing.
    """
    names, ids, size, seed = shipped_concepts(world.concepts), world.people_ids(), world.image_size, world.seed
    key = fingerprint([VERSION, made_from(STATISTICS), pictures_key(names, size, seed)])
    path, stamp = folder / "source" / "choices.parquet", folder / "source.key"
    needed = (path, folder / PEOPLE, folder / POOL / "meta.json", folder / DRAWINGS / "meta.json")
    if stamp.is_file() and all(file.is_file() for file in needed) and stamp.read_bytes() == key.encode():
        return
    pool, shown = make_pool(fetch_packages(output / "packages"), output, names, noises, size, seed, workers)
    drawn = pool.statistics[: len(pool.drawings)].reshape(len(names), len(STYLES), -1)
    tastes = make_people(ids, seed, STYLES, STATISTICS, drawn)
    of_drawn = world.choices_each // 2 if mixed else 0
    chosen = [
        choose_generated(
            tastes,
            pool,
            merits.weights(ids, seed),
            each=world.choices_each - of_drawn,
            candidates=candidates,
            temperature=world.temperature,
            seed=seed,
        )
    ]
    if of_drawn:
        among = choose(tastes, drawn, of_drawn, world.temperature, seed)
        first = among.concept * len(STYLES)
        chosen.append((among.person, first + among.picked, first + among.other))
    person, picked, other = (np.concatenate(part) for part in zip(*chosen, strict=True))
    turn = np.concatenate([np.arange(len(part[0])) % (len(part[0]) // world.people) for part in chosen])
    order = np.lexsort((turn, person))
    write_text_atomic(folder / "CREDITS.txt", credits_text())
    write_people(folder / PEOPLE, tastes)
    pool.write(folder, key)
    write_rows(path, names, shown, ids, person[order], picked[order], other[order], seed)
    write_text_atomic(stamp, key)
    log.info(
        "%d pictures, of which %d are generated; %d people chose", len(pool.uids), len(pool.generated), world.people
    )


def make_pool(
    files: dict[str, Path], output: Path, names: Sequence[str], noises: int, size: int, seed: int, workers: int
) -> tuple[Pool, Pictures]:
    """All pictures of the world: the vendors' first, then the generated ones, with what is known of each.

    Args:
        files: the vendors' packages.
        names: the K concepts.
    """
    world = draw_world(files, [*names], size)
    generated = generated_pictures(output, names, noises, size, seed, workers)
    jpegs = [jpeg for styles in encode_pictures(world.pictures) for jpeg in styles]
    jpegs += encode_pictures(generated.pixels.transpose(0, 2, 3, 1)[None])[0]
    pixels = decoded(jpegs, size)
    count, models = len(names) * len(STYLES), (*STYLES, *(drawer.name for drawer in DRAWERS))
    concept = np.concatenate([np.repeat(np.arange(len(names)), len(STYLES)), generated.concept])
    model = np.concatenate([np.tile(np.arange(len(STYLES)), len(names)), len(STYLES) + generated.drawer])
    uids = [image_uid(name, style) for name in names for style in STYLES]
    uids += [
        generated_uid(names[row], DRAWERS[drawer].name, int(noise), seed)
        for row, drawer, noise in zip(generated.concept, generated.drawer, generated.noise, strict=True)
    ]
    captions = [names[row] for row in concept]
    seen = {side: Side(side, names, pixels[:count]).see_pixels(captions, pixels) for side in (JUDGING, CHOOSING)}
    statistics = statistics_of(pixels).astype(np.float64)
    pool = Pool(tuple(names), models, tuple(uids), concept, model, statistics, seen, pixels[:count])
    return pool, Pictures(uids, concept, [models[row] for row in model], jpegs)


def choose_generated(
    people: People, pool: Pool, weights: np.ndarray, *, each: int, candidates: int, temperature: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Let everybody make `each` choices: the liked one of a few generated pictures of a concept, beside another one.

    The few are drawn at random; the one with the highest utility + temperature * Gumbel noise is picked, which with two
    candidates is Bradley and Terry's model. A person meets every concept before one comes again. A person's choices
    depend on the seed and the own id, not on who else there is.

    Args:
        weights: (P, 2), how much each person minds what everybody likes.

    Returns:
        person, picked, other: (M,) int64 each, rows of the people and of the pool.
    """
    liked = pool.utilities(people, weights, CHOOSING)
    generated, concepts = pool.generated, len(pool.concepts)
    of_concept = [generated[pool.concept[generated] == row] for row in range(concepts)]
    rows = np.stack(of_concept)  # (K, n): every concept has as many
    picked, other = [], []
    for name, utility in zip(people.ids, liked, strict=True):
        generator = person_generator(seed, "generated choices", name)
        met = np.concatenate([generator.permutation(concepts) for _ in range(-(-each // concepts))])[:each]
        few = generator.random((each, rows.shape[1])).argsort(1)[:, :candidates]
        shown = rows[met[:, None], few]  # (each, candidates)
        best = (utility[shown] + temperature * generator.gumbel(size=shown.shape)).argmax(1)
        beside = (best + generator.integers(1, candidates, size=each)) % candidates
        picked.append(shown[np.arange(each), best])
        other.append(shown[np.arange(each), beside])
    person = np.repeat(np.arange(len(people.ids)), each)
    return person, np.concatenate(picked), np.concatenate(other)


def generated_uid(concept: str, drawer: str, noise: int, seed: int) -> str:
    """The id of a generated picture, in the form of Pick-a-Pic's."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"emoji://{drawer}/{concept}/{noise}/{seed}"))
