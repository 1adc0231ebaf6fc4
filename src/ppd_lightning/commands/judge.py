"""`ppd judge`: a vision-language model says whether each person prefers their image, after a test of its own.

The paper's Figure 6. The judge sees the choices that describe a person and then a new pair, in both orders.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.schemas import Config, OpenaiJudge
from ppd_lightning.data.prepared import read_pairs
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparison_images import draw_base, draw_own
from ppd_lightning.evaluation.comparisons import comparisons_of, evaluated_captions
from ppd_lightning.evaluation.judging.answers import Answers
from ppd_lightning.evaluation.judging.asking import Asking
from ppd_lightning.evaluation.judging.cases import (
    Case,
    choice_cases,
    comparison_cases,
    differs,
    questions_of,
    shots_of,
)
from ppd_lightning.evaluation.judging.opening import open_judge
from ppd_lightning.evaluation.judging.question import AskedModel
from ppd_lightning.evaluation.judging.spending import Spending
from ppd_lightning.evaluation.judging.verdicts import Judged, always_first, by_group, write_verdicts
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.generation.trained_run import TrainedRun, open_run
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint
from ppd_lightning.storage.leases import Lease
from ppd_lightning.users import vlm_prompts as prompts
from ppd_lightning.users.embeddings import people_served

log = logging.getLogger(__name__)

NO_RESULT_KEYS = (
    "base_url",
    "key_variable",
    "concurrent",
    "timeout",
    "attempts",
    "price_in",
    "price_out",
    "max_cost",
    "max_requests",
    "min_agreement",
)
"""Settings of a judge that change where, how fast or whether it is asked, not what it says."""


def run(config: Config) -> dict[str, Any]:
    """Measure how often the judge agrees with people's own held-out choices, then let it judge the run's images.

    Answers are kept in `{output}/judge/`, for all runs, so the same command goes on where it was stopped. Leaves in the
    run's folder `judge-{key}` with verdicts.parquet, a row a case, and summary.json.

    Returns:
        the summary: agreement, by group of people and of a judge that always says Image 1 (always_first); win_rate by
        group; both with what was dropped (`verdicts.tally`). Of all answers that this rests on: how many, their tokens,
        and what they cost where there are prices.

    Raises:
        UserError: the training is not finished, the judge cannot be asked, a limit on what is spent is reached, or it
            agrees with people less than judge.min_agreement.
    """
    begun = time.monotonic()
    trained = open_run(config)
    judge = open_judge(config)
    captions = evaluated_captions(config)
    settings = {name: value for name, value in asdict(config.judge).items() if name not in NO_RESULT_KEYS}
    key = {
        "base": base_gallery(trained).folder.name,
        "own": own_gallery(trained).folder.name,
        "judge": settings | {"path": judge.name},
        "captions": fingerprint(captions),
        "seeds": config.evaluation.seeds,
        "prompts": prompts.VERSION,
    }
    folder = run_folder(config) / f"judge-{fingerprint(key)}"
    if (folder / "summary.json").exists():
        log.info("%s is finished; delete it to judge again", folder)
        finished: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        _require_agreement(config, finished["agreement"])
        _print(finished)
        return finished
    asked = _Asked(config, trained, judge)
    chosen = asked.of("agreement", _choices(config, asked.pairs))
    agreement = asked.tallied(chosen)
    _require_agreement(config, agreement)
    comparisons = comparisons_of(config, captions, config.judge.comparisons, config.evaluation.seeds)
    cases = comparison_cases(comparisons, draw_own(trained, comparisons), draw_base(trained, comparisons))
    judged = asked.of("comparison", cases)
    summary = {
        "folder": str(folder),
        "judge": {"kind": config.judge.kind, "model": _named(config), "answers": str(asked.folder)},
        "agreement": agreement | {"always_first": asked.tallied(always_first([one.case for one in chosen]))["all"]},
        "win_rate": asked.tallied(judged),
        **asked.spent([*chosen, *judged]),
        "seconds": round(time.monotonic() - begun, 1),
    }
    write_verdicts(folder / "verdicts.parquet", {"agreement": chosen, "comparison": judged})
    told = {"generation": asdict(config.generation), "judge": asdict(config.judge)}
    write_json_atomic(folder / "settings.json", {"adapter": file_sha256(trained.adapter), **told})
    write_json_atomic(folder / "summary.json", summary)
    _print(summary)
    return summary


class _Asked:
    """Puts cases before the judge, one process at a time for each model, and counts what came of them."""

    def __init__(self, config: Config, trained: TrainedRun, judge: AskedModel) -> None:
        self.config, self.trained, self.judge = config, trained, judge
        self.pairs: pa.Table = read_pairs(config)
        self.folder = Path(config.output) / "judge" / judge.name
        self.spending = Spending.of(config.judge)

    def of(self, what: str, cases: Sequence[Case]) -> list[Judged]:
        """What the judge says to each case, both orders."""
        config, settings = self.config, self.config.judge
        shots = shots_of(config, self.trained.model, self.pairs, cases) if cases else []
        without = {case.user for case, shown in zip(cases, shots, strict=True) if not shown}
        if without:
            log.warning("%d people have no choices of other captions that could be shown; left out", len(without))
        known = [(case, shown) for case, shown in zip(cases, shots, strict=True) if shown]
        to_ask = [(case, shown) for case, shown in known if differs(case)]
        questions = questions_of(
            config, self.pairs, [case for case, _ in to_ask], [shown for _, shown in to_ask], settings.image_size
        )
        retries = settings.retries if settings.temperature else 0
        with (
            Lease(self.folder / "asking.lease"),
            Answers(self.folder) as answers,
            Counted(f"answers ({what})", 2 * len(to_ask), bar=config.trainer.progress) as counted,
        ):
            asking = Asking(self.judge, answers, self.spending, counted, retries=retries, seed=settings.seed)
            found = iter(asking.predictions(questions))
        said = {case: (next(found), next(found)) for case, _ in to_ask}
        return [Judged(case, said.get(case)) for case, _ in known]

    def tallied(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """Rates by group and of all; of people drawn anew, but there are no other rewards than these."""
        clusters: Literal["user", "caption"] = "caption" if self.config.data.labels == "rewards" else "user"
        return by_group(judged, clusters=clusters, resamples=self.config.judge.bootstrap)

    def spent(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """Answers, tokens and cost of what was said to these cases, whoever asked for it first."""
        keys = {one.key for each in judged for one in each.predictions or ()}
        kept = Answers(self.folder)
        answers = [answer for key in keys if (answer := kept.get(key)) is not None]
        told: dict[str, Any] = {"answers": len(answers)}
        told["input_tokens"] = sum(answer.input_tokens for answer in answers)
        told["output_tokens"] = sum(answer.output_tokens for answer in answers)
        if self.spending.price_in is not None and self.spending.price_out is not None:
            told["cost"] = round(sum(map(self.spending.cost, answers)), 6)
        return told


def _choices(config: Config, pairs: pa.Table) -> list[Case]:
    """People's own held-out choices that the judge is tested by, of those whom the run can serve."""
    groups = people_served(config)[0]
    return [
        case
        for group, users in groups.items()
        for case in choice_cases(pairs, group, users, config.judge.agreement_pairs)
    ]


def _require_agreement(config: Config, agreement: dict[str, Any]) -> None:
    least, found = config.judge.min_agreement, agreement["all"]
    if least is None or (found["rate"] is not None and found["rate"] >= least):
        return
    rate = "nobody's" if found["rate"] is None else f"{found['rate']:.3f} of people's"
    raise UserError(
        f"judge.min_agreement: the judge agrees with {rate} own choices ({found['n']} of {found['asked']} were "
        f"decided), and {least:g} is asked for; take a better model, or judge.min_agreement=null to hear it anyway"
    )


def _named(config: Config) -> str | None:
    settings = config.judge
    return settings.model if isinstance(settings, OpenaiJudge) else settings.path


def _print(summary: dict[str, Any]) -> None:
    table = Table(title=f"Judged by {summary['judge']['model']}", title_justify="left")
    table.add_column("")
    for name in ("rate", "95 %", "n", "inconsistent", "no answer", "says 1"):
        table.add_column(name, justify="right")
    for key, what in (("agreement", "agreement"), ("win_rate", "win rate")):
        for group, told in summary[key].items():
            rate = [f"{told['rate']:.3f}", f"{told['low']:.3f}-{told['high']:.3f}"] if told["n"] else ["-", "-"]
            bias = "-" if told["position_bias"] is None else f"{told['position_bias']:.2f}"
            dropped = [str(told["inconsistent"]), str(told["unparsable"] + told["refused"])]
            table.add_row(f"{what}, {group.replace('_', ' ')}", *rate, str(told["n"]), *dropped, bias)
    Console().print(table)
