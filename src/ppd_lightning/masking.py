"""What goes to people and files without secrets and without characters that steer a terminal or turn a line around.

A secret is a password or a query in a URL, and the value of an environment variable that is named like one or that a
setting names as one.
"""

from __future__ import annotations

import os
import re

MASK = "***"

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
"""The names of environment variables whose values are secrets."""

SHORTEST = 6
"""Values of fewer letters are words such as true, which messages need."""

URL = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{1,20}:/{1,3})(?P<user>[^\s/?#'\"<>]*@)?(?P<rest>[^\s'\"<>]*)", re.IGNORECASE
)
"""Also with one slash, as a `Path` has it."""
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tabs and line feeds, marks of writing direction, and halves of characters."""

HOME = re.compile(r"(?<![\w.~])(?:/home|/Users|[A-Za-z]:\\Users)[/\\][^\s/\\'\"<>,;:]+")

_named: set[str] = set()


def mask_variable(name: str) -> None:
    """Mask the value of this environment variable too, whatever its name: a setting says that it holds a key."""
    _named.add(name)


def masked(text: str) -> str:
    """The text without secrets."""
    text = without_access(text)
    for secret in _secrets():
        text = text.replace(secret, MASK)
    return text


def visible(text: str) -> str:
    """The text with characters that steer a terminal, or turn a line around, as Python writes them."""
    return STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def for_people(text: str) -> str:
    """The text for a message: without secrets, everything visible."""
    return visible(masked(text))


def for_sharing(text: str) -> str:
    """As `for_people`, without the folders of people's homes, which have their names."""
    return HOME.sub("~", for_people(text)).replace(_own_home(), "~")


def without_access(text: str) -> str:
    """The text without the passwords and queries of URLs; those that are interpolations of a configuration stay."""
    return URL.sub(_without_access, text) if ":/" in text else text


def _without_access(url: re.Match[str]) -> str:
    user, (place, mark, query) = url["user"] or "", url["rest"].partition("?")
    user = user if "${" in user else user and f"{MASK}@"
    return f"{url['scheme']}{user}{place}{mark}{query if '${' in query else query and MASK}"


def _own_home() -> str:
    """The folder of this user, where it is not that of all."""
    home = os.path.expanduser("~")
    return home if len(home) > len("/root") or home == "/root" else "\0"


def _secrets() -> list[str]:
    """Longest first, for one may be a part of another."""
    values = {
        part
        for name, value in os.environ.items()
        if name in _named or SECRET_NAME.search(name)
        for part in (value, value.strip())
    }
    return sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)
