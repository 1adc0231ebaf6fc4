"""Sampling images for captions and users."""

from ppd_lightning.generation.pipeline import Guidance, UserPipeline

__all__ = ["Guidance", "UserPipeline"]
