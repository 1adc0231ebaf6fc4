"""TensorBoard's HParams tab, as its own backend makes it: the settings in which runs differ, and their win rates."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from ppd_lightning.training.hparams import log_rates
from ppd_lightning.training.loggers import FINISHED, end_loggers, log_final, make_loggers
from ppd_lightning.training.settings import Logger

SETTINGS = Logger(tensorboard=True, csv=False, tracker=None, project="x", location=None, offline=True)


def test_swept_keys_and_win_rates_are_columns_though_the_first_run_is_not_evaluated(tmp_path: Path) -> None:
    for beta, rate in ((1.0, None), (2.0, 0.75)):
        folder = tmp_path / f"run-{beta:g}"
        loggers = make_loggers(SETTINGS, folder, tmp_path)
        log_final(loggers, {"objective.beta": beta, "seed": 0}, {"validation/loss": 0.5}, 100)
        end_loggers(loggers, FINISHED)
        if rate is not None:
            log_rates(folder, "win_rate", {"unseen": {"rate": rate}}, 100)
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = MultiplexerDataProvider(events, str(tmp_path))
    context, request = backend_context.Context(TBContext(data_provider=provider)), RequestContext()
    metadata = context.hparams_metadata(request, "x")
    none = provider.list_hyperparameters(request, experiment_ids=["x"])
    experiment = context.experiment_from_metadata(request, "x", True, metadata, none)
    assert {info.name: info.differs for info in experiment.hparam_infos} == {"objective.beta": True, "seed": False}
    asked = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=10, include_metrics=True)
    asked.allowed_statuses.extend([api_pb2.STATUS_SUCCESS])
    for info in experiment.metric_infos:
        asked.col_params.add().metric.CopyFrom(info.name)
    groups = list_session_groups.Handler(request, context, "x", asked).run().session_groups
    shown = {
        group.hparams["objective.beta"].number_value: {one.name.tag: one.value for one in group.metric_values}
        for group in groups
    }
    assert shown == {
        1.0: {"final/validation/loss": 0.5},
        2.0: {"final/validation/loss": 0.5, "evaluation/win_rate/unseen": 0.75},
    }
