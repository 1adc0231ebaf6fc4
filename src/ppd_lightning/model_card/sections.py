"""What the model card says of a run: its data, its training and, where it was evaluated, its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.source import Source
from ppd_lightning.data.splits import SPLITS
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.statistics.intervals import words
from ppd_lightning.markdown import code
from ppd_lightning.markdown import words as text_words
from ppd_lightning.storage.json_files import read_json
from ppd_lightning.storage.result_folder import require_whole, result_files
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.settings import Optimizer, Trainer

NOT_MEASURED = "None was measured: there is no evaluation of these weights."
LABELS = {
    "people": "The labels are people's own choices",
    "rewards": "Each pair was labelled anew by one of several rewards, which stands for a user",
}


def read_summary(path: Path, made_by: str) -> dict[str, Any]:
    """What a verb left as JSON.

    Raises:
        UserError: it is missing or damaged.
    """
    remedy = f"run `{made_by}` with the same settings"
    try:
        require_whole(path)
        return read_json(path, remedy)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {remedy}") from None


def data_section(source: Source, data: PreparedData, described: str) -> str:
    """The source, its counts, and how a user is described, which is a sentence."""
    counts = data.read_counts()
    people = {group: len(users) for group, users in data.people().items()}
    rows = [f"| {split.replace('_', ' ')} | {counts[split]:,} |" for split in SPLITS if counts[split]]
    name = source.hub_name()
    link = "" if name is None else f" Data set: [{name}](https://huggingface.co/datasets/{name})."
    lines = [
        f"{source.description()}{link} {LABELS[source.labels]}: {counts['pairs']:,} pairs over {counts['images']:,} "
        f"images, by {people['seen']:,} users who were trained on and {people['unseen']:,} who were not. "
        f"{described} Images were brought to {data.image_size} pixels.",
        "",
        "| split | pairs |",
        "|---|---|",
        *rows,
        "",
        "No test pair shares its caption or an image with the training; `shots` describe users who are not trained on.",
    ]
    return "\n".join(lines)


def training_section(objective: Objective, optimizer: Optimizer, trainer: Trainer, run: Mapping[str, Any]) -> str:
    """The objective with what its beta means, the budget, and what the training logged; `run` is its summary."""
    paragraphs = [
        *_objective(objective, run),
        f"Budget: {run['steps']:,} steps of {trainer.batch_size} pairs ({run['pairs']:,}, repetitions counted), AdamW "
        f"at {optimizer.lr:g} ({optimizer.schedule}, {optimizer.warmup_steps} steps of warm-up), {trainer.precision}.",
        f"The loss at step 0 was {run['step0_loss']:.6f}: a new branch changes nothing, and its loss is ln 2.",
    ]
    last = {name: run[name] for name in ("validation/loss", "validation/implicit_accuracy") if name in run}
    if last:
        logged = ", ".join(f"{name.partition('/')[2].replace('_', ' ')} {value:.4f}" for name, value in last.items())
        paragraphs.append(f"Preference on the validation pairs, by the weights of the last step: {logged}.")
    return "\n\n".join(paragraphs)


def _objective(objective: Objective, run: Mapping[str, Any]) -> Iterator[str]:
    if not objective.needs_reference:
        yield f"Objective: {objective.formula}. beta has no part in it."
    else:
        beta, weight, coefficient = objective.beta, objective.timesteps_weight, run["coefficient"]
        summed = objective.reduction == "sum"
        product = "beta * timesteps_weight" + (" * D" if summed else "")
        sizes = f"{beta:g} * {weight:g}" + (f" * {coefficient / (beta * weight):g}" if summed else "")
        yield (
            f"Objective: {objective.title}. The loss of a pair is a function of C w(t) Delta, in PPD and Diffusion-DPO "
            "-log sigmoid(-C w(t) Delta), Eq. 6 of the paper. Delta is how much the branch changes the *mean* squared "
            "error of the prediction on the preferred image, less the same on the other image."
            + (f" Here it is {objective.formula}." if objective.formula else "")
        )
        yield (
            f"What beta means: here the squared norm is a {objective.reduction} (`reduction={objective.reduction}`) "
            f"and T w is `timesteps_weight={weight:g}`, so C = {product} = {sizes} = {coefficient:g}"
            + (", D being the dimensions of a latent" if summed else "")
            + f". As Diffusion-DPO's released code counts beta, this is beta_dpo = 2 C = {run['beta_dpo']:g}."
        )
    added = objective.sft_weight if objective.needs_reference else 0
    yield (
        f"Times are drawn from [{objective.t_min:g}, {objective.t_max:g}] and weighted by w(t) = "
        f"`{objective.weighting}`, whose mean is 1. {objective.drop_user:.0%} of the examples are trained without "
        "their user." + (f" {added:g} times the change of the error on the preferred image is added." if added else "")
    )


def results_section(folder: Path, adapter: str) -> str:
    """Every evaluation in the run's folder of the adapter file with this SHA-256, or that there is none."""
    return "\n\n".join(_results(folder, adapter)) or NOT_MEASURED


def _results(folder: Path, adapter: str) -> Iterator[str]:
    for path in result_files(folder, "evaluation"):
        file = path.with_name("settings.json")
        settings = read_summary(file, "ppd evaluate") if file.exists() else {}
        if "measures" not in settings:
            yield f"`{path.parent.name}` is left out: it does not say how it was drawn and measured."
            continue
        if settings["adapter"] != adapter:
            continue
        summary = read_summary(path, "ppd evaluate")
        if "win_rate" in summary:
            yield _how(settings, path.parent.name)
            yield "\n".join(_table(summary))
        if "preference_accuracy" in summary:
            yield _preferences(summary["preference_accuracy"], settings["evaluation"])


def _how(settings: Mapping[str, Any], folder: str) -> str:
    drawing, judged = settings["generation"], settings["evaluation"]
    keys = ("steps", "text_guidance", "user_guidance", "user_guidance_interval", "decoder")
    listed = [f"{key} = {drawing[key]}" for key in keys]
    listed += [f"people of {code(_name(file))}" for file in drawing.get("people", [])]
    listed += [f"captions = {code(_name(judged['captions']))}", f"tie = {judged['tie']}"]
    return (
        "How often the picture drawn for a person is preferred to the base's, by `ppd evaluate`: a tie counts one "
        f"half, the intervals are of {judged['bootstrap']:,} bootstrap resamples. Measured by "
        f"{', '.join(map(text_words, settings['measures']))}: the first of these decides `win_rate`, or each "
        "user's own where rewards are the users. In `other_taste_win_rate` another person decides; `own_against_other` "
        "compares the picture with one that is drawn for another person. Drawn by the framework's own pipeline with "
        f"{', '.join(listed)}. (`{folder}`)"
    )


def _name(path: str) -> str:
    return Path(path.replace("\\", "/")).name


def _preferences(accuracy: Mapping[str, Mapping[str, float]], judged: Mapping[str, Any]) -> str:
    rates = ", ".join(
        f"{text_words(group)} people {rate['rate']:.3f} "
        f"(95 % interval {words(rate['low'], rate['high'], '.3f')}, n {rate['n']})"
        for group, rate in accuracy.items()
    )
    return (
        "Preference accuracy on held-out pairs, the share in which the model's implicit reward of the preferred "
        f"picture is the higher one, over {judged['preference_draws']} draws of times and noise: {rates}."
    )


def _table(summary: Mapping[str, Any]) -> Iterator[str]:
    yield "| what | people | rate | 95 % interval | n | won | lost | tied |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, groups in summary.items():
        if "win_rate" not in name and name != "own_against_other":
            continue
        for group, rate in groups.items():
            numbers = [f"{rate['rate']:.3f}", words(rate["low"], rate["high"], ".3f")]
            counts = [str(rate[key]) for key in ("n", "wins", "losses", "ties")]
            yield f"| {' | '.join([text_words(name), text_words(group), *numbers, *counts])} |"
    if "concept_accuracy" in summary:
        yield ""
        shares = ", ".join(f"{text_words(name)} {share:.3f}" for name, share in summary["concept_accuracy"].items())
        yield f"Share of pictures whose concept is recognised: {shares}."
