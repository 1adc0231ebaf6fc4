"""A training's result given away: it works where this package is not, and says what it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file
from tests import tiny
from tests.backbones import tiny_flow
from tests.model_card.fake_hub import Hub
from tests.model_card.without_the_package import without_the_package
from tests.worlds.emoji import packages as handmade

from ppd_lightning.backbones.adapter import adapter_metadata, load_adapter
from ppd_lightning.backbones.adapter_file import read_adapter, write_adapter
from ppd_lightning.commands import embed, export, label, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.exported import exported_values, without_folders
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import as_picture
from ppd_lightning.generation.selection import chosen_users
from ppd_lightning.model_card.card import ExportedTraining, model_card
from ppd_lightning.model_card.drawing_files import drawing_files
from ppd_lightning.settings.values import Share
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.storage.finished_run import mark_finished
from ppd_lightning.worlds.emoji import choices
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.vendors import credits_text

SETTINGS = (
    "experiment=emoji/demo",
    "data.concepts=12",
    "data.held_out_concepts=4",
    "data.people=8",
    "data.unseen_people=3",
    "data.pairs_per_person=12",
    "shots.groupings=2",
    "trainer.max_steps=3",
    "optimizer.warmup_steps=1",
    "optimizer.ema_decay=0.5",
    "trainer.batch_size=4",
    "generation.steps=4",
    "generation.columns=2",
    "generation.text_guidance=3",
    "generation.user_guidance=3",
    "generation.user_guidance_interval=[0.5,1.0]",
)
CAPTION, SEED = "a red fox", 5


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handmade, "CODES", {name: f"1f6{k:02d}" for k, name in enumerate(shipped_concepts(12))})
        return handmade.packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def emoji(tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, Path]) -> Path:
    folder = tmp_path_factory.mktemp("emoji")
    tiny.model_folder(folder / "base")
    _train(folder, emoji_config(folder), pictures)
    return folder


@pytest.fixture(scope="module")
def stage_c(tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, Path]) -> Path:
    folder = tmp_path_factory.mktemp("stage_c")
    tiny.stage_c_folder(folder / "base")
    _train(folder, stage_c_config(folder), pictures)
    return folder


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, Path]) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    tiny_flow.folder(folder / "base")
    _train(folder, flow_config(folder), pictures)
    return folder


def _train(folder: Path, config: Config, pictures: dict[str, Path]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choices, "fetch_packages", lambda _: pictures)
        prepare.run(config)
        if config.data.labels == "rewards":
            label.run(config)
        for verb in (embed, train):
            verb.run(config)
    # Three steps hardly move the branch: make it matter, so that a script that leaves it out fails.
    for path in run_folder(config).glob("adapter*.safetensors"):
        _strengthen(path)


def emoji_config(folder: Path, *overrides: str) -> Config:
    settings = [*SETTINGS, f"model.path={folder / 'base'}", f"output={folder / 'out'}", *overrides]
    return compose(settings if "mode=synthetic" in settings else [*settings, "user.encoder=codec"])


def stage_c_config(folder: Path, *overrides: str) -> Config:
    own = ("model=stage_c_lite", "mode=synthetic", "data.image_size=96")
    return emoji_config(folder, *own, *overrides)


def flow_config(folder: Path, *overrides: str) -> Config:
    return emoji_config(folder, "model=emoji_flow", *overrides)


LAYOUTS = {"emoji": emoji_config, "stage_c": stage_c_config, "flow": flow_config}


def _strengthen(path: Path) -> None:
    kept, header = read_adapter(path)
    generator = torch.Generator().manual_seed(len(path.name))
    tensors = {
        name: torch.randn(tensor.shape, generator=generator) * 0.3 if "to_v" in name else tensor
        for name, tensor in kept.items()
    }
    write_adapter(path, tensors, header)
    mark_finished(path.parent)


def exported(config: Config) -> Path:
    return Path(export.run(config)["folder"])


def drawn(folder: Path, out: Path, base: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What draw.py does in a process that has diffusers and not this package."""
    return without_the_package([folder / "draw.py", base, CAPTION, "--out", out, *options], out.parent)


def differences(path: Path, image: torch.Tensor) -> np.ndarray:
    """Of a PNG to an image (3, H, W) in [0, 1], in 8-bit levels."""
    with Image.open(path) as picture:
        return np.abs(np.asarray(picture).astype(int) - np.asarray(as_picture(image)).astype(int))


@pytest.mark.parametrize(
    "layout", ["emoji", *(pytest.param(name, marks=pytest.mark.long) for name in ("stage_c", "flow"))]
)
def test_the_script_draws_what_the_framework_does_without_it(
    layout: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    config = LAYOUTS[layout](folder)
    release = exported(config)
    users = load_file(release / "users.safetensors")
    name = sorted(users)[1]
    done = drawn(release, tmp_path / "drawn.png", folder / "base", "--user", name, "--seed", str(SEED))
    assert done.returncode == 0, done.stderr
    trained = Workspace(config).trained_run()
    ours, base = (trained.draw([CAPTION], one, [SEED])[0] for one in (trained.embeddings([name], [CAPTION]), None))
    assert differences(tmp_path / "drawn.png", ours).max() <= 1
    assert differences(tmp_path / "drawn.png", base).mean() > 2


def test_the_cards_example_draws_where_the_package_is_not(emoji: Path, tmp_path: Path) -> None:
    release = exported(emoji_config(emoji))
    (example,) = re.findall("```python\n(.*?)```", (release / "README.md").read_text(), re.DOTALL)
    script = release / "example.py"
    script.write_text(example.replace('"FOLDER"', repr(str(emoji / "base"))) + "print(tuple(images.shape))\n")
    done = without_the_package([script], release)
    script.unlink()
    assert done.stdout.splitlines()[-1:] == ["(1, 3, 64, 64)"], done.stderr


@pytest.mark.parametrize("weights", ["trained", "ema"])
def test_the_adapter_is_the_runs_with_the_configuration_in_it(emoji: Path, weights: str) -> None:
    config = emoji_config(emoji, f"generation.weights={weights}")
    path = exported(config) / "adapter.safetensors"
    own = run_folder(config) / {"trained": "adapter.safetensors", "ema": "adapter-ema.safetensors"}[weights]
    assert_same_tensors(load_file(path), load_file(own))
    assert (
        load_adapter(tiny.backbone(), tiny.unet(), path).config
        == load_adapter(tiny.backbone(), tiny.unet(), own).config
    )
    configuration = adapter_metadata(path)["configuration"]
    assert configuration["objective"]["beta"] == config.objective.beta
    assert configuration["generation"]["weights"] == weights
    assert ("moving average" in path.with_name("README.md").read_text()) == (weights == "ema")


def assert_same_tensors(ours: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == others.keys()
    assert all(torch.equal(ours[name], others[name]) for name in ours)


def test_people_and_blends_go_with_it_by_name(emoji: Path) -> None:
    config = emoji_config(emoji)
    blend = [Share(user="1", weight=0.25), Share(user="2", weight=0.75)]
    config = replace(config, generation=replace(config.generation, users=["3", blend]))
    users = load_file(exported(config) / "users.safetensors")
    assert users.keys() == {"3", "0.25 1 + 0.75 2"}
    one, two, three = Workspace(config).trained_run().embeddings(["1", "2", "3"], [CAPTION] * 3)
    torch.testing.assert_close(users["3"], three, rtol=0, atol=0)
    torch.testing.assert_close(users["0.25 1 + 0.75 2"], 0.25 * one + 0.75 * two)


def test_where_nobody_is_asked_for_it_is_those_whom_generate_draws_or_all_with_an_own_dimension(
    emoji: Path, stage_c: Path
) -> None:
    config = emoji_config(emoji)
    assert sorted(load_file(exported(config) / "users.safetensors")) == chosen_users(
        config.generation, Workspace(config).users
    )
    users = load_file(exported(stage_c_config(stage_c)) / "users.safetensors")
    assert sorted(users) == ["brightness", "clutter", "colourfulness"]
    assert torch.equal(torch.stack([users[name] for name in sorted(users)]), torch.eye(len(users)))


@pytest.mark.parametrize("layout", ["emoji", "stage_c"])
def test_the_code_is_all_that_the_base_needs(layout: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(layout)
    config = (emoji_config if layout == "emoji" else stage_c_config)(folder)
    release = exported(config)
    encoder = config.user.encoder_code(Workspace(config).instruments)
    files = drawing_files(
        config.model.drawing_code(), config.generation, config.data.image_size, config.user.kind, encoder
    )
    others = {"adapter.safetensors", "users.safetensors", "README.md"}
    new_people = {"describer.safetensors", "app.py", "requirements.txt", "captions.txt"}
    others |= new_people if layout == "emoji" else set()  # rewards as users describe nobody new
    assert {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()} == {*files, *others}
    assert all((release / name).read_text() == text for name, text in files.items())


def card(folder: Path) -> tuple[dict[str, object], str]:
    """The front matter and the text of a card."""
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_of_the_emoji_model_names_its_sources_licences_and_what_beta_means(emoji: Path) -> None:
    config = emoji_config(emoji)
    front, text = card(exported(config))
    assert front["license"] == "cc-by-sa-4.0"
    assert front["library_name"] == "diffusers"
    assert front["pipeline_tag"] == "text-to-image"
    assert all(line in text for line in credits_text().splitlines())
    latent = 16 * 8 * 8
    assert f"C = beta * timesteps_weight * D = 2 * 0.5 * {latent} = {latent}, D being" in text
    assert f"beta_dpo = 2 C = {2 * latent}" in text
    assert "3 steps of 4 pairs (12, repetitions counted)" in text
    counts = prepare.run(config)["counts"]
    assert f"{counts['pairs']:,} pairs over {counts['images']:,} images" in text
    assert f"| test unseen | {counts['test_unseen']} |" in text
    assert "by 8 users who were trained on and 3 who were not" in text
    assert "None was measured" in text
    assert "@article{dang2025ppd" in text


def test_the_card_for_stable_cascade_is_for_non_commercial_research_only(stage_c: Path) -> None:
    front, text = card(exported(stage_c_config(stage_c)))
    assert front["license"] == "other"
    assert front["license_name"] == "stable-cascade-nc-community"
    assert front["base_model"] == "stabilityai/stable-cascade-prior"
    assert "non-commercial research only" in text
    assert "`prior_lite/` of [stabilityai/stable-cascade-prior]" in text
    assert "--decoder stabilityai/stable-cascade " in text


@pytest.mark.parametrize(
    ("overrides", "sentences"),
    [
        (["objective=sft"], ["supervised fine-tuning", "beta has no part in it"]),
        (["objective.reduction=mean", "objective.timesteps_weight=500"], ["C = beta * timesteps_weight = 2 * 500 = "]),
        (["model.null_user=learned"], ["A zero vector is not the base", "v = 0 is the base"]),
        (["generation.user_guidance=5"], ["here w = 3.0 and v = 5.0"]),
        ([], ["here w = 3.0 and v = 3.0", "times from 0.5 to 1.0 only"]),
    ],
)
def test_the_card_says_what_is_special_about_a_run(emoji: Path, overrides: list[str], sentences: list[str]) -> None:
    config, run = emoji_config(emoji, *overrides), run_folder(emoji_config(emoji))
    workspace = Workspace(config)
    training = ExportedTraining(  # of another run's folder: the training itself does not matter here
        run=run,
        adapter=run / "adapter.safetensors",
        backbone=config.model,
        source=config.data,
        data=workspace.data,
        user=config.user,
        shots=config.shots,
        rewards=[],
        objective=config.objective,
        optimizer=config.optimizer,
        trainer=config.trainer,
        generation=config.generation,
        settings=exported_values(config),
        users={"1": 8},
        encoder="nobody new can be described",
    )
    text = model_card(training)
    assert [words for words in sentences if words not in text] == []


def test_only_the_last_name_of_what_is_on_this_machine_is_left(tmp_path: Path) -> None:
    (tmp_path / "cascade").mkdir()
    here, there = str(tmp_path / "cascade"), str(tmp_path / "absent")
    values = {"model": {"path": here, "codec_path": None}, "captions": ["a fox", here], "steps": 4, "hub": "a/b"}
    places = {
        "there": there,
        "long": "x" * 10_000,
        "null": "a\0b",
        "home": "~/a/b.csv",
        "table": "ann/pairs.csv",
        "windows": r"C:\Users\ann\pairs.csv",
        "url": "https://ann:pw@host.local/a/b.parquet?key=1",
        "on the hub": "hf://datasets/a/b",
        "shipped": "shipped:rewards/heads",
    }
    assert without_folders(values | places) == {
        "model": {"path": "cascade", "codec_path": None},
        "captions": ["a fox", "cascade"],
        "steps": 4,
        "hub": "a/b",
        "there": "absent",
        "long": "x" * 10_000,
        "null": "a\0b",
        "home": "b.csv",
        "table": "pairs.csv",
        "windows": "pairs.csv",
        "url": "b.parquet",
        "on the hub": "hf://datasets/a/b",
        "shipped": "shipped:rewards/heads",
    }


def test_the_card_has_the_evaluations_of_these_weights_with_their_settings(emoji: Path, tmp_path: Path) -> None:
    config = emoji_config(emoji)
    run = run_folder(config)
    rate = {"rate": 0.7, "low": 0.61, "high": 0.79, "n": 100, "wins": 60, "losses": 20, "ties": 20, "decided": 0.75}
    try:
        for name, adapter, measured in (("a", "adapter", rate), ("b", "adapter-ema", rate | {"wins": 61})):
            settings = {"adapter": file_sha256(run / f"{adapter}.safetensors"), "generation": asdict(config.generation)}
            summary = {"win_rate": {"unseen": measured}, "concept_accuracy": {"base": 0.99, "ppd": 0.975}}
            write_json_atomic(
                run / f"evaluation-{name}/settings.json",
                settings | {"evaluation": asdict(config.evaluation), "measures": ["pixels", "statistics"]},
            )
            write_json_atomic(run / f"evaluation-{name}/summary.json", summary)
        write_json_atomic(run / "evaluation-c/summary.json", {"win_rate": {"unseen": rate | {"wins": 62}}})
        _, text = card(exported(config))
    finally:
        for folder in run.glob("evaluation-*"):
            shutil.rmtree(folder)
    assert "| win_rate | unseen | 0.700 | 0.610 to 0.790 | 100 | 60 | 20 | 20 |" in text
    assert "base 0.990, ppd 0.975" in text
    assert "steps = 4, text_guidance = 3.0" in text
    assert "| 61 |" not in text, "the moving average's"
    assert "| 62 |" not in text, "nobody knows whose"
    assert "`evaluation-c` is left out" in text
    assert "None was measured" not in text


def test_nothing_says_where_it_lay_on_this_machine(emoji: Path) -> None:
    for path in filter(Path.is_file, exported(emoji_config(emoji)).rglob("*")):
        assert str(emoji).encode() not in path.read_bytes(), path


PLANTED = "/home/ann-of-host7/secret-project"
SECRETS = ("ann-of-host7", "secret-project", "hush-hush", "s3cret-pw", "s1gned", "host7")


def planted(part: Any, key: str = "") -> Any:
    """The settings with a path of somebody's home wherever a text may stand, alone, in a list or in a mapping."""
    changes: dict[str, Any] = {}
    for field in fields(part):
        value, dotted = getattr(part, field.name), f"{key}.{field.name}"
        if is_dataclass(value):
            changes[field.name] = planted(value, dotted)
        elif dotted == ".rewards":
            changes[field.name] = {name: planted(one, f"{dotted}.{name}") for name, one in value.items()}
        elif field.name != "target":
            kind, text = (
                TypeAdapter(type(part).__pydantic_fields__[field.name].rebuild_annotation()),
                f"{PLANTED}/{dotted}",
            )
            for candidate in (
                text,
                [text],
                [text, text + "2"],
                dict.fromkeys(value, text) if isinstance(value, dict) else (),
            ):
                with suppress(ValidationError):
                    changes[field.name] = kind.validate_python(candidate)
                    break
    return replace(part, **changes)


@pytest.mark.parametrize("choices", [["data=folder", "data.table=t", "user=vlm"], ["data=pickapic", "data.root=r"]])
def test_no_text_of_the_schema_carries_a_place_into_an_export(choices: list[str]) -> None:
    config = planted(compose(["model=sd15", "reward=[clip,aesthetic]", *choices]))
    assert str(asdict(config)).count(PLANTED) > 15
    exported = str(exported_values(config))
    assert not any(secret in exported for secret in SECRETS)


def test_absurd_settings_leave_nothing_of_themselves_in_an_export(emoji: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hush-hush-token")
    config = emoji_config(emoji, "logger.project='${oc.env:SOME_TOKEN}'", "judge.model='${oc.env:SOME_TOKEN}'")
    absurd = planted(config)
    config = replace(
        config,
        **{group: getattr(absurd, group) for group in ("describe", "evaluation", "rewards", "report")},
        judge=replace(config.judge, base_url="https://ann:s3cret-pw@host7/v1?sig=s1gned"),
        logger=replace(config.logger, location="postgresql://ann:s3cret-pw@host7/db"),
    )
    for path in filter(Path.is_file, exported(config).rglob("*")):
        found = [secret for secret in SECRETS if secret.encode() in path.read_bytes()]
        assert not found, (path, found)


def test_the_same_command_again_refreshes_every_file(emoji: Path) -> None:
    config = emoji_config(emoji)
    before = files(exported(config))
    for path in before:
        path.write_text("spoilt")
    assert files(exported(config)) == before


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_uploaded_whole_where_a_repository_is_named(
    emoji: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    summary = export.run(emoji_config(emoji, "export.push=ann/apples"))
    here, there = Path(summary["folder"]), tmp_path / "ann/apples"
    assert summary["commit"] == "https://hub.invalid/ann/apples/commit/1"
    assert hub.made["ann/apples"]  # private
    found = files(here)
    assert {path.relative_to(there): data for path, data in files(there).items()} == {
        path.relative_to(here): data for path, data in found.items()
    }
    assert [path for path, data in found.items() if b"hf_secret" in data] == []


def test_an_unfinished_training_is_one_clear_message(emoji: Path) -> None:
    config = emoji_config(emoji, "seed=7")
    with pytest.raises(UserError, match="run `ppd train`") as caught:
        export.run(config)
    assert [str(run_folder(config)) in fault for fault in caught.value.faults] == [True]
    assert not (run_folder(config) / "export").exists()


def test_an_average_that_was_not_kept_is_one_clear_message(emoji: Path, tmp_path: Path) -> None:
    config = emoji_config(emoji, "generation.weights=ema")
    kept = run_folder(config) / "adapter-ema.safetensors"
    kept.rename(tmp_path / kept.name)
    mark_finished(run_folder(config))
    try:
        with pytest.raises(UserError, match=r"optimizer\.ema_decay") as caught:
            export.run(config)
    finally:
        (tmp_path / kept.name).rename(kept)
        mark_finished(run_folder(config))
    assert len(caught.value.faults) == 1


def test_somebody_who_does_not_exist_is_named(emoji: Path) -> None:
    with pytest.raises(UserError, match=r"generation\.users: .*nobody"):
        export.run(emoji_config(emoji, "generation.users=['1',nobody]"))
