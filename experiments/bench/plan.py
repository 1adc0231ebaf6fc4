"""What is measured of the training step, the most valuable lines first: they are made until the time is up."""

from __future__ import annotations

import time
from dataclasses import dataclass

BEGUN = time.monotonic()
"""Before what takes long to import."""
BASE = (
    "model.path=none",
    "objective.drop_user=0",
    "optimizer.grad_clip=1",
    "optimizer.warmup_steps=0",
    "trainer.max_steps=4",
    "trainer.log_every=1",
    "trainer.progress=false",
)
WAYS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "ours": (),
    "ours stock": ("model.arithmetic=stock",),
    "ppd train": ("objective.drop_user=0.1",),
    "ours stored": ("trainer.reference=stored",),
    "ours regions": ("trainer.compile=regions",),
    "ours regions stored": ("trainer.compile=regions", "trainer.reference=stored"),
    "ppd train regions": ("objective.drop_user=0.1", "trainer.compile=regions"),
    "ours checkpointed": ("trainer.gradient_checkpointing=true",),
    "ours regions checkpointed": ("trainer.compile=regions", "trainer.gradient_checkpointing=true"),
    "ours compiled": ("trainer.compile=true",),
    "profile": (),
    "profile regions": ("trainer.compile=regions",),
}
"""What a line's settings are, beside BASE."""


@dataclass(frozen=True)
class Line:
    """needs: seconds that it is begun with at least; a line that was begun is not cut off."""

    network: str
    way: str
    pairs: int
    needs: float = 15

    @property
    def stored(self) -> bool:
        """Whether the reference's errors are read."""
        return "stored" in self.way


PLAN = (
    Line("stage_c_lite", "plain", 8),
    Line("stage_c_lite", "ours", 8),
    Line("stage_c_lite", "ppd train", 8, 25),
    Line("stage_c_lite", "plain", 16),
    Line("stage_c_lite", "ours", 16),
    Line("stage_c_lite", "profile", 16, 20),
    Line("stage_c_lite", "ours stock", 16),
    Line("stage_c_lite", "ours regions", 16, 90),
    Line("stage_c_lite", "ours stored", 16, 25),
    Line("stage_c_lite", "ours regions stored", 16, 90),
    Line("stage_c_lite", "ours", 32),
    Line("stage_c_lite", "profile regions", 16, 60),
    Line("stage_c_lite", "ppd train regions", 16, 90),
    Line("sdxl_512", "plain", 8, 30),
    Line("sdxl_512", "ours", 8, 30),
    Line("sd35_medium", "plain", 2, 30),
    Line("sd35_medium", "ours", 2, 30),
    Line("sdxl_1024", "plain", 2, 30),
    Line("sdxl_1024", "ours", 2, 30),
    Line("stage_c_lite", "ours regions", 32, 60),
    Line("stage_c_lite", "ours checkpointed", 64, 20),
    Line("stage_c_lite", "ours regions checkpointed", 64, 90),
    Line("sdxl_512", "ours", 16, 20),
    Line("stage_c", "plain", 4, 30),
    Line("stage_c", "ours", 4, 30),
    Line("stage_c_lite", "ours compiled", 16, 300),
)
"""The most valuable first: the baseline beside ours, where the time goes, what compiling gives, then other networks."""
