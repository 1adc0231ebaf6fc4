"""Simulated worlds, which enter by the same doors as real data and models."""
