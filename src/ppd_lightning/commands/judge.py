"""`ppd judge`: a vision-language model says whether each person prefers their image, after a test of its own.

The paper's Figure 6. The judge sees the choices that describe a person and then a new pair, in both orders.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from rich.table import Table

from ppd_lightning.backbones.known_captions import remark_on_captions
from ppd_lightning.config.root import Config
from ppd_lightning.config.stored import stored_values
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.console import table_console
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.images import draw_base, draw_own
from ppd_lightning.evaluation.comparisons.selection import OF_DATA, comparisons_of, evaluated_captions, require_known
from ppd_lightning.evaluation.statistics.intervals import words
from ppd_lightning.evaluation.vlm_judge.answer_cache import AnswerCache
from ppd_lightning.evaluation.vlm_judge.judge import Judge
from ppd_lightning.evaluation.vlm_judge.predictions import Predictor
from ppd_lightning.evaluation.vlm_judge.questions import (
    Case,
    choice_cases,
    comparison_cases,
    differs,
    few_shot_rows,
    questions_of,
)
from ppd_lightning.evaluation.vlm_judge.settings import VisionJudge
from ppd_lightning.evaluation.vlm_judge.verdicts import Judged, always_first, by_group, write_verdicts
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.checksums import known_sha256
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.leases import Lease
from ppd_lightning.storage.result_folder import finish_folder, finished_summary
from ppd_lightning.users import vlm_prompts
from ppd_lightning.users.users import Users
from ppd_lightning.users.vlm_pairs import PromptPairs
from ppd_lightning.users.vlm_prompts import prediction_in

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Measure how often the judge agrees with people's own held-out choices, then let it judge the run's images.

    Answers are cached in `{output}/judge/`, for all runs, so the same command goes on where it was stopped. Writes
    the folder `judge-{key}` into the run's, with verdicts.parquet, a row a case, and summary.json.

    Returns:
        the summary: agreement, by group of people and of a judge that always says Image 1 (always_first); win_rate by
        group; both with what was dropped (`verdicts.tally`). Of all answers that this rests on: how many, their tokens,
        what they cost where there are prices, and cut_off, how many ended at judge.max_tokens without a prediction.

    Raises:
        UserError: the training is not finished, the judge cannot be asked, a limit on what is spent is reached, or it
            agrees with people less than judge.min_agreement, or somebody of `generation.people` is not in the data.
    """
    begun, workspace = time.monotonic(), Workspace(config)
    trained, users, data = workspace.trained_run(), workspace.users, workspace.data
    require_known(users, trained.described)
    judge = _open_judge(workspace)
    captions = evaluated_captions(config.evaluation.captions, data)
    settings = {name: value for name, value in asdict(config.judge).items() if name not in judge.neutral_settings}
    key = {
        "base": base_gallery(trained).folder.name,
        "own": own_gallery(trained).folder.name,
        "judge": settings | {"path": judge.identity},
        "captions": fingerprint(captions),
        "seeds": config.evaluation.seeds,
        "prompts": vlm_prompts.VERSION,
        **trained.described_key,
    }
    folder = workspace.run / f"judge-{fingerprint(key)}"
    if (finished := finished_summary(folder)) is not None:
        log.info("%s is finished; delete it to judge again", folder)
        _require_agreement(config.judge, finished["agreement"])
        _print(finished)
        return finished
    if config.evaluation.captions not in OF_DATA:
        remark_on_captions(trained.backbone, captions, "evaluation.captions")
    judging = _Judging(
        judge,
        config.judge,
        users,
        folder=workspace.output / "judge" / judge.identity,
        progress=workspace.progress,
    )
    chosen = judging.of("agreement", _choices(users, judging.pairs, config.judge.agreement_pairs))
    agreement = judging.tallied(chosen)
    _require_agreement(config.judge, agreement)
    comparisons = comparisons_of(users, captions, config.judge.comparisons, config.evaluation.seeds)
    cases = comparison_cases(comparisons, draw_own(trained, comparisons), draw_base(trained, comparisons))
    judged = judging.of("comparison", cases)
    summary = {
        "folder": str(folder),
        "judge": {"kind": config.judge.kind, "model": judge.model, "answers": str(judging.folder)},
        "agreement": agreement | {"always_first": judging.tallied(always_first([one.case for one in chosen]))["all"]},
        "win_rate": judging.tallied(judged),
        **judging.spent([*chosen, *judged]),
        "seconds": round(time.monotonic() - begun, 1),
    }
    write_verdicts(folder / "verdicts.parquet", {"agreement": chosen, "comparison": judged})
    settings_used = {group: stored_values(config)[group] for group in ("generation", "judge")}
    write_json_atomic(folder / "settings.json", {"adapter": known_sha256(trained.adapter), **settings_used})
    finish_folder(folder, summary, ["settings.json", "verdicts.parquet"])
    _print(summary)
    return summary


class _Judging:
    """Puts cases before the judge, one process at a time for each model, and counts the outcomes."""

    def __init__(self, judge: Judge, settings: VisionJudge, users: Users, *, folder: Path, progress: bool) -> None:
        self.judge, self.settings, self.users, self.folder, self.progress = judge, settings, users, folder, progress
        self.data = users.data
        self.pairs: pa.Table = self.data.read_pairs()

    def of(self, what: str, cases: Sequence[Case]) -> list[Judged]:
        """What the judge says to each case, both orders."""
        settings = self.settings
        few_shot = self._few_shot(cases) if cases else []
        without = {case.user for case, rows in zip(cases, few_shot, strict=True) if not rows}
        if without:
            log.warning("%d people have no choices of other captions to show; left out", len(without))
        known = [(case, rows) for case, rows in zip(cases, few_shot, strict=True) if rows]
        to_ask = [(case, rows) for case, rows in known if differs(case)]
        questions = questions_of(
            [case for case, _ in to_ask],
            [rows for _, rows in to_ask],
            lambda rows: PromptPairs(self.data, self.pairs, rows, settings.image_size),
            settings.image_size,
        )
        retries = 0 if settings.temperature == 0 else settings.retries
        with (
            Lease(self.folder / "asking.lease"),
            AnswerCache(self.folder) as cache,
            Counted(f"answers ({what})", 2 * len(to_ask), bar=self.progress) as progress,
        ):
            predictor = Predictor(self.judge, cache, progress, retries=retries, seed=settings.seed or 0)
            predictions = iter(predictor.predict(questions))
        both = {case: (next(predictions), next(predictions)) for case, _ in to_ask}
        return [Judged(case, both.get(case)) for case, _ in known]

    def _few_shot(self, cases: Sequence[Case]) -> list[tuple[int, ...]]:
        users, captions = [case.user for case in cases], [case.caption for case in cases]
        described = self.users.asked(users, captions).shots
        return few_shot_rows(cases, self.pairs, described, self.users.shots.n)

    def tallied(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """Rates by group and of all. The bootstrap resamples people; captions where rewards are the users."""
        clusters: Literal["user", "caption"] = "caption" if self.data.by_rewards else "user"
        return by_group(judged, clusters=clusters, resamples=self.settings.bootstrap)

    def spent(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """Answers, tokens and cost of what was said to these cases, whoever asked for it first."""
        keys = {one.key for each in judged for one in each.predictions or ()}
        cache, budget = AnswerCache(self.folder), self.judge.budget
        answers = [answer for key in keys if (answer := cache.get(key)) is not None]
        spent: dict[str, Any] = {"answers": len(answers)}
        spent["input_tokens"] = sum(answer.input_tokens for answer in answers)
        spent["output_tokens"] = sum(answer.output_tokens for answer in answers)
        cut = sum(answer.finish == "length" and prediction_in(answer.text) is None for answer in answers)
        if cut:
            spent["cut_off"] = cut
            log.warning(
                "%d of %d answers ended at judge.max_tokens=%d before a prediction, thoughts counted; raise it",
                cut,
                len(answers),
                self.settings.max_tokens,
            )
        if budget.priced:
            spent["cost"] = round(sum(map(budget.cost, answers)), 6)
        return spent


def _open_judge(workspace: Workspace) -> Judge:
    """The judge of the configuration.

    Raises:
        UserError: it is the model that describes the users, which would judge its own work: the paper has another one.
    """
    judge = workspace.config.judge.open(workspace.device)
    describing = workspace.config.user.describing_vlm()
    if describing is not None and judge.is_model(describing):
        raise UserError(
            f"{judge.model_key}: {judge.model} describes the users (user.path) and would judge its own work; take "
            "another model"
        )
    return judge


def _choices(users: Users, pairs: pa.Table, count: int) -> list[Case]:
    """People's own held-out choices that the judge is tested by, of those whom the run can serve."""
    return [case for group, names in users.served()[0].items() for case in choice_cases(pairs, group, names, count)]


def _require_agreement(judge: VisionJudge, agreement: dict[str, Any]) -> None:
    least, found = judge.min_agreement, agreement["all"]
    if least is None or (found["rate"] is not None and found["rate"] >= least):
        return
    rate = "nobody's" if found["rate"] is None else f"{found['rate']:.3f} of people's"
    raise UserError(
        f"judge.min_agreement: the judge agrees with {rate} own choices ({found['n']} of {found['asked']} were "
        f"decided), and {least:g} is asked for; take a better model, or judge.min_agreement=null to report it anyway"
    )


def _print(summary: dict[str, Any]) -> None:
    table = Table(title=f"Judged by {summary['judge']['model']}", title_justify="left")
    table.add_column("")
    for name in ("rate", "95 %", "n", "inconsistent", "no answer", "says 1"):
        table.add_column(name, justify="right")
    for key, what in (("agreement", "agreement"), ("win_rate", "win rate")):
        for group, found in summary[key].items():
            interval = words(found["low"], found["high"], ".3f", "-")
            rate = [f"{found['rate']:.3f}", interval] if found["n"] else ["-", "-"]
            bias = "-" if found["position_bias"] is None else f"{found['position_bias']:.2f}"
            dropped = [str(found["inconsistent"]), str(found["unparsable"] + found["refused"])]
            table.add_row(f"{what}, {group.replace('_', ' ')}", *rate, str(found["n"]), *dropped, bias)
    table_console().print(table)
