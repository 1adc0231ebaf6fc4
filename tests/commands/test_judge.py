"""`ppd judge` from a finished training to verdicts, over HTTP and with a model on this machine."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.util
import io
import json
import re
import shutil
import sys
import threading
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests import tiny, tiny_vlm
from tests.evaluation.vlm_judge.judge_server import MODEL, JudgeServer, completion, fault, judge_server
from tests.worlds.emoji import packages as handmade

from ppd_lightning.cli import main
from ppd_lightning.commands import embed, judge, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data import images
from ppd_lightning.data.pictures import open_picture
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.vlm_judge import openai_client, predictions
from ppd_lightning.users.people_file import DescribedPeople
from ppd_lightning.users.vlm_writer import ProfileWriter
from ppd_lightning.worlds.emoji import choices
from ppd_lightning.worlds.emoji.concepts import shipped_concepts

COMPARISONS, CHOICES = 5, 6
SETTINGS = (
    "experiment=emoji/ppd",
    "user=features",
    "user.encoder=codec",
    "user.components=3",
    "data.concepts=12",
    "data.held_out_concepts=4",
    "data.people=8",
    "data.unseen_people=4",
    "data.pairs_per_person=12",
    "shots.n=2",
    "shots.groupings=3",
    "trainer.max_steps=2",
    "optimizer.warmup_steps=1",
    "trainer.batch_size=4",
    "trainer.threads=1",
    "generation.steps=1",
    f"judge.comparisons={COMPARISONS}",
    f"judge.agreement_pairs={CHOICES}",
    "judge.bootstrap=20",
)
PARTS = Path(__file__).parents[1] / "parts/conf"
CAPTIONS = re.compile(r'The caption of both images is: "(.*?)"')


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training in a world of hand-made pictures, beside a tiny LLaVA-OneVision."""
    folder = tmp_path_factory.mktemp("judge")
    tiny.model_folder(folder / "base")
    tiny_vlm.folder(folder / "vlm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handmade, "CODES", {name: f"1f6{k:02d}" for k, name in enumerate(shipped_concepts(12))})
        files = handmade.packages(folder / "packages")
        patch.setattr(choices, "fetch_packages", lambda _: files)
        config = configured(folder)
        for verb in (prepare, embed, train):
            verb.run(config)
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "PAUSE", 0.01)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def fresh(world: Path) -> Path:
    """The world without answers and verdicts."""
    for path in [world / "out/judge", *world.glob("out/runs/*/judge-*")]:
        shutil.rmtree(path, ignore_errors=True)
    return world


def configured(folder: Path, *overrides: str) -> Config:
    words = [*overrides[:1], *SETTINGS, f"model.path={folder / 'base'}", f"output={folder / 'out'}", *overrides]
    return compose(words, PARTS)


def by_http(folder: Path, server: JudgeServer, *overrides: str) -> Config:
    own = (f"judge.base_url={server.url}", f"judge.model={MODEL}", "judge.image_format=png", "judge.attempts=2")
    return configured(folder, "judge=openai", *own, *overrides)


def words_of(body: dict[str, Any]) -> str:
    return "\n".join(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")


def test_everything_that_is_asked_is_counted_and_asked_once(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with judge_server() as server:
        config = by_http(fresh, server, "judge.price_in=1.0", "judge.price_out=2.0")
        summary = judge.run(config)
        for part, count in (("agreement", CHOICES), ("win_rate", COMPARISONS)):
            for group, groups in (("seen", 1), ("unseen", 1), ("all", 2)):
                told = summary[part][group]
                assert told["consistent"] + told["inconsistent"] + told["unparsable"] + told["refused"] == told["asked"]
                assert told["asked"] + told["ties"] == groups * count
                assert told["n"] == told["wins"] + told["losses"] + told["ties"]
                assert told["inconsistent"] == 0  # the server's judge never is
                assert told["position_bias"] == told["single_order"] == 0.5 or told["single_order"] == told["decided"]
        told = summary["agreement"]["always_first"]
        assert (told["inconsistent"], told["n"], told["rate"]) == (2 * CHOICES, 0, None)
        assert (told["position_bias"], told["single_order"]) == (1.0, 0.5)
        asked = 2 * (summary["agreement"]["all"]["asked"] + summary["win_rate"]["all"]["asked"])
        assert summary["answers"] == asked == len(server.bodies)
        assert summary["cost"] == pytest.approx(asked * (1000 * 1 + 100 * 2) / 1e6)
        assert judge.run(config) == summary
        (Path(summary["folder"]) / "summary.json").unlink()
        again = judge.run(config)
        assert {**again, "seconds": 0} == {**summary, "seconds": 0}
        assert len(server.bodies) == asked
    assert "Judged by tiny-judge" in capsys.readouterr().out


def test_described_people_are_judged_by_their_own_choices(fresh: Path, tmp_path: Path) -> None:
    users = Workspace(configured(fresh)).users
    names = users.data.people()["unseen"]
    vectors = dict(zip(names, users.asked(names, [""] * len(names)).embeddings, strict=True))
    file = tmp_path / "people.safetensors"
    DescribedPeople(vectors, users.describer().fingerprint(), "run", {name: {} for name in names}).save(file)
    with judge_server() as server:
        config = by_http(fresh, server)
        first, asked = judge.run(config), len(server.bodies)
        second = judge.run(replace(config, generation=replace(config.generation, people=[str(file)])))
        assert len(server.bodies) == asked
    assert first["folder"] != second["folder"]
    assert (first["win_rate"], first["agreement"]) == (second["win_rate"], second["agreement"])


def test_agreement_is_with_what_the_person_chose_themselves(fresh: Path) -> None:
    """The server takes the image whose bytes have the lower hash; here that is worked out from the source's images."""
    with judge_server() as server:
        config = by_http(fresh, server)
        folder = Path(judge.run(config)["folder"])
    pairs = {pair["pair_id"]: pair for pair in Workspace(config).data.read_pairs().to_pylist()}
    stored = dict(images.stored_images(Workspace(config).data.source.root, Workspace(config).data.images_table()))

    def hashed(image: str) -> bytes:
        picture, file = open_picture(stored[image]), io.BytesIO()
        assert picture is not None
        picture.convert("RGB").save(file, "PNG")
        return hashlib.sha256(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}".encode()).digest()

    rows = [row for row in pq.read_table(folder / "verdicts.parquet").to_pylist() if row["kind"] == "agreement"]
    assert len({row["pair"] for row in rows}) == 2 * CHOICES
    assert {row["outcome"] for row in rows} == {"won", "lost"}
    for row in rows:
        pair = pairs[row["pair"]]
        assert (pair["user_id"], pair["split"]) == (row["user"], f"test_{row['group']}")
        right = hashed(pair["preferred"]) < hashed(pair["dispreferred"])
        assert (row["first"], row["second"]) == ((1, 2) if right else (2, 1))
        assert row["outcome"] == ("won" if right else "lost")


@pytest.mark.parametrize("captions", ["held_out", "train"])
def test_the_shots_are_the_persons_and_never_of_the_judged_caption(fresh: Path, captions: str) -> None:
    with judge_server() as server:
        judge.run(by_http(fresh, server, f"evaluation.captions={captions}"))
        for body in server.bodies:
            *shots, asked = CAPTIONS.findall(words_of(body))
            assert len(shots) == 2
            assert asked not in shots


def test_answers_that_used_up_their_tokens_are_counted(fresh: Path, caplog: pytest.LogCaptureFixture) -> None:
    with judge_server(lambda *_: completion("", "length")) as server:
        summary = judge.run(by_http(fresh, server, "judge.temperature=0.0"))
    assert summary["cut_off"] == summary["answers"] > 0
    assert "judge.max_tokens" in caplog.text


def test_equal_images_are_ties_and_not_asked(fresh: Path) -> None:
    with judge_server() as server:
        summary = judge.run(by_http(fresh, server, "generation.user_guidance=0"))
        assert len(server.bodies) == 2 * summary["agreement"]["all"]["asked"]
    told = summary["win_rate"]["all"]  # although a batch's rounding makes a byte another by one
    assert (told["ties"], told["asked"], told["rate"]) == (2 * COMPARISONS, 0, 0.5)


def test_a_judge_that_agrees_too_little_does_not_judge(fresh: Path) -> None:
    with judge_server(lambda *_: completion("Prediction of user preference: [1]")) as server:
        config = by_http(fresh, server, "judge.min_agreement=0.6")
        with pytest.raises(UserError, match=r"judge\.min_agreement: the judge agrees with nobody's own choices \(0 of"):
            judge.run(config)
        assert len(server.bodies) == 4 * CHOICES
        summary = judge.run(by_http(fresh, server))  # null: it is reported
        assert summary["agreement"]["all"]["inconsistent"] == 2 * CHOICES
        assert summary["win_rate"]["all"]["rate"] is None
        with pytest.raises(UserError, match="min_agreement"):
            judge.run(config)


def test_a_fault_in_the_middle_ends_with_exit_code_2_and_the_same_command_goes_on(
    fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = {"now": True}
    with judge_server(lambda _, __, number: fault(500, "gone") if down["now"] and number >= 7 else None) as server:
        config = by_http(fresh, server)
        words = ["judge", *SETTINGS, f"model.path={fresh / 'base'}", f"output={fresh / 'out'}", "judge.attempts=2"]
        words += [f"judge.base_url={server.url}", f"judge.model={MODEL}", "judge.image_format=png"]
        assert main(words) == 2
        assert "all 7 answers are cached in" in capsys.readouterr().err
        before, down["now"] = len(server.bodies), False
        summary = judge.run(config)
        assert len(server.bodies) - before == summary["answers"] - 7


def test_the_embedded_worlds_own_judge_reads_every_question_and_knows_no_place(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At temperature 0 it says of swapped images what it said before, the other way round."""
    path = Path(__file__).parents[2] / "experiments/emoji/judge/server.py"
    spec = importlib.util.spec_from_file_location("emoji_judge_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    config = configured(fresh)
    module.Handler.judge = module.Bayesian(config, "statistics")
    with ThreadingHTTPServer(("127.0.0.1", 0), module.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = (f"judge.base_url=http://127.0.0.1:{server.server_port}/v1", f"judge.model={module.MODEL}")
        told = judge.run(configured(fresh, "judge=openai", *own, "judge.temperature=0.0"))
        server.shutdown()
    for part in ("agreement", "win_rate"):
        dropped = [told[part]["all"][name] for name in ("inconsistent", "unparsable", "refused")]
        assert dropped == [0, 0, 0]
    assert told["agreement"]["all"]["single_order"] == told["agreement"]["all"]["decided"]


def test_a_model_of_this_machine_judges_and_answers_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "prediction_in", lambda text: 1 + len(text) % 2)
    own = ("judge=vlm", f"judge.path={fresh / 'vlm'}", "judge.max_tokens=6", "judge.batch_size=2")
    config = configured(fresh, *own)
    summary = judge.run(config)
    assert summary["answers"] == 2 * (summary["agreement"]["all"]["asked"] + summary["win_rate"]["all"]["asked"])
    assert summary["input_tokens"] > 6 * tiny_vlm.IMAGE_TOKENS * summary["answers"]
    assert "cost" not in summary
    (Path(summary["folder"]) / "summary.json").unlink()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ProfileWriter, "__init__", refuse)
    assert judge.run(config)["win_rate"] == summary["win_rate"]


def test_a_judge_of_ones_own_judges(fresh: Path) -> None:
    summary = judge.run(configured(fresh, "judge=brightness"))
    assert summary["judge"]["kind"] == "brightness"
    found = summary["win_rate"]["all"]
    assert found["wins"] + found["losses"] + found["ties"] == found["n"] == 2 * COMPARISONS


@pytest.mark.parametrize(
    "settings",
    [
        ("judge=vlm", "judge.path={vlm}"),
        ("judge=openai", "judge.model=llava-hf/VLM"),
    ],
    ids=["vlm", "openai"],
)
def test_the_model_that_describes_the_users_does_not_judge_them(world: Path, settings: tuple[str, ...]) -> None:
    own = [one.format(vlm=world / "vlm") for one in settings]
    config = compose(["user=vlm", f"user.path={world / 'vlm'}", *own])
    with pytest.raises(UserError, match=r"judge\.(path|model): .* describes the users .* take another model"):
        judge._open_judge(Workspace(config))


def test_files_of_a_local_judge_that_are_missing_are_named_by_its_own_key() -> None:
    with pytest.raises(UserError, match=r"judge\.path: there is no folder nowhere"):
        compose(["judge=vlm", "judge.path=nowhere"]).judge.open()


def test_a_limit_on_cost_needs_prices() -> None:
    with pytest.raises(UserError, match=r"judge\.max_cost: what is spent follows from judge\.price_in"):
        compose(["judge.max_cost=5.0", "judge.price_in=1.0"])


def test_the_doctor_knows_the_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/train.parquet").touch()
    words = ["doctor", "data=pickapic", f"data.root={tmp_path / 'source'}", "data.image_size=64", "trainer=cpu"]
    words.append("user.encoder=codec")

    def doctor(*settings: str) -> str:
        with contextlib.suppress(SystemExit):
            main([*words, *settings])
        return " ".join(capsys.readouterr().out.split())

    with judge_server() as server:
        base = f"judge.base_url={server.url}"
        assert "1 models listed" in doctor(base, f"judge.model={MODEL}")
        assert f"judge.model: {server.url} lists no other but {MODEL}" in doctor(base, "judge.model=other")
        assert "NO_SUCH_KEY is not set" in doctor(base, f"judge.model={MODEL}", "judge.key_variable=NO_SUCH_KEY")
    assert "gives no list of models (ConnectError" in doctor(base, f"judge.model={MODEL}")
    assert "│ judge" not in doctor()


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed"])
def test_sampling_may_be_left_to_an_endpoint_but_not_to_a_model_of_this_machine(name: str) -> None:
    assert getattr(compose([f"judge.{name}=null"]).judge, name) is None
    with pytest.raises(UserError, match=rf"judge\.{name}"):
        compose(["judge=vlm", f"judge.{name}=null"])


def test_a_dry_run_asks_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "judge.model=any", "judge.base_url=http://127.0.0.1:9/v1", "--dry-run"]) == 0
    assert json.dumps("judge")[1:-1] in capsys.readouterr().out
