"""Values that are fine alone and do not go together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.settings.part import Part
from ppd_lightning.users.kind import UserKind

MOST_AT_ONCE = 16_384
"""Pairs that a device works on at once."""
OF_CLASSES = (
    "user.by_shots",
    "user.same_for_all",
    "shots.uses_captions",
    "objective.one_preference",
    "objective.needs_distances",
    "data.simulated",
    "data.judges",
    "model.stride",
    "model.compile_regions",
)
"""What rules need to know of the class of a group's part, beside its values."""

Values = Mapping[str, Any]
"""Sound values by dotted key; a key that is missing has a fault of its own."""


def contradictions(values: Values, classes: Mapping[str, type[Part]], parts: Mapping[str, Part]) -> list[str]:
    """One sentence for each pair of values that exclude each other, inside of a part or between groups.

    Args:
        classes: the class of the part of a group, where that is known.
        parts: the parts whose own values are sound.
    """
    known = dict(values)
    for key in OF_CLASSES:
        group, _, name = key.partition(".")
        if group in classes:
            known[key] = getattr(classes[group], name)
    named = {
        key.replace(".", "_"): ", ".join(value) if isinstance(value, tuple) else value for key, value in known.items()
    }
    kind = parts.get("user")
    if isinstance(kind, UserKind) and {"data.labels", "rewards"} <= values.keys():
        of_kind = list(kind.contradictions_with(values["data.labels"], list(values["rewards"])))
    else:
        of_kind = []
    backbone, size = parts.get("model"), known.get("data.image_size")
    of_size = backbone.contradictions_with(size) if isinstance(backbone, Backbone) and isinstance(size, int) else ()
    return [
        *of_kind,
        *of_size,
        *(sentence for part in parts.values() for sentence in part.contradictions()),
        *(
            sentence.format(**named)
            for keys, broken, sentence in RULES
            if all(key in known for key in keys) and broken(*(known[key] for key in keys))
        ),
    ]


RULES: tuple[tuple[tuple[str, ...], Callable[..., bool], str], ...] = (
    (
        ("data.labels", "rewards", "evaluation.rewards"),
        lambda labels, rewards, scoring: labels == "rewards" and not set(rewards) - set(scoring),
        "data.labels: rewards needs at least one, and none is chosen that is not in evaluation.rewards, which only "
        "score; name some, such as reward=[clip,aesthetic], or use mode=real",
    ),
    (
        ("evaluation.rewards", "rewards"),
        lambda named, rewards: not set(named) <= set(rewards),
        "evaluation.rewards: {evaluation_rewards} are not all among the rewards that are chosen; choose them too, such "
        "as reward=[clip,aesthetic]",
    ),
    (
        ("evaluation.judges", "data.judges", "data.name"),
        lambda named, judges, name: bool(judges) and not set(named) <= set(judges),
        "evaluation.judges: {evaluation_judges} are not all judges of data.name={data_name}; choose among "
        "{data_judges}",
    ),
    (
        ("rewards",),
        lambda rewards: not all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in rewards),
        "rewards: a reward's name, the last part of its file's `# @package rewards.NAME`, is made of letters, digits, "
        "_ and -",
    ),
    (
        ("objective.one_preference", "user.same_for_all", "objective.name", "user.kind"),
        lambda one_preference, same_for_all, name, kind: one_preference and not same_for_all,
        "objective.name: {objective_name} learns one preference for all users, and user.kind is {user_kind}; "
        "use user=constant, or objective=ppd",
    ),
    (
        ("objective.needs_distances", "user.same_for_all", "objective.name", "user.kind"),
        lambda needs_distances, same_for_all, name, kind: needs_distances and same_for_all,
        "objective.name: {objective_name} compares people with each other, and with user.kind={user_kind} all are the "
        "same; use another user, such as user=features, or objective=ppd",
    ),
    (
        ("objective.t_min", "objective.t_max"),
        lambda low, high: low >= high,
        "objective.t_min: must be below objective.t_max, and {objective_t_min} is not below {objective_t_max}",
    ),
    (
        ("objective.drop_user", "model.null_user"),
        lambda drop, null: drop == 1 and null == "zero",
        "objective.drop_user: with 1 no example shows its user, and with model.null_user=zero nothing can be learnt "
        "without one; use less than 1, or model.null_user=learned",
    ),
    (
        ("generation.user_guidance_interval",),
        lambda interval: interval[0] > interval[1],
        "generation.user_guidance_interval: must be [low, high], not {generation_user_guidance_interval}",
    ),
    (
        ("data.simulated", "data.labels", "user.by_shots", "data.min_pairs", "shots.n"),
        lambda simulated, labels, by_shots, pairs, shots: (
            not simulated and labels == "people" and by_shots and pairs <= shots
        ),
        "data.min_pairs: must be above shots.n, so that nobody's pair is among its own shots, and {data_min_pairs} "
        "is not above {shots_n}",
    ),
    (
        ("trainer.compile", "model.compile_regions", "model.name"),
        lambda compiled, by_regions, name: compiled == "regions" and by_regions is None,
        "trainer.compile: model.name={model_name} has no blocks that are compiled one by one; use true or false",
    ),
    (
        ("data.image_size", "model.name", "model.stride"),
        lambda size, name, stride: size % stride != 0,
        "data.image_size: {data_image_size} pixels are off the grid of {model_name}'s latents; use a multiple of "
        "{model_stride}",
    ),
    (
        ("trainer.text", "shots.uses_captions", "user.by_shots", "shots.select"),
        lambda text, uses_captions, by_shots, select: text == "computed" and uses_captions and by_shots,
        "shots.select: {shots_select} compares captions by their stored text states, and trainer.text=computed stores "
        "none; use shots=random, or trainer.text=stored",
    ),
    (
        ("generation.weights", "optimizer.ema_decay"),
        lambda weights, decay: weights == "ema" and decay is None,
        "generation.weights: ema draws with a moving average, and optimizer.ema_decay keeps none; set a decay such as "
        "0.999 for the training, or use generation.weights=trained",
    ),
    (
        ("trainer.batch_size", "trainer.nodes", "trainer.devices"),
        lambda batch, nodes, devices: batch % (nodes * devices) != 0,
        "trainer.batch_size: {trainer_batch_size} pairs cannot be shared equally by trainer.devices={trainer_devices} "
        "on trainer.nodes={trainer_nodes}; choose a multiple of their product",
    ),
    (
        ("trainer.batch_size", "trainer.micro_batch_size", "trainer.nodes", "trainer.devices"),
        lambda batch, micro, nodes, devices: micro is None and batch > MOST_AT_ONCE * nodes * devices,
        "trainer.batch_size: {trainer_batch_size} pairs on {trainer_devices} devices of {trainer_nodes} machines are "
        "more than a device can work on at once; set trainer.micro_batch_size, which leaves the step as it is",
    ),
    (
        ("hydra.launcher._target_", "trainer.nodes"),
        lambda launcher, nodes: nodes > 1 and not launcher.endswith("SlurmLauncher"),
        "trainer.nodes: a run on {trainer_nodes} machines needs a launcher that starts it on each of them; use "
        "hydra/launcher=several_nodes, or trainer.nodes=1",
    ),
    (
        (
            "hydra.launcher._target_",
            "hydra.launcher.tasks_per_node",
            "hydra.launcher.nodes",
            "trainer.devices",
            "trainer.nodes",
        ),
        lambda launcher, tasks, nodes, devices, machines: (
            launcher.endswith("SlurmLauncher")
            and (tasks, nodes) != (devices, machines)
            and (tasks, nodes, machines) != (1, 1, 1)
        ),
        "hydra.launcher.tasks_per_node: {hydra_launcher_tasks_per_node} tasks on each of {hydra_launcher_nodes} nodes "
        "are asked for, a run is trainer.devices={trainer_devices} processes on each of trainer.nodes={trainer_nodes}; "
        "make tasks and nodes the same (or one task on one node, which starts the processes itself)",
    ),
    (
        ("hydra.launcher._target_", "hydra.launcher.tasks_per_node"),
        lambda launcher, tasks: launcher.endswith(".LocalLauncher") and tasks != 1,
        "hydra.launcher.tasks_per_node: submitit_local's tasks know nothing of each other, so "
        "{hydra_launcher_tasks_per_node} would each train the whole run; use 1, trainer.devices starts the processes",
    ),
    (
        ("hydra.launcher.gpus_per_node", "trainer.accelerator", "trainer.devices"),
        lambda gpus, accelerator, devices: gpus is not None and gpus != (0 if accelerator == "cpu" else devices),
        "hydra.launcher.gpus_per_node: {hydra_launcher_gpus_per_node} are asked for, and "
        "trainer.accelerator={trainer_accelerator} with trainer.devices={trainer_devices} does not use so many; make "
        "them the same (null on the CPU)",
    ),
    (
        ("hydra.launcher.signal_delay_s", "hydra.launcher.timeout_min"),
        lambda delay, minutes: delay >= 60 * minutes,
        "hydra.launcher.signal_delay_s: {hydra_launcher_signal_delay_s} s of warning are more than the whole job has, "
        "hydra.launcher.timeout_min={hydra_launcher_timeout_min}; use less",
    ),
    (
        ("optimizer.warmup_steps", "trainer.max_steps"),
        lambda warmup, steps: warmup >= steps,
        "optimizer.warmup_steps: must be below trainer.max_steps, and {optimizer_warmup_steps} is not below "
        "{trainer_max_steps}",
    ),
)
"""The keys of a rule, when it is broken, and the sentence then (dots of keys are underscores in it)."""
