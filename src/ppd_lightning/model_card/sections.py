"""What the model card tells of a run: its data, its training and, where it was evaluated, its results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppd_lightning.config.schemas import (
    ClipUser,
    Config,
    FeaturesUser,
    FolderData,
    Objective,
    PickapicData,
    VlmUser,
)
from ppd_lightning.data.prepared import people_of, read_counts
from ppd_lightning.data.splits import SPLITS
from ppd_lightning.errors import UserError

NOT_MEASURED = "None was measured: there is no evaluation of these weights."
EMOJI_WORLD = (
    "The embedded world of ppd-lightning: emoji by several vendors, and simulated people who choose between two "
    "pictures of one concept by a hidden taste."
)
LABELS = {
    "people": "The labels are people's own choices",
    "rewards": "Each pair was labelled anew by one of several rewards, which stands for a user",
}


def read_told(path: Path, made_by: str) -> dict[str, Any]:
    """What a verb left as JSON.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: missing or damaged ({error}); run `{made_by}` with the same settings") from None
    return values


def data_section(config: Config) -> str:
    """The source, its counts, and how a user is described."""
    counts = read_counts(config)
    source = EMOJI_WORLD
    if isinstance(config.data, PickapicData):
        source = f"Parquet files in the schema of Pick-a-Pic v2, from a folder called `{_last(config.data.root)}`."
    if isinstance(config.data, FolderData):
        source = f"Choices between images from a table called `{_last(config.data.table)}`."
    people = {group: len(users) for group, users in people_of(config).items()}
    rows = [f"| {split.replace('_', ' ')} | {counts[split]:,} |" for split in SPLITS if counts[split]]
    lines = [
        f"{source} {LABELS[config.data.labels]}: {counts['pairs']:,} pairs over {counts['images']:,} images, by "
        f"{people['seen']:,} users who were trained on and {people['unseen']:,} who were not. "
        f"{_described(config)} Images were brought to {config.data.image_size} pixels.",
        "",
        "| split | pairs |",
        "|---|---|",
        *rows,
        "",
        "No test pair shares its caption or an image with the training; `shots` describe users who are not trained on.",
    ]
    return "\n".join(lines)


def _last(place: str) -> str:
    """What a path or URL ends with: where it is, is nobody else's business."""
    return place.rstrip("/").rpartition("/")[2]


def _described(config: Config) -> str:
    """How a user is described."""
    user, shots = config.user, config.shots
    choices = f"{shots.n} of a user's choices (`shots.select={shots.select}`)"
    if isinstance(user, FeaturesUser):
        return f"{choices}, seen by `{user.encoder}`, make their vector."
    if isinstance(user, ClipUser):
        return f"{choices}, seen by the vision tower of the reward `{user.reward}`, make their vector."
    if isinstance(user, VlmUser):
        return f"A profile that `{_last(user.path)}` writes of {choices} makes their vector (`{user.position}`)."
    return {
        "reward": f"A logistic regression of {choices} on rewards ({', '.join(sorted(config.rewards))}) makes it.",
        "stated": "Words about a user's taste make their vector.",
        "id": "A user's vector is a dimension of their own; people who were not trained on have none.",
        "one_hot": "A user's vector is a dimension of their own.",
        "constant": "All users have the same vector.",
    }[user.kind]


def training_section(config: Config, run: Mapping[str, Any]) -> str:
    """The objective with what its beta means, the budget, and what the training logged; `run` is its summary."""
    optimizer, trainer = config.optimizer, config.trainer
    paragraphs = [
        *_objective(config.objective, run),
        f"Budget: {run['steps']:,} steps of {trainer.batch_size} pairs ({run['pairs']:,}, repetitions counted), AdamW "
        f"at {optimizer.lr:g} ({optimizer.schedule}, {optimizer.warmup_steps} steps of warm-up), {trainer.precision}.",
        f"The loss at step 0 was {run['step0_loss']:.6f}: a new branch changes nothing, and its loss is ln 2.",
    ]
    last = {name: run[name] for name in ("validation/loss", "validation/implicit_accuracy") if name in run}
    if last:
        told = ", ".join(f"{name.partition('/')[2].replace('_', ' ')} {value:.4f}" for name, value in last.items())
        paragraphs.append(f"Preference on the validation pairs, by the weights of the last step: {told}.")
    return "\n\n".join(paragraphs)


def _objective(objective: Objective, run: Mapping[str, Any]) -> Iterator[str]:
    if objective.name == "sft":
        yield "Objective: w(t) times the mean squared noise error on the preferred image. beta has no part in it."
    else:
        beta, weight, coefficient = objective.beta, objective.timesteps_weight, run["coefficient"]
        summed = objective.reduction == "sum"
        product = "beta * timesteps_weight" + (" * D" if summed else "")
        sizes = f"{beta:g} * {weight:g}" + (f" * {coefficient / (beta * weight):g}" if summed else "")
        yield (
            "Objective: -log sigmoid(-C w(t) Delta), Eq. 6 of the paper. Delta is how much the branch changes the "
            "*mean* squared noise error on the preferred image, less the same on the other image."
        )
        yield (
            f"What beta means: here the squared norm is a {objective.reduction} (`reduction={objective.reduction}`) "
            f"and T w is `timesteps_weight={weight:g}`, so C = {product} = {sizes} = {coefficient:g}"
            + (", D being the dimensions of a latent" if summed else "")
            + f". As Diffusion-DPO's released code counts beta, this is beta_dpo = 2 C = {run['beta_dpo']:g}."
        )
    added = objective.sft_weight if objective.name != "sft" else 0
    yield (
        f"Times are drawn from [{objective.t_min:g}, {objective.t_max:g}] and weighted by w(t) = "
        f"`{objective.weighting}`, whose mean is 1. {objective.drop_user:.0%} of the examples are shown without "
        "their user." + (f" {added:g} times the change of the error on the preferred image is added." if added else "")
    )


def results_section(folder: Path, adapter: str) -> str:
    """Every evaluation in the run's folder of the adapter file with this SHA-256, or that there is none."""
    return "\n\n".join(_results(folder, adapter)) or NOT_MEASURED


def _results(folder: Path, adapter: str) -> Iterator[str]:
    for path in sorted(folder.glob("evaluation-*/summary.json")):
        file = path.with_name("settings.json")
        settings = read_told(file, "ppd evaluate") if file.exists() else {}
        if "measures" not in settings:
            yield f"`{path.parent.name}` is left out: it does not say how it was drawn and measured."
            continue
        if settings["adapter"] != adapter:
            continue
        drawn, judged = settings["generation"], settings["evaluation"]
        keys = ("steps", "text_guidance", "user_guidance", "user_guidance_interval", "decoder")
        told = [f"{key} = {drawn[key]}" for key in keys]
        told += [f"captions = {Path(judged['captions']).name}", f"tie = {judged['tie']}"]
        yield (
            "How often the picture drawn for a person is preferred to the base's, by `ppd evaluate`: a tie counts one "
            f"half, the intervals come from {judged['bootstrap']:,} resamplings. Measured by "
            f"{', '.join(settings['measures'])}: the first of these decides `win_rate`, or each user's own where "
            f"rewards are the users. Drawn by the framework's own pipeline with {', '.join(told)}. "
            f"(`{path.parent.name}`)"
        )
        yield "\n".join(_table(read_told(path, "ppd evaluate")))


def _table(summary: Mapping[str, Any]) -> Iterator[str]:
    yield "| what | people | rate | 95 % interval | n | won | lost | tied |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, groups in summary.items():
        if "win_rate" not in name:
            continue
        for group, rate in groups.items():
            numbers = [f"{rate['rate']:.3f}", f"{rate['low']:.3f} to {rate['high']:.3f}"]
            counts = [str(rate[key]) for key in ("n", "wins", "losses", "ties")]
            yield f"| {' | '.join([name, group, *numbers, *counts])} |"
    if "concept_accuracy" in summary:
        yield ""
        shares = ", ".join(f"{name} {share:.3f}" for name, share in summary["concept_accuracy"].items())
        yield f"Share of pictures whose concept is recognised: {shares}."
