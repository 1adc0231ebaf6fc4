"""Comparisons of an image for a person with the base's: which there are, their images, and their table."""
