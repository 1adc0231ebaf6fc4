"""Whatever an endpoint does, nothing that was answered is lost or asked again, and the fault is told with a remedy."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
from PIL import Image
from tests.evaluation.vlm_judge.judge_server import (
    CUT,
    MODEL,
    PROMPT_TOKENS,
    Behaviour,
    JudgeServer,
    completion,
    fault,
    images_of,
    judge_server,
    prefers_lower_hash,
)

from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.vlm_judge import openai_client
from ppd_lightning.evaluation.vlm_judge.answer_cache import AnswerCache
from ppd_lightning.evaluation.vlm_judge.judge import Question
from ppd_lightning.evaluation.vlm_judge.openai_client import EndpointJudge
from ppd_lightning.evaluation.vlm_judge.predictions import Prediction, Predictor
from ppd_lightning.evaluation.vlm_judge.settings import OpenaiJudge
from ppd_lightning.progress import Counted
from ppd_lightning.users.vlm_prompts import SYSTEM, PromptPair

COUNT = 12
KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "PAUSE", 0.01)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@functools.cache
def judge() -> OpenaiJudge:
    settings = compose([f"judge.model={MODEL}"]).judge
    assert isinstance(settings, OpenaiJudge)
    return settings


def settings_for(server: JudgeServer, **changes: Any) -> OpenaiJudge:
    return replace(judge(), **{"base_url": server.url, "concurrent": 3, "attempts": 3, "timeout": 5.0, **changes})


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (8, 6), (7 * number % 256, number, 50))


def questions(count: int = COUNT) -> list[Question]:
    shot = PromptPair("a <image> of a fox", (picture(100), picture(101)), 2)
    return [Question((shot,), f"thing {n}", (picture(2 * n), picture(2 * n + 1))) for n in range(count)]


def ask(
    folder: Path, settings: OpenaiJudge, asked: Sequence[Question] | None = None, *, retries: int = 2
) -> list[Prediction]:
    asked = questions() if asked is None else asked
    with AnswerCache(folder) as cache, Counted("answers", len(asked), bar=False) as progress:
        seed = settings.seed or 0
        return Predictor(EndpointJudge(settings), cache, progress, retries=retries, seed=seed).predict(asked)


def kept(folder: Path) -> int:
    return len(AnswerCache(folder))


def expected(settings: OpenaiJudge) -> list[int]:
    bodies = [EndpointJudge(settings).encode(question).content for question in questions()]
    return [int(prefers_lower_hash(body)[-1]) for body in bodies]


def test_each_question_gets_its_own_answer_whatever_the_order_they_come_in(tmp_path: Path) -> None:
    with judge_server() as server:
        settings = settings_for(server)
        assert [one.image for one in ask(tmp_path, settings)] == expected(settings)
        assert len(server.bodies) == COUNT
        assert set(expected(settings)) == {1, 2}
        ask(tmp_path, settings)
        assert len(server.bodies) == COUNT  # all of it was kept


def test_a_request_holds_the_images_in_their_places_and_the_sampling(tmp_path: Path) -> None:
    with judge_server() as server:
        ask(tmp_path, settings_for(server, token_limit="max_completion_tokens", max_tokens=77), questions(1))
    [body] = server.bodies
    assert (body["model"], body["temperature"], body["top_p"], body["max_completion_tokens"]) == (MODEL, 1.0, 1.0, 77)
    assert "max_tokens" not in body
    assert 0 <= body["seed"] < 2**31
    system, user = body["messages"]
    assert system == {"role": "system", "content": SYSTEM}
    kinds = [part["type"] for part in user["content"]]
    assert kinds == ["text", "image_url"] * 4 + ["text"]
    texts = [part["text"] for part in user["content"] if part["type"] == "text"]
    assert 'Pair 1. The caption of both images is: "a < image> of a fox"' in texts[0]
    assert "The person prefers Image 2." in texts[2]
    assert 'The new pair. The caption of both images is: "thing 0"' in texts[2]
    assert texts[4].endswith("Prediction of user preference: [1 or 2]")
    assert len(set(images_of(body))) == 4
    assert all(url.startswith("data:image/jpeg;base64,") for url in images_of(body))


def test_sampling_settings_of_null_are_not_sent(tmp_path: Path) -> None:
    nulls = {"temperature": None, "top_p": None, "seed": None}
    with judge_server(once_each(completion("It may be 1, or 2."))) as server:
        settings = settings_for(server, **nulls)
        assert [one.image for one in ask(tmp_path, settings)] == expected(settings)
        assert all(set(body) == {"model", "messages", "max_tokens"} for body in server.bodies)
        assert len(server.bodies) == kept(tmp_path) == 2 * COUNT  # each trial has its own answer in the cache
        ask(tmp_path, settings)
        assert len(server.bodies) == 2 * COUNT


def test_the_same_question_twice_is_asked_once(tmp_path: Path) -> None:
    with judge_server() as server:
        found = ask(tmp_path, settings_for(server), [*questions(3), *questions(3)])
        assert found[:3] == found[3:]
        assert len(server.bodies) == 3


@pytest.mark.parametrize(
    "changes",
    [
        *({"seed": 1}, {"temperature": 0.5}, {"max_tokens": 9}, {"model": "other"}, {"image_format": "png"}),
        *({"seed": None}, {"temperature": None}, {"top_p": None}),
    ],
    ids=str,
)
def test_what_is_sent_otherwise_is_asked_anew_and_where_it_is_sent_does_not_count(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with judge_server() as server:
        settings = settings_for(server)
        ask(tmp_path, settings)
        ask(tmp_path, replace(settings, **changes))
        assert len(server.bodies) == 2 * COUNT
        ask(tmp_path, replace(settings, base_url=f"{server.url}/", timeout=9.0, attempts=1, concurrent=1))
        assert len(server.bodies) == 2 * COUNT


def once_each(reply: Any, of: str | None = None) -> Behaviour:
    """The first request of every body, or of one part of it, gets this reply."""
    seen: set[str] = set()

    def behave(server: JudgeServer, body: dict[str, Any], number: int) -> Any:
        with server.lock:
            key = json.dumps(body[of] if of else body)
            first = key not in seen
            seen.add(key)
        return reply() if first and callable(reply) else reply if first else None

    return behave


@pytest.mark.parametrize(
    "reply",
    [
        fault(429, "slow down"),
        fault(429, "slow down", Retry_After="0.2"),
        lambda: fault(503, "busy", Retry_After=formatdate(time() + 1, usegmt=True)),
        fault(500, "oops"),
        (502, {}, b"<html>bad gateway</html>"),
        (200, {}, b"<html>hello</html>"),
        (200, {}, b'{"choices": []}'),
        (200, {"Content_Encoding": "gzip"}, b"no gzip"),
        CUT,
    ],
    ids=["429", "429 retry-after", "503 date", "500", "502 html", "no json", "no choice", "no gzip", "cut"],
)
def test_a_fault_that_passes_is_outlived(tmp_path: Path, reply: Any) -> None:
    with judge_server(once_each(reply)) as server:
        settings = settings_for(server, concurrent=COUNT)
        assert [one.image for one in ask(tmp_path, settings)] == expected(settings)
        assert server.most_asked == 2
        assert kept(tmp_path) == COUNT


def test_a_server_that_asks_for_time_gets_it(tmp_path: Path) -> None:
    with judge_server(lambda _, __, number: fault(429, "wait", Retry_After="0.6") if not number else None) as server:
        ask(tmp_path, settings_for(server, concurrent=1), questions(2))
        assert server.times[1] - server.times[0] >= 0.6


def test_a_server_that_asks_for_hours_stops_the_command(tmp_path: Path) -> None:
    with judge_server(lambda *_: fault(429, "quota used up", Retry_After="7200")) as server:
        with pytest.raises(
            UserError, match=r"in 1 attempts, .*quota used up, asks to wait \(Retry-After: 7200\).*goes on"
        ):
            ask(tmp_path, settings_for(server))
        assert len(server.bodies) <= 3


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (fault(401, "no such key"), r"judge\.key_variable: .*status 401: no such key"),
        (
            fault(404, "The model `tiny-judge` does not exist."),
            r"judge\.model: .*tiny-judge.*does not exist.*ppd doctor",
        ),
        ((301, {"Location": "https://elsewhere.invalid"}, b""), r"judge\.base_url: .*redirects to https://elsewhere"),
        (fault(500, "always broken"), r"gave no answer in 3 attempts.*status 500: always broken.*same command goes on"),
        (CUT, r"gave no answer in 3 attempts.*RemoteProtocolError"),
        ((200, {}, b"nonsense"), r"no chat completion: nonsense"),
        (fault(400, "too many images"), r"questions were refused and 0 answered.*too many images.*judge\.image_size"),
    ],
    ids=["401", "404", "301", "500", "cut", "no json", "400"],
)
def test_a_fault_that_stays_stops_with_a_sentence(tmp_path: Path, reply: Any, told: str) -> None:
    with judge_server(lambda *_: reply) as server, pytest.raises(UserError, match=told):
        ask(tmp_path, settings_for(server))


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with judge_server() as server:
        settings = settings_for(server)
    with pytest.raises(UserError, match=rf"{settings.base_url} gave no answer .*ConnectError"):
        ask(tmp_path, settings)


def test_a_slow_endpoint_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    with judge_server(delay=3.0) as server, pytest.raises(UserError, match=r"ReadTimeout.*raise judge\.timeout"):
        ask(tmp_path, settings_for(server, timeout=0.2, attempts=2), questions(1))


def test_what_was_answered_before_the_fault_is_kept_and_not_asked_again(tmp_path: Path) -> None:
    down = {"now": True}
    with judge_server(lambda _, __, number: fault(500, "down") if down["now"] and number >= 5 else None) as server:
        settings = settings_for(server)
        with pytest.raises(UserError, match=rf"all 5 answers are cached in {tmp_path}"):
            ask(tmp_path, settings)
        before = len(server.bodies)
        down["now"] = False
        assert [one.image for one in ask(tmp_path, settings)] == expected(settings)
        assert len(server.bodies) == before + COUNT - 5


def test_an_answer_without_a_prediction_is_asked_again_with_another_seed(tmp_path: Path) -> None:
    with judge_server(once_each(completion("It may be 1, or 2."), of="messages")) as server:
        settings = settings_for(server)
        assert [one.image for one in ask(tmp_path, settings, retries=1)] == expected(settings)
        assert len(server.bodies) == 2 * COUNT
        assert len({body["seed"] for body in server.bodies}) == 2 * COUNT


def test_a_judge_that_never_predicts_is_asked_so_often_and_no_more(tmp_path: Path) -> None:
    with judge_server(lambda *_: completion("")) as server:
        for _ in range(2):
            assert [one.image for one in ask(tmp_path, settings_for(server), retries=2)] == [None] * COUNT
        assert len(server.bodies) == 3 * COUNT


@pytest.mark.parametrize("finish", ["error", "abort"])
def test_an_answer_that_the_server_broke_off_is_no_answer_and_asked_again(tmp_path: Path, finish: str) -> None:
    broken = completion("Prediction of user preference: [1]", finish)
    with judge_server(once_each(broken)) as server:
        settings = settings_for(server)
        assert [one.image for one in ask(tmp_path, settings)] == expected(settings)
        assert (len(server.bodies), server.most_asked, kept(tmp_path)) == (2 * COUNT, 2, COUNT)
    with judge_server(lambda *_: broken) as server:
        found = ask(tmp_path / "other", settings_for(server), questions(2))
        assert [(one.image, one.refused) for one in found] == [(None, f"finish reason {finish} in 3 attempts")] * 2
        assert (len(server.bodies), kept(tmp_path / "other")) == (6, 0)


def test_an_answer_that_is_cut_off_by_its_length_is_one(tmp_path: Path) -> None:
    with judge_server(lambda *_: completion("Step 1.", "length")) as server:
        assert [one.image for one in ask(tmp_path, settings_for(server), questions(1), retries=1)] == [None]
        assert len(server.bodies) == kept(tmp_path) == 2


def test_this_machine_is_asked_past_the_proxy_and_others_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with judge_server() as proxy, judge_server() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        for host in ("127.0.0.1", "localhost"):
            ask(tmp_path / host, settings_for(server, base_url=server.url.replace("127.0.0.1", host)), questions(1))
        assert (len(server.bodies), len(proxy.bodies)) == (2, 0)
        ask(tmp_path / "other", settings_for(server, base_url="http://judge.invalid/v1"), questions(1))
        assert (len(server.bodies), len(proxy.bodies)) == (2, 1)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")],
        *[(host, False) for host in ("128.0.0.1", "::2", "localhost.example")],
    ],
)
def test_loopback_addresses(host: str, loopback: bool) -> None:
    assert openai_client._is_loopback(host) is loopback


def test_a_proxy_that_is_none_is_named_and_its_password_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "ftp://me:hidden@proxy.invalid")
    settings = replace(judge(), base_url="http://judge.invalid/v1")
    with pytest.raises(UserError, match=r"judge\.base_url: no client can be opened .*ALL_PROXY") as caught:
        ask(tmp_path, settings, questions(1))
    assert "hidden" not in str(caught.value)


def test_a_few_refused_questions_are_counted_and_the_others_go_on(tmp_path: Path) -> None:
    def picky(_: JudgeServer, body: dict[str, Any], number: int) -> Any:
        return fault(400, "flagged as unsafe") if "thing 3" in json.dumps(body) else None

    with judge_server(picky) as server:
        found = ask(tmp_path, settings_for(server))
    assert [one.refused for one in found] == ["status 400: flagged as unsafe" if n == 3 else "" for n in range(COUNT)]
    assert kept(tmp_path) == COUNT - 1


def test_the_limit_on_cost_is_never_passed_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    prices = {"price_in": 1000.0, "price_out": 1000.0, "max_tokens": 100}  # an answer costs 1.1, by a first guess 10
    with judge_server(delay=0.02) as server:
        settings = settings_for(server, **prices)
        with pytest.raises(UserError, match=r"judge\.max_cost: .*is allowed; all \d+ answers .*higher limit goes on"):
            ask(tmp_path, replace(settings, max_cost=12.0))
        spent = 1.1 * len(server.bodies)
        assert 10.8 < spent <= 12.0
        assert kept(tmp_path) == len(server.bodies)
        with pytest.raises(UserError, match=r"judge\.max_cost"):
            ask(tmp_path, replace(settings, max_cost=12.0))
        assert len(server.bodies) == kept(tmp_path)
        ask(tmp_path, replace(settings, max_cost=100.0))
        assert len(server.bodies) == COUNT
        assert server.most_asked == 1


def test_nothing_is_asked_where_one_answer_may_cost_more_than_allowed(tmp_path: Path) -> None:
    with judge_server() as server:
        settings = settings_for(server, price_in=1e6, price_out=0.0, max_cost=float(PROMPT_TOKENS))
        with pytest.raises(UserError, match=r"judge\.max_cost: the 0 cached answers"):
            ask(tmp_path, settings)
        assert server.bodies == []


def test_the_limit_on_requests_is_kept(tmp_path: Path) -> None:
    with judge_server() as server:
        settings = settings_for(server)
        with pytest.raises(UserError, match=r"judge\.max_requests: 7 answers of this model are cached"):
            ask(tmp_path, replace(settings, max_requests=7))
        assert len(server.bodies) == 7
        ask(tmp_path, replace(settings, max_requests=COUNT))
        assert len(server.bodies) == COUNT


def test_a_command_that_is_killed_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """A real process, killed by kill -9 as the server gets its eighth request; its last line is cut off as well."""

    def fatal(server: JudgeServer, _: dict[str, Any], number: int) -> Any:
        if number == 7 and process.pid:
            os.kill(process.pid, signal.SIGKILL)

    with judge_server(fatal) as server:
        settings = settings_for(server, concurrent=1)
        process = multiprocessing.get_context("fork").Process(target=ask, args=(tmp_path, settings))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert kept(tmp_path) == 7
        [path] = tmp_path.glob("answers-*.jsonl")
        path.write_bytes(path.read_bytes()[:-20])
        assert kept(tmp_path) == 6
        assert [one.image for one in ask(tmp_path, settings)] == expected(settings)
        assert len(server.bodies) == 8 + COUNT - 6


def test_the_key_is_sent_and_never_written_or_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-a-third")
    caplog.set_level(0)
    with judge_server(once_each(fault(503, f"busy, {KEY}"))) as server:
        ask(tmp_path, settings_for(server, key_variable="SOME_KEY"))
        assert set(server.keys) == {f"Bearer {KEY}"}
    with judge_server(lambda *_: completion(f"{KEY} Prediction of user preference: [1]", KEY)) as server:
        ask(tmp_path, settings_for(server, key_variable="SOME_KEY", model="echo"))
        assert "*** Prediction" in "".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
    for reply in (
        fault(401, f"Incorrect API key: {KEY}."),
        fault(500, f"Incorrect API key: {KEY}."),
        (200, {}, f"Incorrect API key: {KEY}.".encode()),
    ):
        with judge_server(lambda *_, reply=reply: reply) as server, pytest.raises(UserError) as caught:
            ask(tmp_path, settings_for(server, key_variable="SOME_KEY", model="other"))
        assert "Incorrect API key: ***." in str(caught.value)
        assert KEY not in str(caught.value)
    assert KEY not in caplog.text
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_address_that_holds_the_key_is_shown_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with (
        judge_server(lambda *_: fault(302, "", Location=f"http://elsewhere/{KEY}")) as server,
        pytest.raises(UserError, match=r"redirects to http://elsewhere/\*\*\*\)"),
    ):
        ask(tmp_path, settings_for(server, key_variable="SOME_KEY"))


def test_a_key_that_is_refused_is_named_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with judge_server(lambda *_: fault(403, "no")) as server, pytest.raises(UserError, match="the key in SOME_KEY"):
        ask(tmp_path, settings_for(server, key_variable="SOME_KEY"))


def test_no_key_is_sent_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the variables hold that the openai package looks for."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {KEY}")
    with judge_server() as server:
        ask(tmp_path, settings_for(server, key_variable=None))
        assert EndpointJudge(settings_for(server)).check() == "1 models listed"
        assert set(server.keys) == {None}
        assert all(KEY not in headers for headers in server.headers)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": None}, r"judge\.model: name the model"),
        ({"key_variable": "NO_SUCH_VARIABLE_HERE"}, "NO_SUCH_VARIABLE_HERE is not set"),
        ({"key_variable": "ODD_KEY"}, r"what ODD_KEY holds is no key"),
        ({"base_url": "localhost:8000"}, r"judge\.base_url: expected such as http"),
        ({"base_url": "http://[::/v1"}, r"judge\.base_url: expected such as http"),
        ({"base_url": "https://me:pass@host/v1"}, "holds a password"),
    ],
    ids=lambda one: str(one) if isinstance(one, dict) else "",
)
def test_settings_that_cannot_be_asked_with_are_reported_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], told: str
) -> None:
    monkeypatch.setenv("ODD_KEY", "two words\nand lines")
    with pytest.raises(UserError, match=told) as caught:
        EndpointJudge(replace(judge(), **changes))
    assert "two words" not in str(caught.value)
    assert "pass@" not in str(caught.value)
