"""A simulation of another world than the one that ships: evaluation needs nothing but the protocol."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import tiny
from tests.parts.light_world import Light

from ppd_lightning.cli import main
from ppd_lightning.data.simulation import Simulation
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.images import BASE, OWN
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.scores import scorers as scorers_module
from ppd_lightning.evaluation.scores.group_win_rates import WinRates, margins
from ppd_lightning.evaluation.scores.mean_scores import mean_own_score
from ppd_lightning.evaluation.scores.scorers import CONCEPT, Scorers

WEIGHTS = {"sun": 4.0, "owl": -4.0, "bat": -2.0}
"""How much each person likes light."""
CAPTIONS = ["red", "green", "blue"]
"""Each image is grey but for a pixel, whose channel says which of them it shows."""


CONF = Path(__file__).parents[1] / "parts/conf"
COMPARISONS = [Comparison("seen", user, caption, 0) for caption in CAPTIONS for user in WEIGHTS]
FILES = [f"{number}.png" for number in range(len(COMPARISONS))]


@pytest.fixture
def images(tmp_path: Path) -> dict[str, list[Path]]:
    """The base's images are grey, each with a pixel of its caption; people's own are bright, the bat's without it."""
    files: dict[str, list[Path]] = {BASE: [], OWN: []}
    for kind, level in ((BASE, 128), (OWN, 192)):
        (tmp_path / kind).mkdir()
        for name, one in zip(FILES, COMPARISONS, strict=True):
            pixels = np.full((8, 8, 3), level, np.uint8)
            pixels[0, 0] = 0
            if kind == BASE or one.user != "bat":
                pixels[0, 0, CAPTIONS.index(one.caption)] = 255
            else:
                pixels[0, 0, CAPTIONS.index(one.caption) - 1] = 255
            files[kind].append(tmp_path / kind / name)
            Image.fromarray(pixels).save(files[kind][-1])
    return files


def opened(*judges: str, captions: frozenset[str] = Light.contents) -> Scorers:
    simulation: Simulation = Light(WEIGHTS)
    simulation.contents = captions  # type: ignore[misc]
    return Scorers({}, simulation=simulation, judges=judges)


def test_its_people_decide_by_its_first_judge(images: dict[str, list[Path]]) -> None:
    scorers = opened("middle", "mean")
    scores = {kind: scorers.score(COMPARISONS, files) for kind, files in images.items()}
    assert list(scores[OWN]) == ["middle", "mean", CONCEPT, f"{CONCEPT}_channels"]
    margin = margins(scorers, COMPARISONS, scores[BASE], scores[OWN])
    expected = [WEIGHTS[one.user] * 64 / 255 for one in COMPARISONS]
    np.testing.assert_allclose(margin.decisive, expected, rtol=1e-5)
    rates = WinRates(tie=0.1, resamples=20).of(COMPARISONS, margin)
    assert rates.keys() == {"win_rate", "win_rate_by_mean"}
    found = {key: rates["win_rate"]["seen"][key] for key in ("wins", "losses", "ties", "rate")}
    assert found == {"wins": 3, "losses": 6, "ties": 0, "rate": 0.3333}
    own = mean_own_score(scorers, COMPARISONS, scores[BASE], scores[OWN], "ppd")
    assert own["ppd"] - own["base"] == pytest.approx(np.mean(expected), abs=2e-4)


def test_its_classifier_says_whether_the_caption_is_kept(images: dict[str, list[Path]]) -> None:
    scorers = opened("mean")
    assert scorers.score(COMPARISONS, images[BASE])[CONCEPT].all()
    kept = scorers.score(COMPARISONS, images[OWN])[CONCEPT]
    assert kept.tolist() == [one.user != "bat" for one in COMPARISONS]
    of_channels = scorers.score(COMPARISONS, images[OWN])[f"{CONCEPT}_channels"]
    assert ((of_channels == 1) == kept).all()
    assert CONCEPT not in opened("mean", captions=frozenset({"red"})).score(COMPARISONS, images[BASE])


def test_images_are_shown_to_it_in_parts(images: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = opened("mean").score(COMPARISONS, images[OWN])
    monkeypatch.setattr(scorers_module, "AT_ONCE", 4)
    parts = opened("mean").score(COMPARISONS, images[OWN])
    np.testing.assert_allclose(parts["mean"], whole["mean"])
    np.testing.assert_array_equal(parts[CONCEPT], whole[CONCEPT])


def test_a_judge_that_it_has_not_is_named_with_those_that_it_has() -> None:
    with pytest.raises(
        UserError, match=r"^evaluation\.judges: these people have no judge pixels; expected some of mean"
    ):
        opened("mean", "pixels")


def test_without_simulation_and_rewards_nothing_says_what_people_like() -> None:
    with pytest.raises(UserError, match=r"evaluation\.rewards: nothing says what .*`ppd judge`"):
        Scorers({}, judges=["mean"])


def test_its_source_goes_the_whole_line(tmp_path: Path) -> None:
    tiny.model_folder(tmp_path / "model")
    settings = [
        *("--config-dir", str(CONF), "data=light", "evaluation.judges=[mean,middle]", "user.encoder=codec"),
        *("shots.n=2", "shots.groupings=3", "trainer=cpu", "trainer.max_steps=2", "trainer.batch_size=4"),
        *("trainer.progress=false", "evaluation.comparisons=4", "evaluation.bootstrap=20", "generation.steps=1"),
        *(f"model.path={tmp_path / 'model'}", f"output={tmp_path / 'out'}"),
    ]
    assert main(["prepare", "embed", "train", "evaluate", *settings]) == 0
    [path] = (tmp_path / "out/runs").glob("*/evaluation-*/summary.json")
    summary = json.loads(path.read_text())
    assert summary["win_rate"]["unseen"]["n"] == 4
    assert {"win_rate_by_middle", "oracle_win_rate", "share_of_possible"} <= summary.keys()
