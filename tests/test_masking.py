"""Secrets and steering characters: what people read and files hold has none of them."""

from __future__ import annotations

import logging
import sys
import time

import pytest

from ppd_lightning.config.stored import RESOLVER
from ppd_lightning.console import table_console
from ppd_lightning.errors import LONGEST, UserError
from ppd_lightning.logging_setup import set_up_logging
from ppd_lightning.markdown import code, fenced, words
from ppd_lightning.masking import for_people, for_sharing, mask_variable


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("see https://ann:pw@host/v1?sig=1 there", "see https://***@host/v1?*** there"),
        ("s3://key:se/cret@bucket/a", "s3://key:se/cret@bucket/a"),  # such a password must be quoted
        ("postgresql:/ann:pw@host/db", "postgresql:/***@host/db"),  # as a path
        ("https://host/v1 and hf://datasets/a/b", "https://host/v1 and hf://datasets/a/b"),
        ("a\x1b[31m\x07\u202eb\nc\td", "a\\x1b[31m\\x07\\u202eb\nc\td"),
    ],
)
def test_urls_and_steering_characters(text: str, readable: str) -> None:
    assert for_people(text) == readable


def test_values_of_variables_that_are_named_as_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("PLAIN", "some words")
    monkeypatch.setenv("NAMED_BY_A_SETTING", "sk-12345678")
    assert for_people("hf_abcdefgh some words sk-12345678") == "*** some words sk-12345678"
    mask_variable("NAMED_BY_A_SETTING")
    assert for_people("hf_abcdefgh some words sk-12345678") == "*** some words ***"


def test_homes_of_people_stay_at_home() -> None:
    assert for_sharing("data.table=/home/ann/a.csv C:\\Users\\ann\\b /srv/c") == "data.table=~/a.csv ~\\b /srv/c"


def test_messages_lines_tables_and_tracebacks_hold_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hush-hush")
    hook = sys.excepthook
    try:
        set_up_logging()
        logging.getLogger("ppd_lightning").info("hush-hush \x1b[2J")
        try:
            raise RuntimeError("hush-hush")
        except RuntimeError as error:
            logging.getLogger("ppd_lightning").exception("failed")
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.excepthook = hook
    table_console().print("hush-hush [red]name[/] :smile: \x1b[2J")
    told = capsys.readouterr()
    assert "hush-hush" not in told.err + told.out
    assert told.err.count("***") == 5  # a line, and in each traceback the source and the message
    assert "\x1b" not in told.err
    assert told.out == "*** [red]name[/] :smile: \\x1b[2J\n"
    assert UserError(["hush-hush", "a" * 10**6]).faults[0] == "***"
    assert len(UserError("a" * 10**6).faults[0]) < LONGEST


HOSTILE = "a`b``|c](javascript:x)<script>\n# d\n---\x1b[31m\u202e*e* [f] $g &lt; http://x \\"


def test_a_hostile_name_is_one_line_of_text_in_markdown() -> None:
    for told in (code(HOSTILE), words(HOSTILE)):
        inside = told.removeprefix("<code>").removesuffix("</code>")
        assert not set("`|[]<>*\n\x1b\u202e$\\") & set(inside)
        assert len(words(HOSTILE * 1000)) < 1500
    assert (code("ann"), words("ann 2"), words("image_reward"), words("50 % (of 3)")) == (
        "`ann`",
        "ann 2",
        "image_reward",
        "50 % (of 3)",
    )
    assert code("") == "<code></code>"


def test_a_long_word_is_looked_at_once() -> None:
    assert words("a" * 100 + "*") == "a" * 100 + "&#42;"  # a pattern that goes back would not end
    begun = time.monotonic()
    assert RESOLVER.search("${" + "a" * 50_000) is None
    assert time.monotonic() - begun < 5


def test_a_block_of_code_ends_where_it_should() -> None:
    assert fenced("a: |\n  ```\n  b", "yaml") == "````yaml\na: |\n  ```\n  b\n````"
