"""The recipes that are compared: each is `experiment=emoji/ppd` with a few other settings, by name."""

from __future__ import annotations

OBJECTIVES = ("ppd", "sft", "diffusion_dpo", "sdpo", "linear_dpo", "ipo", "cdpo", "kto", "mapo", "dispersion")

LATER = "generation.user_guidance_interval=[0.5,0.95]"
"""Users count after the sampler's first step only, which begins at pure noise; the training is the same."""

RECIPES: dict[str, tuple[str, ...]] = {
    **{name: (f"objective={name}",) for name in OBJECTIVES},
    "beta 0.1": ("objective.beta=0.1",),
    "beta 0.25": ("objective.beta=0.25",),
    "beta 0.5": ("objective.beta=0.5",),
    "beta 0.5 and 8 tokens": ("objective.beta=0.5", "model.num_tokens=8"),
    "beta 0.5 and sft_weight 1": ("objective.beta=0.5", "objective.sft_weight=1.0"),
    "beta 8": ("objective.beta=8.0",),
    "sft_weight 0": ("objective.sft_weight=0.0",),
    "sft_weight 1": ("objective.sft_weight=1.0",),
    "times 0.25 to 0.95": ("objective.t_min=0.25", "generation.user_guidance_interval=[0.25,0.95]"),
    "times from 0.7": ("objective.t_min=0.7", "generation.user_guidance_interval=[0.7,1.0]"),
    "nobody dropped": ("objective.drop_user=0.0",),
    "8 tokens": ("model.num_tokens=8",),
    "tokens of 32": ("model.token_width=32",),
    "sdpo mu 0.9": ("objective=sdpo", "objective.mu=0.9"),
    "sdpo without anchor": ("objective=sdpo", "objective.sft_weight=0.0"),
    "cdpo 0.25": ("objective=cdpo", "objective.label_smoothing=0.25"),
    "kto 0.5": ("objective=kto", "objective.preferred_share=0.5"),
    "dispersion 1": ("objective=dispersion", "objective.dispersion_weight=1.0"),
    "types": ("user=types",),
    "sft_weight 1 and 8 tokens": ("objective.sft_weight=1.0", "model.num_tokens=8"),
    "sft rate 2e-3": ("objective=sft", "optimizer.lr=2e-3"),
    "sft 8 tokens": ("objective=sft", "model.num_tokens=8"),
    **{f"{name} to 0.95": (f"objective={name}", LATER) for name in ("ppd", "sft")},
    "ppd 0.7 to 0.95": ("generation.user_guidance_interval=[0.7,0.95]",),
    "sft to 1.0": ("objective=sft", "generation.user_guidance_interval=[0.5,1.0]"),
    "8 tokens to 0.95": ("model.num_tokens=8", LATER),
    "beta 0.5 to 0.95": ("objective.beta=0.5", LATER),
}
"""Objectives as they are shipped, further settings of PPD and others, people described by types, the best together."""
