"""What the answers of a model have cost, and whether one more is allowed."""

from __future__ import annotations

from dataclasses import dataclass

from ppd_lightning.evaluation.vlm_judge.answer_cache import Answer, AnswerCache

HEADROOM = 1.1
"""By how much a prompt may be longer than the longest so far."""


@dataclass(frozen=True)
class Budget:
    """Prices and limits; None is no price and no limit.

    max_tokens: the longest answer. price_in, price_out: of a million tokens. max_cost, max_requests: of all cached
    answers of the model.
    """

    max_tokens: int
    price_in: float | None = None
    price_out: float | None = None
    max_cost: float | None = None
    max_requests: int | None = None

    @property
    def priced(self) -> bool:
        """Whether both prices are known."""
        return self.price_in is not None and self.price_out is not None

    def cost(self, answer: Answer) -> float:
        """Of one answer; 0 where there are no prices."""
        return self._cost(answer.input_tokens, answer.output_tokens)

    def bound(self, cache: AnswerCache, tokens: int) -> float:
        """What one more may cost: a prompt of at most `tokens`, or about as long as the longest so far."""
        longest = max((answer.input_tokens for answer in cache), default=0)
        return self._cost(int(HEADROOM * longest) if longest else tokens, self.max_tokens)

    def refusal(self, cache: AnswerCache, in_flight: int, tokens: int) -> str:
        """Why no prompt of at most `tokens` may be sent beside those in flight; empty where it may."""
        count = len(cache)
        if self.max_requests is not None and count + in_flight >= self.max_requests:
            return f"judge.max_requests: {count} answers of this model are cached, and {self.max_requests} are allowed"
        if self.max_cost is None:
            return ""
        spent, bound = sum(map(self.cost, cache)), self.bound(cache, tokens)
        if spent + (in_flight + 1) * bound <= self.max_cost:
            return ""
        return (
            f"judge.max_cost: the {count} cached answers of this model cost {spent:.4g}, one more may cost "
            f"{bound:.2g}, and {self.max_cost:g} is allowed"
        )

    def _cost(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * (self.price_in or 0) + output_tokens * (self.price_out or 0)) / 1e6
