"""LLaVA-OneVision writes a person's profile, and a hidden state of it is the person's embedding.

An answer is drawn token by token with numbers that follow from its seed alone; then one forward over the prompt and the
whole answer gives the hidden states, also that of the answer's last token, which no step of the generation computes.
That forward takes one prompt at a time and pads nothing, so that a state depends on the prompt and the answer only.

B = prompts, L = tokens of a prompt, T = tokens of an answer, V = vocabulary, E = width of a hidden state, I = images.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor
from transformers.utils.logging import disable_progress_bar

from ppd_lightning.backbones.weights import misfits
from ppd_lightning.errors import UserError
from ppd_lightning.users.vlm_files import KEY, vlm_folder
from ppd_lightning.users.vlm_prompts import MARK, SYSTEM, PromptPair, profile_in, profile_prompt, text_prompt
from ppd_lightning.users.vlm_settings import Position


def vlm_dtype(device: torch.device | str) -> torch.dtype:
    """Of a vision-language model's weights and hidden states on a device."""
    return torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32


@dataclass(frozen=True)
class Profile:
    """What came of one question.

    text: the profile. answer: all that the model wrote. state: (E,) float32. seed: that drew the answer. Text and state
    are None where the answer holds no profile.
    """

    text: str | None
    answer: str
    state: np.ndarray | None
    seed: int


class ProfileWriter:
    """LLaVA-OneVision, frozen.

    Args:
        path: its folder, or its name on the model hub.
        device: where it runs.
        dtype: of its weights and hidden states.
        position: whose hidden state is taken: that of the profile's last token before the end of the answer, the mean
            over the profile's tokens, or that of the prompt's last token.
        layer: which hidden state: 0 is the embeddings of the tokens, -1 the last layer after the final norm.
        max_new_tokens: where an answer is cut off.
        temperature: of the draws; 0 takes the likeliest token.
        top_p: share of the probability that tokens are drawn from.
        keys: the settings that name `path` and `max_new_tokens`, for the messages.

    Raises:
        UserError: files are missing, damaged, or of another model; or it has no such layer.
    """

    def __init__(
        self,
        path: str,
        device: torch.device | str,
        dtype: torch.dtype,
        *,
        position: Position,
        layer: int,
        max_new_tokens: int = 512,
        temperature: float = 0.7,
        top_p: float = 1.0,
        keys: tuple[str, str] = (KEY, "user.max_new_tokens"),
    ) -> None:
        self.position, self.layer, self.keys = position, layer, keys
        self.max_new_tokens, self.temperature, self.top_p = max_new_tokens, temperature, top_p
        self.processor, self.model = _load(path, dtype, keys[0])
        self.model = self.model.to(device)
        depth = self.model.config.text_config.num_hidden_layers
        if not -depth - 1 <= layer <= depth:
            raise UserError(
                f"user.layer: {path} has the hidden states 0 to {depth}, or -{depth + 1} to -1, not {layer}"
            )
        tokenizer, config = self.processor.tokenizer, self.model.config
        self.control = sorted({*tokenizer.all_special_tokens, self.processor.image_token, self.processor.video_token})
        self._ends = {tokenizer.eos_token_id, *_listed(self.model.generation_config.eos_token_id)}
        # A token of an image would need the image; one that the tokenizer does not know has no text.
        barred = {*tokenizer.all_special_ids, config.image_token_id, config.video_token_id} - self._ends
        barred |= set(range(len(tokenizer), config.text_config.vocab_size))
        self._barred = torch.tensor(sorted(barred), device=device)

    @property
    def width(self) -> int:
        """E."""
        return int(self.model.config.text_config.hidden_size)

    def profiles(self, shots: Sequence[Sequence[PromptPair]], seeds: Sequence[int]) -> list[Profile]:
        """One answer to each set of shots, drawn with its seed, all of them at once; B each.

        An answer depends on the others only by the rounding of a batch's forwards.

        Raises:
            UserError: a prompt and its answer are longer than what the model reads.
        """
        prompts = [self._prompt(profile_prompt(own, self.control), [i for s in own for i in s.images]) for own in shots]
        return [
            self._profile(prompt, answer, seed)
            for prompt, answer, seed in zip(prompts, self._answers(prompts, seeds), seeds, strict=True)
        ]

    def answers(self, asked: Sequence[tuple[str, Sequence[Image]]], seeds: Sequence[int]) -> list[tuple[str, int, int]]:
        """The answer to each prompt with its images, all of them at once: its text, the prompt's tokens and its own.

        Raises:
            UserError: as `profiles`.
        """
        prompts = [self._prompt(text, images) for text, images in asked]
        lengths = [prompt["input_ids"].shape[1] for prompt in prompts]
        answers = self._answers(prompts, seeds)
        return [(self._text(answer), length, len(answer)) for length, answer in zip(lengths, answers, strict=True)]

    def states_of_texts(self, texts: Sequence[str]) -> np.ndarray:
        """The states of people's own words, as if the model had written each as a profile, (B, E) float32.

        Raises:
            ValueError: a text is blank.
        """
        if not all(text.strip() for text in texts):
            raise ValueError("a text is blank")
        states = []
        for text in texts:
            prompt = self._prompt(text_prompt(text, self.control), [])
            answer = self.processor.tokenizer(f"{MARK} {' '.join(text.split())}", split_special_tokens=True)[
                "input_ids"
            ]
            states.append(self._state(prompt, answer[: self.max_new_tokens]))
        return np.stack(states)

    def _prompt(self, text: str, images: Sequence[Image]) -> dict[str, Tensor]:
        """The model's inputs for one question: input_ids (1, L) and, where there are images, pixel_values (I, ...)."""
        messages = [
            {"role": role, "content": [{"type": "text", "text": part}]}
            for role, part in (("system", SYSTEM), ("user", text))
        ]
        whole = self.processor.apply_chat_template(messages, add_generation_prompt=True)
        # A list in a list: several images of one prompt. A flat list would cut each image into up to 36 crops.
        inputs = dict(self.processor(text=[whole], images=[list(images)] if images else None, return_tensors="pt"))
        del inputs["attention_mask"]
        length, most = inputs["input_ids"].shape[1], self.model.config.text_config.max_position_embeddings
        if length + self.max_new_tokens > most:
            raise UserError(
                f"{self.keys[1]}: a prompt of {length} tokens and an answer of {self.max_new_tokens} are more "
                f"than the {most} that the model reads; show fewer shots, or ask for shorter answers"
            )
        if images:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}

    @torch.no_grad()
    def _answers(self, prompts: Sequence[dict[str, Tensor]], seeds: Sequence[int]) -> list[list[int]]:
        """The tokens of each answer, without the one that ends it."""
        uniforms = [_uniforms(seed, self.max_new_tokens) for seed in seeds]
        lengths = torch.tensor([prompt["input_ids"].shape[1] for prompt in prompts], device=self.model.device)
        longest = int(lengths.max())
        fill = self.processor.tokenizer.pad_token_id
        ids = torch.full((len(prompts), longest), fill, device=self.model.device)
        for row, prompt in enumerate(prompts):
            ids[row, longest - prompt["input_ids"].shape[1] :] = prompt["input_ids"][0]
        mask = (torch.arange(longest, device=ids.device) >= longest - lengths[:, None]).long()
        of_images = [name for name in prompts[0] if name != "input_ids"]
        inputs: dict[str, Any] = {name: torch.cat([prompt[name] for prompt in prompts]) for name in of_images}
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        answers: list[list[int]] = [[] for _ in prompts]
        open_rows, cache = set(range(len(prompts))), None
        for step in range(self.max_new_tokens):
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **inputs,
            )
            logits = output.logits[:, -1].float().index_fill(1, self._barred, -torch.inf).cpu().numpy()
            drawn = [fill] * len(prompts)
            for row in sorted(open_rows):
                drawn[row] = draw_token(logits[row], self.temperature, self.top_p, uniforms[row][step])
                if drawn[row] in self._ends:
                    open_rows.remove(row)
                else:
                    answers[row].append(drawn[row])
            if not open_rows:
                break
            ids, cache, inputs = torch.tensor(drawn, device=ids.device)[:, None], output.past_key_values, {}
            mask, positions = torch.cat([mask, torch.ones_like(ids)], 1), positions[:, -1:] + 1
        return answers

    def _profile(self, prompt: dict[str, Tensor], answer: list[int], seed: int) -> Profile:
        whole = self._text(answer)
        text = profile_in(whole)
        return Profile(text, whole, None if text is None else self._state(prompt, answer), seed)

    @torch.no_grad()
    def _state(self, prompt: dict[str, Tensor], answer: list[int]) -> np.ndarray:
        """The hidden state that describes a person, (E,) float32, by one forward over the prompt and the answer."""
        ids = torch.cat([prompt["input_ids"], torch.tensor([answer], device=self.model.device)], 1)
        inputs = {**prompt, "input_ids": ids}
        output = self.model.model(**inputs, use_cache=False, output_hidden_states=True)
        states, begin = output.hidden_states[self.layer][0].float(), prompt["input_ids"].shape[1]  # (L + T, E)
        if self.position == "last_prompt_token":
            state = states[begin - 1]
        elif self.position == "last_profile_token":
            state = states[-1]
        else:
            state = states[begin + min(self._marked(answer), len(answer) - 1) :].mean(0)
        found: np.ndarray = state.cpu().numpy()
        return found

    def _marked(self, answer: list[int]) -> int:
        """How many of an answer's tokens come before its profile: with them the text holds the last `MARK`."""
        marks = self._text(answer).count(MARK)
        return bisect_left(range(len(answer)), marks, key=lambda count: self._text(answer[:count]).count(MARK))

    def _text(self, tokens: list[int]) -> str:
        text: str = self.processor.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text


def draw_token(logits: np.ndarray, temperature: float, top_p: float, uniform: float) -> int:
    """A token from logits (V,), by a number in [0, 1): the first at which the cumulated probability exceeds it.

    Args:
        temperature: 0 takes the likeliest token.
        top_p: the likeliest tokens are kept that make up this share of the probability together.
    """
    if temperature == 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    if top_p < 1:
        order = np.argsort(-weights, kind="stable")
        cumulated = np.cumsum(weights[order])
        weights[order[np.searchsorted(cumulated, top_p * cumulated[-1]) + 1 :]] = 0
    cumulated = np.cumsum(weights)
    last = np.flatnonzero(weights)[-1]  # rounding may take the product up to the whole sum
    return int(min(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"), last))


def _uniforms(seed: int, count: int) -> np.ndarray:
    """Numbers in [0, 1) that depend on the seed alone, one a step."""
    return np.random.Generator(np.random.Philox(key=seed)).random(count)


def _listed(tokens: int | Iterable[int] | None) -> list[int]:
    return [] if tokens is None else [tokens] if isinstance(tokens, int) else list(tokens)


def _load(path: str, dtype: torch.dtype, key: str) -> tuple[Any, Any]:
    """The processor, and the network in evaluation mode."""
    folder = vlm_folder(path, key)
    disable_progress_bar()
    try:
        processor = LlavaOnevisionProcessor.from_pretrained(folder, local_files_only=True)
        model, found = LlavaOnevisionForConditionalGeneration.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # whatever files of something else lead to
        raise UserError(f"{key}: {folder} holds no LLaVA-OneVision ({' '.join(str(error).split())})") from None
    wrong = misfits(found)
    if wrong:
        raise UserError(f"{key}: the weights in {folder} are not those of its config.json ({wrong})")
    return processor, model.eval().requires_grad_(False)
