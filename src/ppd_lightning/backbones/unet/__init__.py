"""Stable Diffusion's UNet: its call, text states, user sites, files, and the original layout of its checkpoints."""
