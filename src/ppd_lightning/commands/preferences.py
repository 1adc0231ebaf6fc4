"""The preference accuracy of a finished training on held-out pairs: for `ppd evaluate`, and after `ppd train`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.preference_accuracy import HeldOutPreferences, preference_accuracy
from ppd_lightning.evaluation.statistics.intervals import words
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.storage.finished_run import reopen
from ppd_lightning.training.caption_states import caption_states
from ppd_lightning.training.hparams import log_rates

if TYPE_CHECKING:
    from ppd_lightning.diffusion.weighting import TimeWeight

log = logging.getLogger(__name__)

NAME = "preference_accuracy"
"""In summaries."""


def after_training(workspace: Workspace) -> dict[str, Any]:
    """Measure it, log it and add it to metrics.csv and TensorBoard as of the last step.

    The caller adds it to summary.json and marks the run as finished again.

    Returns:
        rate, low, high and n of each group of people; nothing, with a warning, where files that images are drawn with
        are missing or there are no held-out pairs: the training is finished all the same.
    """
    config = workspace.config
    try:
        preferences = held_out_preferences(workspace, workspace.trained_run())
        if preferences is None:
            return {}
        rates = preference_accuracy(
            preferences.table(), config.evaluation.bootstrap, by_captions=workspace.data.by_rewards
        )
    except UserError as error:
        log.warning("the preference accuracy is not measured: %s", "; ".join(error.faults))
        return {}
    for group, rate in rates.items():
        log.info(
            "preference accuracy on %d held-out pairs, %s users: %.3f (95 %% interval %s)",
            rate["n"],
            group,
            rate["rate"],
            words(rate["low"], rate["high"], ".3f"),
        )
    step = config.trainer.max_steps
    reopen(workspace.run)
    if config.logger.csv:
        from ppd_lightning.training.metrics_csv import MetricsCsv  # Lightning with it, as `ppd evaluate` does not need

        metrics = MetricsCsv(workspace.run / "metrics.csv", step, config.trainer.log_every)
        metrics.add(step, {f"test/{NAME}_{group}": rate["rate"] for group, rate in rates.items()})
    if config.logger.tensorboard:
        log_rates(workspace.run, NAME, rates, step)
    return rates


def held_out_preferences(workspace: Workspace, trained: TrainedRun) -> HeldOutPreferences | None:
    """What is measured on held-out pairs; None where that is left out, or there are none."""
    config, settings = workspace.config, workspace.config.evaluation
    if not settings.preference_draws:
        return None

    def weight() -> TimeWeight:
        from ppd_lightning.commands.reference import open_batches  # as above
        from ppd_lightning.training.build import time_weight

        batches = open_batches(workspace)
        batches.setup("fit")
        pipeline, text = trained.pipeline, caption_states(workspace.data, lambda: trained.pipeline.text)
        return time_weight(trained.backbone, pipeline.network, batches, config.objective, seed=config.seed, text=text)

    preferences = HeldOutPreferences(
        trained,
        config.objective,
        weight,
        seed=config.seed,
        count=settings.preference_draws,
        most=settings.preference_pairs,
    )
    if not len(preferences.pairs):
        log.warning("there are no held-out pairs, so no preference accuracy: more captions must be held out")
        return None
    return preferences
