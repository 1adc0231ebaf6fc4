"""The code of an export: what draws a picture by the adapter where this package is not installed."""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from ppd_lightning.backbones.card_facts import DrawingCode
from ppd_lightning.generation.settings import Generation
from ppd_lightning.rewards.encoder_code import EncoderCode

TEMPLATES = importlib.resources.files("ppd_lightning.model_card") / "templates"
STUDIO = {"app.py": "app.py.txt", "requirements.txt": "requirements.txt"}
"""Files of an export by which `ppd studio` opens it, and their templates."""
SHARED = (
    "ppd_lightning.backbones.adapter_file",
    "ppd_lightning.backbones.ahead",
    "ppd_lightning.backbones.base_fingerprint",
    "ppd_lightning.backbones.interfaces",
    "ppd_lightning.backbones.user_branch",
    "ppd_lightning.generation.pipeline",
    "ppd_lightning.storage.checked_tensors",
    "ppd_lightning.users.vectors_file",
)
"""The modules that every export carries, beside those of its base's family."""

NEW_PEOPLE = (
    "ppd_lightning.data.hosts",
    "ppd_lightning.data.image_files",
    "ppd_lightning.data.pair_ids",
    "ppd_lightning.data.own_table",
    "ppd_lightning.data.picture_formats",
    "ppd_lightning.data.pictures",
    "ppd_lightning.data.remote",
    "ppd_lightning.data.saved_datasets",
    "ppd_lightning.data.table_cells",
    "ppd_lightning.data.table_csv",
    "ppd_lightning.data.table_images",
    "ppd_lightning.data.table_json",
    "ppd_lightning.data.table_parquet",
    "ppd_lightning.data.table_parts",
    "ppd_lightning.data.table_rows",
    "ppd_lightning.data.table_text",
    "ppd_lightning.data.webdataset",
    "ppd_lightning.errors",
    "ppd_lightning.machine_faults",
    "ppd_lightning.masking",
    "ppd_lightning.settings.plain_text",
    "ppd_lightning.signals",
    "ppd_lightning.storage.atomic",
    "ppd_lightning.storage.fingerprints",
    "ppd_lightning.storage.writers",
    "ppd_lightning.users.choice_features",
    "ppd_lightning.users.describer",
    "ppd_lightning.users.discriminants",
    "ppd_lightning.users.exported",
    "ppd_lightning.users.new_choices",
    "ppd_lightning.users.people_file",
    "ppd_lightning.users.scale",
    "ppd_lightning.users.set_spread",
)
"""Those by which it describes new people, beside those of the encoder."""

KIND = "kind"
"""The module that is written for each export: how its people are described."""


def studio_files(captions: Sequence[str]) -> dict[str, str]:
    """What opens the studio of an export, by name; it needs this package, and draws these captions."""
    files = {name: (TEMPLATES / template).read_text("utf-8") for name, template in STUDIO.items()}
    return {**files, "captions.txt": "".join(f"{caption}\n" for caption in captions)}


def drawing_files(
    code: DrawingCode, generation: Generation, image_size: int, kind: str, encoder: EncoderCode | str
) -> dict[str, str]:
    """The texts of draw.py, and of this package's own modules in the folder drawing/, by name.

    Args:
        code: of the base.
        generation: the defaults of draw.py.
        image_size: side in pixels of the images that were encoded for the training.
        kind: `UserKind.kind`.
        encoder: `UserKind.encoder_code`.

    Raises:
        ValueError: a module imports another one of this package that is not among those that go along.
    """
    seeing = () if isinstance(encoder, str) else encoder.modules
    carried = dict.fromkeys((*SHARED, *NEW_PEOPLE, *code.modules, *seeing))
    modules = {module: module.rpartition(".")[2] for module in carried}
    if len({*modules.values(), KIND}) <= len(modules):
        raise ValueError(f"two modules of an export have one name: {', '.join(sorted(modules))}")
    files = {f"drawing/{name}.py": _beside(module, modules) for module, name in modules.items()}
    files[f"drawing/{KIND}.py"] = _kind_file(kind, encoder, modules)
    files["drawing/__init__.py"] = '"""Parts of ppd-lightning that need torch, diffusers and what README.md names."""\n'
    low, high = generation.user_guidance_interval
    module, _, base = code.base.rpartition(".")
    values = {
        "module": modules[module],
        "kind": base,
        "base_folders": code.base_folders,
        "codec_folders": code.codec_folders,
        "settings": settings_as_arguments(code),
        "image_size": image_size,
        "steps": generation.steps,
        "text_guidance": generation.text_guidance,
        "user_guidance": generation.user_guidance,
        "low": low,
        "high": high,
    }
    return files | {"draw.py": Template(read_template("draw.py.txt")).substitute(values)}


def _kind_file(kind: str, encoder: EncoderCode | str, names: Mapping[str, str]) -> str:
    """The text of drawing/kind.py, by which draw.py describes new people or says why it does not."""
    if isinstance(encoder, str):
        return Template(read_template("no_kind.py.txt")).substitute(why=json.dumps(encoder, ensure_ascii=False))
    module, _, function = encoder.opens.rpartition(".")
    settings = "".join(f"        {name}={value!r},\n" for name, value in encoder.settings.items())
    values = {"module": names[module], "function": function, "settings": settings, "kind": json.dumps(kind)}
    return Template(read_template("kind.py.txt")).substitute(values)


def settings_as_arguments(code: DrawingCode) -> str:
    """The further arguments of the class that opens the base, as Python writes them, each after a comma."""
    return "".join(
        f", {name}={json.dumps(value) if isinstance(value, str) else repr(value)}"
        for name, value in code.settings.items()
    )


def read_template(name: str) -> str:
    """The text of a template with $names."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _beside(module: str, names: dict[str, str]) -> str:
    """A module's text with imports of the others from beside it."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ValueError(f"{module}: no module with a file")
    text = re.sub(
        r"^(\s*)from (ppd_lightning[\w.]*) import",
        lambda line: f"{line[1]}from .{names[line[2]]} import" if line[2] in names else line[0],
        Path(found.origin).read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    left = re.search(r"^\s*(from|import) ppd_lightning.*", text, re.MULTILINE)
    if left:
        raise ValueError(f"{module}: {left[0].strip()!r} does not go along with an export")
    return text
