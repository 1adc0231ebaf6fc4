"""Typed configurations and their validation."""
