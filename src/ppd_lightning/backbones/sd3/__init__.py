"""The networks of Stable Diffusion 3 and 3.5: the transformer's calls, the three text encoders, an export's code."""
