"""The networks of Stable Cascade: Stage C's calls, its encoder, previewer, Stage B and A."""
