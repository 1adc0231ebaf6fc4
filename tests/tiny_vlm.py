"""LLaVA-OneVision with its real classes, a few kilobytes wide, with a tokenizer of a few hundred words."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    Qwen2Config,
    Qwen2Tokenizer,
    SiglipVisionConfig,
)

from ppd_lightning.users.vlm_prompts import MARK, OWN_WORDS, STEPS, SYSTEM

SIDE, PATCH, WIDTH, LAYERS = 28, 14, 24, 3
PATCHES = (SIDE // PATCH) ** 2
IMAGE_TOKENS = PATCHES + 1
"""Of an image among several: its patches and the newline."""

PINPOINTS = [[SIDE, SIDE], [SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]

# As the released one does, it shows the images of a message first, and then its texts.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }} {% for part in message.content if part.type == 'image' %}<image>{% endfor -%}
{%- for part in message.content if part.type == 'text' %}{{ '\\n' + part.text }}{% endfor -%}
<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
MERGES = 300
PADDED_ROWS = 7
"""Rows of the embedding beyond the tokenizer's last token, as the released models have them."""


@functools.cache
def _merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of single bytes and of what is frequent in the prompts, so that these are short."""
    trained = Qwen2Tokenizer().train_new_from_iterator(
        [SYSTEM, STEPS, OWN_WORDS] * 4, 256 + MERGES, show_progress=False
    )
    whole = json.loads(trained.backend_tokenizer.to_str())["model"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(merge) for merge in whole["merges"]]
    tokens = dict.fromkeys([*letters, *["".join(merge) for merge in merges]])
    return {token: number for number, token in enumerate(tokens)}, merges


def tokenizer() -> Qwen2Tokenizer:
    """Qwen2's tokenizer with a small vocabulary and the special tokens of LLaVA-OneVision."""
    vocabulary, merges = _merges()
    made = Qwen2Tokenizer(vocab=dict(vocabulary), merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    made.add_tokens([MARK])  # one token, so that random answers hold it
    return made


def processor(
    side: int = SIDE, patches: int = PATCHES, pinpoints: list[list[int]] = PINPOINTS
) -> LlavaOnevisionProcessor:
    """The processor, for images of `side` pixels that are `patches` tokens each."""
    size = {"height": side, "width": side}
    images = LlavaOnevisionImageProcessor(
        size=size, image_grid_pinpoints=pinpoints, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaOnevisionProcessor(
        image_processor=images,
        tokenizer=tokenizer(),
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=patches,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


@torch.no_grad()
def network(seed: int = 0) -> LlavaOnevisionForConditionalGeneration:
    """The model with random weights, large enough that its answers depend on all that it reads."""
    words = tokenizer()
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=16,
            intermediate_size=20,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=PATCH,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            vocab_size=len(words) + PADDED_ROWS,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=8192,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=PINPOINTS,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = LlavaOnevisionForConditionalGeneration(config)
        for weight in made.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=2 * weight[0].numel() ** -0.5)
        made.lm_head.weight[words.convert_tokens_to_ids(MARK)] *= 2.5
    return made.eval().requires_grad_(False)


def folder(path: Path, seed: int = 0) -> Path:
    """The whole model as transformers saves it."""
    network(seed).save_pretrained(path)
    processor().save_pretrained(path)
    return path


def released_folder(path: Path, seed: int = 0) -> Path:
    """The whole model with its files named as on the hub."""
    folder(path, seed)
    whole = json.loads((path / "processor_config.json").read_text())
    (path / "preprocessor_config.json").write_text(json.dumps(whole["image_processor"]))
    kept = {key: value for key, value in whole.items() if not key.endswith("_processor")}
    (path / "processor_config.json").write_text(json.dumps(kept))
    (path / "chat_template.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    (path / "chat_template.jinja").unlink()
    return path
