"""The frozen text-to-image models, the user branch on them, and their files."""
