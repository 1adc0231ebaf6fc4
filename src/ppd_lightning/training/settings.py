"""The settings of a training: the optimizer, how long and on what it runs, and where its figures go."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import (
    Batch,
    Count,
    Natural,
    NonNegative,
    PathText,
    Positive,
    Precision,
    ProperFraction,
    Switch,
)


@settings
class Optimizer:
    """AdamW and its learning rate over time."""

    lr: Positive
    """Peak learning rate (set by mode)."""
    weight_decay: NonNegative
    """Decoupled weight decay."""
    betas: Annotated[list[ProperFraction], Field(min_length=2, max_length=2)]
    """AdamW's two decay rates."""
    warmup_steps: Natural
    """Steps of linear warm-up."""
    schedule: Literal["constant", "linear", "cosine"]
    """What follows the warm-up, down to 0 at the last step unless constant."""
    grad_clip: Positive | None
    """Largest norm of the gradient; null does not clip."""
    ema_decay: ProperFraction | None
    """Decay a step of a moving average of the weights, kept beside the trained ones; null keeps none."""


@settings
class Trainer:
    """How long and on what."""

    result_keys: ClassVar[tuple[str, ...]] = ("max_steps", "batch_size", "precision", "reference", "text")
    """The settings that change what comes out; the others change how fast it goes or what is logged."""

    max_steps: Count
    """Optimizer steps."""
    batch_size: Batch
    """Pairs of one optimizer step, over all devices."""
    micro_batch_size: Annotated[int, Strict(), Field(ge=1, le=16_384)] | Literal["auto"] | None
    """Pairs that a device works on at once, whose gradients add up to the step's; null is its whole share, as auto is
    on a CPU. On a GPU auto is the most that fits, tried as the run starts, with gradient_checkpointing if need be."""
    precision: Precision
    """fp32 or bf16; the weights of the user branch and the errors stay in fp32."""
    accelerator: Literal["auto", "cpu", "gpu"]
    """The hardware; auto takes a GPU where there is one."""
    nodes: Annotated[int, Strict(), Field(ge=1, le=10_000)]
    """How many machines, each with as many devices."""
    devices: Annotated[int, Strict(), Field(ge=1, le=1_024)]
    """How many devices of each machine; one process trains on each."""
    reference: Literal["computed", "stored"]
    """Whether each step computes the reference's errors, or they are made once and read by all runs of a sweep."""
    text: Literal["stored", "computed"]
    """Whether `ppd prepare` stores the text states of all captions, or each step computes those of its own."""
    threads: Annotated[int, Strict(), Field(ge=1, le=1_024)] | None
    """CPU threads of PyTorch; null leaves its own choice."""
    gradient_checkpointing: Switch
    """Compute activations again in the backward pass: less memory, more time, the same result."""
    compile: Switch | Literal["regions"]
    """Compile with torch.compile: regions compiles blocks one by one, equal ones once, for any number of dropped users;
    true the network as a whole, which takes longer, and once more where objective.drop_user varies the batch."""
    checkpoint_every: Count
    """Steps between checkpoints, each with a validation; the last step has one too."""
    preview_every: Count | None
    """Steps between sheets of generation's captions and users, drawn as the training stands; null draws none."""
    preference_accuracy: Switch
    """Measure the preference accuracy on held-out pairs after the last step, by evaluation.preference_*; `ppd evaluate`
    then reads it instead of measuring it."""
    log_every: Count
    """Steps between logged figures, which are means over these steps; the last step is logged too."""
    skip_nonfinite: Natural
    """Most optimizer steps that may be left out because a loss or gradient is NaN or infinite; one more stops the run.
    Where it is not 0, each step waits for the device."""
    progress: Switch
    """A progress bar where there is a terminal."""


@settings
class Logger:
    """Where the figures of a training go."""

    tensorboard: Switch
    """TensorBoard events in the run's folder: figures, previews, and settings with final figures (its HParams tab)."""
    csv: Switch
    """metrics.csv in the run's folder."""
    tracker: Literal["wandb", "mlflow"] | None
    """An experiment tracker beside them, Weights & Biases or MLflow, each a package of its own; null is none."""
    project: Annotated[str, Field(min_length=1)]
    """The project (W&B) or experiment (MLflow) that the tracker files the run under."""
    location: PathText | None
    """Where the tracker's records go: MLflow's tracking URI, or W&B's folder; null is a folder in output."""
    offline: Switch
    """Whether W&B only writes files, which `wandb sync` sends later."""
