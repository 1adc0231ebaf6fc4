"""Sampling images for captions and users."""
