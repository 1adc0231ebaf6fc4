"""`judge=`: the vision-language model that judges whether people prefer their images; the parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, Strict

from ppd_lightning.errors import UserError
from ppd_lightning.settings.part import Finding, Part, settings
from ppd_lightning.settings.values import (
    Batch,
    Count,
    Fraction,
    NonNegative,
    PathText,
    Pixels,
    Positive,
    Resamples,
    Seed,
    Temperature,
)

if TYPE_CHECKING:
    import torch

    from ppd_lightning.evaluation.vlm_judge.judge import Judge

TopP = Annotated[float, Strict(), Field(gt=0, le=1)]


@settings
class VisionJudge(Part):
    """What is asked of a vision-language model, and how often."""

    kind: str
    """Where the model runs: behind an OpenAI-compatible endpoint, or on this machine."""
    temperature: Temperature | None
    """Of the answers; 0 takes the likeliest token each time; null sends none (judge=openai)."""
    top_p: TopP | None
    """Share of the probability that an answer's tokens are sampled from; null sends none (judge=openai)."""
    max_tokens: Batch
    """Longest answer."""
    image_size: Pixels
    """Longest side in pixels at which an image is shown."""
    comparisons: Count
    """Comparisons with the base in each group of people; each is asked in both orders."""
    agreement_pairs: Count
    """Of each group, people's own held-out choices that the judge predicts before it judges."""
    min_agreement: Fraction | None
    """Stop if the judge agrees with fewer of people's own choices; null only reports."""
    retries: Annotated[int, Strict(), Field(ge=0, le=1_000)]
    """Further tries, each with another seed, where an answer holds no prediction."""
    bootstrap: Resamples
    """Resamplings of the people for the interval of a rate."""
    seed: Seed | None
    """The answers' sampling seeds follow from it, the question and the trial; null sends none (judge=openai)."""

    @abstractmethod
    def open(self, device: torch.device | str = "cpu") -> Judge:
        """The judge, not asked anything yet; no weights are loaded and no network is used.

        Args:
            device: where a model of this machine runs.

        Raises:
            UserError: settings or files are missing.
        """

    def _findings(self, need: str, device: str = "cpu") -> Iterator[Finding]:
        try:
            yield Finding(need, self.open(device).check())
        except UserError as error:
            yield Finding(need, "not usable", tuple(error.faults))


@settings
class OpenaiJudge(VisionJudge):
    """Behind an OpenAI-compatible endpoint for chat completions: vLLM, or a hosted model."""

    kind: Literal["openai"]
    base_url: str
    """Of the endpoint, such as http://localhost:8000/v1; /chat/completions is appended."""
    model: str | None
    """Its name there, which stands for the model wherever it is served; ppd judge needs one."""
    key_variable: str | None
    """Name of the environment variable that holds the key; null sends none."""
    token_limit: Literal["max_tokens", "max_completion_tokens"]
    """What the endpoint calls the longest answer; OpenAI's newer models know only max_completion_tokens."""
    image_format: Literal["jpeg", "png"]
    """How images are sent."""
    jpeg_quality: Annotated[int, Strict(), Field(ge=1, le=100)]
    """Of JPEGs."""
    concurrent: Annotated[int, Strict(), Field(ge=1, le=1_024)]
    """Requests that are open at a time."""
    timeout: Positive
    """Seconds without a sign of life after which a request is given up."""
    attempts: Annotated[int, Strict(), Field(ge=1, le=1_000)]
    """Requests of a question, with growing pauses, before the endpoint counts as down."""
    price_in: NonNegative | None
    """What a million tokens of prompts cost, in any currency."""
    price_out: NonNegative | None
    """What a million tokens of answers cost."""
    max_cost: Positive | None
    """Stop before all cached answers of this model have cost more together."""
    max_requests: Count | None
    """Stop before more answers than these are cached of this model."""

    def contradictions(self) -> Iterator[str]:
        """A limit on cost needs prices."""
        if self.max_cost is not None and None in (self.price_in, self.price_out):
            yield (
                "judge.max_cost: what is spent follows from judge.price_in and judge.price_out, and one of them is "
                "null; give both (of a million tokens), or limit judge.max_requests instead"
            )

    def findings(self) -> Iterator[Finding]:
        """Whether the endpoint answers, takes the key and has the model, where one is named."""
        if self.model is not None:
            yield from self._findings(f"judge {self.model} at {self.base_url}")

    def open(self, device: torch.device | str = "cpu") -> Judge:
        """See the base class."""
        from ppd_lightning.evaluation.vlm_judge.openai_client import EndpointJudge

        return EndpointJudge(self)


@settings
class VlmJudge(VisionJudge):
    """LLaVA-OneVision on this machine."""

    kind: Literal["vlm"]
    temperature: Temperature
    """Of the answers; 0 takes the likeliest token each time."""
    top_p: TopP
    """Share of the probability that an answer's tokens are sampled from."""
    seed: Seed
    """The answers' sampling seeds follow from it, the question and the trial."""
    path: PathText
    """Folder of LLaVA-OneVision in the layout of transformers, or its name on the model hub."""
    batch_size: Batch
    """Questions that are answered at once; on a GPU rounding makes the answers depend on it."""

    def findings(self) -> Iterator[Finding]:
        """Its files."""
        yield from self._findings(f"judge {self.path}")

    def open(self, device: torch.device | str = "cpu") -> Judge:
        """See the base class."""
        from ppd_lightning.evaluation.vlm_judge.local_model import LocalJudge

        return LocalJudge(self, device)
