"""What the answers of a model have cost, and whether one more is allowed."""

from __future__ import annotations

from dataclasses import dataclass

from ppd_lightning.config.schemas import OpenaiJudge, VisionJudge
from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer, Answers

HEADROOM = 1.1
"""By how much a message may be longer than the longest so far."""


@dataclass(frozen=True)
class Spending:
    """Prices and limits; None is no price and no limit.

    price_in, price_out: of a million tokens. max_tokens: the longest answer.
    """

    max_tokens: int
    price_in: float | None = None
    price_out: float | None = None
    max_cost: float | None = None
    max_requests: int | None = None

    @classmethod
    def of(cls, settings: VisionJudge) -> Spending:
        """What the settings say; a model on this machine costs nothing."""
        if not isinstance(settings, OpenaiJudge):
            return cls(settings.max_tokens)
        return cls(settings.max_tokens, settings.price_in, settings.price_out, settings.max_cost, settings.max_requests)

    def cost(self, answer: Answer) -> float:
        """Of one answer; 0 where there are no prices."""
        return self._of(answer.input_tokens, answer.output_tokens)

    def most(self, answers: Answers, tokens: int) -> float:
        """What one more may cost: a message of at most `tokens`, or about as long as the longest so far."""
        longest = max((answer.input_tokens for answer in answers), default=0)
        return self._of(int(HEADROOM * longest) if longest else tokens, self.max_tokens)

    def refusal(self, answers: Answers, under_way: int, tokens: int) -> str:
        """Why no message of at most `tokens` may be sent beside those under way; nothing where it may."""
        kept = len(answers)
        if self.max_requests is not None and kept + under_way >= self.max_requests:
            return f"judge.max_requests: {kept} answers of this model are kept, and {self.max_requests} are allowed"
        if self.max_cost is None:
            return ""
        spent, most = sum(map(self.cost, answers)), self.most(answers, tokens)
        if spent + (under_way + 1) * most <= self.max_cost:
            return ""
        return (
            f"judge.max_cost: the {kept} answers that are kept of this model cost {spent:.4g}, one more may cost "
            f"{most:.2g}, and {self.max_cost:g} is allowed"
        )

    def _of(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * (self.price_in or 0) + output_tokens * (self.price_out or 0)) / 1e6
