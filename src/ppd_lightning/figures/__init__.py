"""Figures by matplotlib in one style, and the fonts of every label that the project draws."""
