"""What every key of a configuration is: its type, its range and what it means.

The values come from `conf/` (one folder a group, one file an option), so nothing has a default here. These are frozen
dataclasses whose types pydantic checks; `compose.compose` makes a `Config` from Hydra overrides.
"""

from __future__ import annotations

from math import isclose
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

CHECKS = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _refuse_half(value: object) -> object:
    if value in ("fp16", "float16", "half", 16, "16"):
        raise PydanticCustomError("precision", "Stage C overflows in fp16: use bf16 or fp32")
    return value


def _refuse_other_sums(blend: dict[str, float]) -> dict[str, float]:
    if not isclose(sum(blend.values()), 1, abs_tol=1e-6):
        raise PydanticCustomError("blend", "the weights of a blend of users must add up to 1")
    return blend


Count = Annotated[int, Strict(), Field(ge=1)]
Natural = Annotated[int, Strict(), Field(ge=0)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1)]
ProperFraction = Annotated[float, Strict(), Field(ge=0, lt=1)]
Switch = Annotated[bool, Strict()]
Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
Blend = Annotated[dict[Name, Fraction], Field(min_length=1), AfterValidator(_refuse_other_sums)]
Precision = Annotated[Literal["fp32", "bf16"], BeforeValidator(_refuse_half)]
Position = Literal["last_profile_token", "mean_of_profile", "last_prompt_token"]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Data:
    """Where the pairs come from and which labels are learnt."""

    name: str
    """The source."""
    labels: Literal["people", "rewards"]
    """Whose choices: people's own, or each pair relabelled by one of the rewards (set by mode)."""
    image_size: Count
    """Side in pixels to which images are brought before they are encoded."""
    validation: ProperFraction
    """Share of the training pairs that is held back to watch the training."""
    min_pairs: Count
    """Training pairs that a person needs, others are left out; an unseen person needs one less, to be described by."""
    max_unusable: Fraction
    """Share of the source's rows that may be damaged; with more of them the command stops."""
    workers: Natural
    """Processes that read and decode images beside the one that encodes them; with 0 it does all itself."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class EmojiData(Data):
    """The embedded world: emoji by several vendors, judged by simulated people."""

    name: Literal["emoji"]
    concepts: Count
    """How many concepts of the shipped list make up the world."""
    held_out_concepts: Count
    """How many of them appear in no preference pair: the captions that are evaluated."""
    people: Count
    """How many people's pairs are trained on."""
    unseen_people: Count
    """How many further people are never trained on, only described by their shots."""
    pairs_per_person: Count
    """Choices of each person."""
    choice_temperature: Positive
    """Scale of the noise in a choice; a person's utility has unit deviation over the world's pictures."""
    seed: Natural
    """Draws the people and their choices."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class PeopleData(Data):
    """Choices of real people, with what is kept for the tests chosen by hash."""

    held_out_captions: ProperFraction
    """Share of the captions, chosen by hash, that only the tests see."""
    unseen_users: ProperFraction
    """Share of the users, chosen by hash, that only the tests see."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class PickapicData(PeopleData):
    """Parquet files in Pick-a-Pic v2's schema, images included."""

    name: Literal["pickapic"]
    root: str
    """The folder that holds the parquet files, an fsspec URL of one (s3://, gs://), or OWNER/NAME on the model hub."""
    files: Annotated[str, Field(min_length=1)]
    """Which of its files are read, as a glob such as data/train-*.parquet."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class FolderData(PeopleData):
    """One's own pairs: a table beside images."""

    name: Literal["folder"]
    table: str
    """A CSV, JSONL or parquet file (or its fsspec URL) with the columns caption, image_0, image_1, choice and user."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Reward:
    """What scores an image for its caption: a synthetic user of that name prefers the image with the higher score."""

    target: Annotated[str, Field(min_length=1)]
    """Import path of its class, a `rewards.reward.Reward`: one of this package's, or one's own on Python's path."""
    weights: dict[str, str]
    """What it is loaded from, by role: a file, a folder, or OWNER/NAME[:FILE] on the model hub."""
    options: dict[str, str | int | float | bool]
    """Further arguments of its class."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Model:
    """The frozen text-to-image model and the user branch on it."""

    name: Literal["emoji", "stage_c_lite", "stage_c"]
    """Which model: the mini Stable Cascade that ships with the project, or Stable Cascade's Stage C of 1B or 3.6B."""
    path: str | None
    """Folder of its weights in the released layout, or a name on the model hub; null is the one that ships."""
    codec_path: str | None
    """The same for the image encoder, previewer, Stage B and Stage A, where they lie elsewhere; null is path."""
    num_tokens: Count
    """User tokens that a user embedding is projected to. With one, attention to it is constant: use several."""
    null_user: Literal["zero", "learned"]
    """What no user means: the base model itself, or a learnt population preference."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class User:
    """How a user is described to the model."""

    kind: str
    """What describes a user: choices of their own, their words, or nothing but who they are."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class DescribedUser(User):
    """By a few of their own choices: those that the group shots picks."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class FeaturesUser(DescribedUser):
    """Features of the images of the choices, on the directions in which users differ most."""

    kind: Literal["features"]
    encoder: Literal["efficientnet_lite0", "codec"]
    """What sees the shots: a frozen ImageNet network, or the model's own codec."""
    components: Count
    """Width of an embedding: directions in which users differ most, beside how each one's choices vary."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class ClipUser(DescribedUser):
    """Means of a reward's features of the preferred images, such as CLIP's, and of their differences to the others."""

    kind: Literal["clip"]
    reward: str
    """Which of the rewards sees the images, by its vision tower; what it saw is stored once for users and labels."""
    components: Count | None
    """Width of an embedding, as for user=features; null keeps every feature."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class RewardUser(DescribedUser):
    """How much the score of each of the rewards counts in the choices, by a logistic regression."""

    kind: Literal["reward"]
    regularisation: Positive
    """Weight of half the squared length of the coefficients; scores have unit deviation over the training pairs."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class VlmUser(DescribedUser):
    """A hidden state of a vision-language model that writes a profile of the user from a few choices."""

    kind: Literal["vlm"]
    path: str
    """Folder of LLaVA-OneVision in the layout of transformers, or its name on the model hub."""
    temperature: NonNegative
    """Of the answers; 0 takes the likeliest token each time."""
    top_p: Annotated[float, Strict(), Field(gt=0, le=1)]
    """Share of the probability that an answer's tokens are drawn from."""
    max_new_tokens: Count
    """Longest answer."""
    position: Position
    """Whose hidden state describes the user: the profile's last token, the mean of its tokens, or the prompt's last."""
    layer: Annotated[int, Strict()]
    """Which hidden state: 0 is the embeddings, -1 the last layer after the final norm."""
    batch_size: Count
    """Sets of shots that are answered at once; on a GPU rounding makes the answers depend on it."""
    image_size: Count
    """Longest side in pixels at which an image is handed to the model's own preparation."""
    retries: Natural
    """Further tries, each with another seed, where an answer holds no profile."""
    max_unusable: Fraction
    """Share of the sets that may stay without a profile; with more of them the command stops."""
    seed: Natural
    """Draws the answers, with the pairs of each set."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class StatedUser(User):
    """What people say of their taste, or what was written of it, in words."""

    kind: Literal["stated"]
    texts: str
    """A text for each user: JSON of names and texts, or a CSV, JSONL or parquet table with columns user and text."""
    reader: Literal["text_encoder", "vlm"]
    """What reads it: the model's own text encoder, whose pooled state it is, or a vision-language model."""
    path: str | None
    """Folder or hub name of that vision-language model, as for user=vlm."""
    position: Position
    """Whose hidden state of it is taken, as for user=vlm."""
    layer: Annotated[int, Strict()]
    """Which of its hidden states, as for user=vlm."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class IdUser(User):
    """A dimension for each user who is trained on: the paper's naive baseline, which cannot serve anybody else."""

    kind: Literal["id"]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class OneHotUser(User):
    """A dimension for each synthetic user, whose choices are computed scores."""

    kind: Literal["one_hot"]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class ConstantUser(User):
    """The same for everybody: what objective=diffusion_dpo learns."""

    kind: Literal["constant"]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Shots:
    """Which of a user's choices describe them."""

    n: Count
    """Choices that describe a user."""
    select: Literal["random", "diverse", "caption_aware"]
    """By hash, as unlike as can be in their captions, or with captions nearest to the one that is asked for."""
    groupings: Count
    """Different sets of them made for each user; with caption_aware it is one for each caption instead."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Objective:
    """What is minimised."""

    name: Literal["ppd", "diffusion_dpo", "sft"]
    """The loss: PPD, Diffusion-DPO (PPD with one constant user) or supervised on the preferred image."""
    beta: Positive
    """Strength of the pull towards the reference; the convention is the next two keys."""
    reduction: Literal["sum", "mean"]
    """Whether a squared norm is summed or averaged over the latent's dimensions."""
    timesteps_weight: Positive
    """The factor T * w that multiplies beta."""
    weighting: Literal["const", "p2", "adaptive", "elbo"]
    """Weight over time; adaptive divides by the base's mean error at each noise level."""
    t_min: Fraction
    """Lowest time that is drawn."""
    t_max: Fraction
    """Highest time that is drawn; 1 is pure noise."""
    share_noise: Switch
    """Whether both images of a pair get the same noise."""
    drop_user: Fraction
    """Share of the examples that are shown without their user."""
    sft_weight: NonNegative
    """Weight of an added supervised loss on the preferred image; 0 leaves it out."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
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


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Trainer:
    """How long and on what."""

    max_steps: Count
    """Optimizer steps."""
    batch_size: Count
    """Pairs of one optimizer step, over all devices."""
    micro_batch_size: Count | None
    """Pairs that a device works on at once, whose gradients add up to the step's; null is its whole share."""
    precision: Precision
    """fp32 or bf16; the weights of the user branch and the errors stay in fp32."""
    accelerator: Literal["auto", "cpu", "gpu"]
    """The hardware; auto takes a GPU where there is one."""
    nodes: Count
    """How many machines, each with as many devices."""
    devices: Count
    """How many devices of each machine; one process trains on each."""
    reference: Literal["computed", "stored"]
    """Whether each step computes the reference's errors, or they are made once and read by all runs of a sweep."""
    threads: Count | None
    """CPU threads of PyTorch; null leaves its own choice."""
    gradient_checkpointing: Switch
    """Compute activations again in the backward pass: less memory, more time, the same result."""
    compile: Switch
    """Compile the network with torch.compile: minutes at the start, more where objective.drop_user varies the batch."""
    checkpoint_every: Count
    """Steps between checkpoints."""
    preview_every: Count | None
    """Steps between sheets of generation's captions and users, drawn as the training stands; null draws none."""
    log_every: Count
    """Steps between logged figures."""
    progress: Switch
    """A progress bar where there is a terminal."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
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
    place: str | None
    """Where the tracker's records go: MLflow's tracking URI, or W&B's folder; null is a folder in output."""
    offline: Switch
    """Whether W&B only writes files, which `wandb sync` sends later."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Generation:
    """How images are drawn."""

    steps: Count
    """Sampling steps."""
    text_guidance: NonNegative
    """Guidance scale of the caption (1 is none), as diffusers counts it."""
    user_guidance: NonNegative
    """Guidance scale of the user (0 is the base model, 1 the plain conditional model)."""
    user_guidance_interval: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    """The times [low, high] at which the user is shown to the model."""
    batch_size: Count
    """Images drawn at once."""
    seeds: Annotated[list[Natural], Field(min_length=1)]
    """A seed is one noise, shared by all users."""
    decoder: Literal["full", "preview"]
    """What turns latents into images: Stage B and Stage A, or the small previewer (one and the same for emoji)."""
    weights: Literal["trained", "ema"]
    """Which of the run's weights draw: those of the last step, or their moving average (optimizer.ema_decay)."""
    captions: Annotated[list[str], Field(min_length=1)] | None
    """What is drawn; null chooses held-out captions by hash."""
    users: Annotated[list[Name | Blend], Field(min_length=1)] | None
    """For whom: names, or convex blends such as {ann: 0.3, bob: 0.7}; null chooses unseen people by hash."""
    columns: Count
    """How many are chosen where captions or users is null."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Evaluation:
    """How the images are judged."""

    comparisons: Count
    """Comparisons with the base in each group of people."""
    captions: Literal["held_out", "train"]
    """Which captions are drawn."""
    judges: Annotated[list[Literal["pixels", "statistics"]], Field(min_length=1)]
    """Independent judges of an image's style; the first decides, the others are reported beside it."""
    bootstrap: Count
    """Resamplings of the people for the interval of a rate."""
    tie: NonNegative
    """Differences of utility up to this count as a tie."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Classification:
    """How it is measured whether embeddings tell users apart."""

    users: Annotated[int, Strict(), Field(ge=2)]
    """How many users are told apart: those with the most pairs."""
    tests: Count
    """Rows of each user that are tested, each with a classifier trained on rows of other pairs."""
    top: Annotated[list[Count], Field(min_length=1)]
    """Sizes of the shortlist in which the right user must be."""
    regularisation: Positive
    """Weight of half the squared length of the classifier's coefficients, beside the summed cross entropy."""
    bootstrap: Count
    """Resamplings of the users for the interval of a rate."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Report:
    """What a sweep is told of."""

    sweep: str | None
    """A sweep's folder; null is the one that was last worked on in output."""
    metric: Annotated[str, Field(min_length=1)] | None
    """The number that names the best run, as a column of runs.csv; null is the first main number that was measured."""
    goal: Literal["maximize", "minimize"]
    """Which way that number is better."""


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Config:
    """One run of any verb."""

    data: Annotated[EmojiData | PickapicData | FolderData, Field(discriminator="name")]
    model: Model
    user: Annotated[
        FeaturesUser | ClipUser | RewardUser | VlmUser | StatedUser | IdUser | OneHotUser | ConstantUser,
        Field(discriminator="kind"),
    ]
    shots: Shots
    objective: Objective
    optimizer: Optimizer
    trainer: Trainer
    logger: Logger
    generation: Generation
    evaluation: Evaluation
    rewards: dict[Name, Reward]
    """What scores images, by name (chosen as a list: reward=[clip,aesthetic])."""
    classification: Classification
    report: Report
    mode: Literal["real", "synthetic"]
    """What belongs together: people's own choices and their shots, or rewards and one-hot users."""
    seed: Natural
    """Draws the branch's first weights and, with epoch and pair, every timestep, noise and dropped user."""
    output: str
    """Folder for everything that is made."""
