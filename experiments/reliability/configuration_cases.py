"""The cases of `configurations.py`: one command each, with one mutation of a sound configuration."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ppd_lightning.config.groups import LIST_GROUPS, OF_HYDRA, options
from ppd_lightning.config.keys import known_keys

BASES = (
    [],
    ["experiment=emoji/ppd"],
    ["mode=synthetic"],
    ["user=clip", "reward=[emoji_clip,clutter]"],
    ["data=folder", "data.table=p.csv", "data.image_size=64"],
    ["judge=vlm", "user=stated", "user.texts=t.csv"],
)
NUMBERS = (
    *("0", "-1", "1", "2", "3", "-0.0", "0.5", "1e-320", "1e-9", "1e9", "1e12", "1e30", "1e38", "1e308"),
    *("1e400", "nan", "inf", "-inf", "4294967295", "4294967296", "2147483648", "9223372036854775808", "1000000"),
    *("1000000000000", "1_000", "0x10", "1e", "١٢", "--1", "007", "9" * 400, "9" * 5000),
    *("1.0000000000000000000000001",),
)
OTHERS = (
    *("", "null", "true", "True", "x", "''", "' '", "[]", "{}", "[1]", "[x]", "[[1]]", "{a: 1}", "[null]"),
    *("[true]", "~", "~/x", "~nobody/x", "/a=1", "/data/Übung", "/a,b", "a b", "a!", "[José]", "[a,b", "C:\\x"),
    *("\\", "'", '"', "it's", "${seed}", "${nix}", "${oc.env:NIX}", "${oc.env:HOME}", "${a.${b}}", "${", "${}"),
    *("${now:%Y}", "$(ls)", "`ls`", "\x01", "\n", "a\nb", "a\tb", "'a\x00b'", "\udcff", "🙂", "é", "é"),
    *("\u202eabc", "x" * 300, "x" * 5000, "a/" * 3000, "../../..", "/dev/null", "/proc/self/mem", "s3://x/y"),
    *("http://u:p@h/x?k=1", "file:///x", "x" * 200_000, "[" * 50, "[" * 3000, "{a: " * 45 + "1" + "}" * 45),
    *("[" + ",".join("1" * 5000) + "]", "1,2", "a,b", "range(3)", "choice(1,2)", "int(x)", "str(5)"),
    *("float('1')", "json(1)", "glob(*)", "interval(0,1)", "???", "<b>", "#", "%s", "{0}"),
)
SWEEPS = (
    *("range(3,1)", "range(0,1,0)", "range(1000000000)", "range(1,4)", "range(0.1,1,0.4)", "range(1,1e300)"),
    *("range(-2)", "range(0,1,1e-300)", "range(nan,1)", "range(inf)", "interval(0,1)", "interval(1,0)"),
    *("glob(*)", "glob(nix)", "glob([])", "choice()", "choice(1)", "choice([1],2)", "shuffle(1,2)"),
    *("shuffle(range(1,3))", "sort(3,1)", "sort(a,1)", "tag(x,1,2)", "1,2", "1,", ",1", ",", "1,,2", "a,b"),
    *("'1,2'", "[1],[2]", "{a: 1},{a: 2}", "null,1", "true,false", "1,1", "é,ü", "/a=1,/b", "${seed},1"),
    *("${nix},1", "1,x,2.5,null", "sort(range(1,3),reverse=true)", "range(5,1,-2)", "choice(range(3))"),
)
LETTERS = "=,:[]{}()'\"\\~+@/.-_ ${}!#%&*;<>|\t\n\x00é🙂01aZ"
BOMB = b"a: &a [x,x,x]\n" + b"".join(
    b"b%d: &b%d [%s]\n" % (i, i, b",".join([b"*b%d" % (i - 1) if i else b"*a"] * 9)) for i in range(9)
)
FILES: tuple[bytes, ...] = (
    *(b"", b"\n", b"- a\n", b"5\n", b"abc\n", b"null\n", b"\xef\xbb\xbfa: 1\n", b"\xff\xfea\x00"),
    *(bytes(range(256)), b"a: &a [*a]\n", b"a: " + b"[" * 5000, b"[" * 3000 + b"]" * 3000, b"a:\n\tb: 1\n"),
    *(b"a: 1\na: 2\n", b"? [a]\n: 1\n", b"null: 1\n", b"1: 2\n", b"a: !!python/object/apply:os.system [ls]\n"),
    *(b"a: !x 1\n", b"a: !!binary aGk=\n", b"a: !!set {x}\n", b"a: 1\n---\nb: 2\n", b"a: *b\n"),
    *(b"defaults: 5\n", b"defaults: [5]\n", b"defaults: [nix]\n", b"defaults: [{nix: 1}]\n"),
    *(b"defaults: [fuzz]\n", b"defaults: [{override /data: nix}]\n", b"defaults: [{override /data: [a, b]}]\n"),
    *(b"# @package\n", b"# @package a b c\na: 1\n", b"# @package _global_\nseed: x\n"),
    *(b"# @package a.b\nc: 1\n", b"# @package _global_\nhydra: null\n", b"# @package _group_\na: 1\n"),
    *(b"a: 2024-01-01\n", b"a: 1:30\n", b"a: 0o7\n", b"a: .inf\n", b"a: ???\n", b"a: ${a}\n", b"a: ${nix:}\n"),
    *(b"hydra: {run: 1}\n", BOMB, b"a: " + b"9" * 5000 + b"\n"),
    *(b"".join(b" " * i + b"a:\n" for i in range(300)),),
)


@dataclass(frozen=True)
class Case:
    """A command line, and the words of which one has to be in what is said where it is refused.

    files: contents by path below the folder of options, where there is one.
    """

    kind: str
    words: list[str]
    names: list[str]
    files: dict[str, bytes]


def cases(seed: int) -> Iterator[Case]:
    """Endlessly many, the same for the same seed."""
    draw = random.Random(seed)
    keys = list(known_keys())
    groups = {group: list(found) for group, found in options().items()}
    makers = [
        values,
        values,
        values,
        choices,
        unknown,
        garbage,
        sweeps,
        sweeps,
        option_files,
        option_files,
        completions,
    ]
    while True:
        yield draw.choice(makers)(draw, keys, groups)


def values(draw: random.Random, keys: list[str], groups: dict[str, list[str]]) -> Case:
    """A key with a value that may be anything."""
    key = (
        draw.choice(keys)
        .replace("NAME", "clip")
        .replace("rewards.clip", draw.choice(["rewards.clip", "rewards.clutter"]))
    )
    if draw.random() < 0.1:
        key += draw.choice([".x", ".0", ".a.b"])
    value = draw.choice(NUMBERS if draw.random() < 0.5 else OTHERS)
    word = draw.choice(["", "", "", "+", "++", "~"]) + f"{key}={value}"
    words = [*draw.choice(BASES), word]
    draw.shuffle(words)
    return Case("value", [*_verb(draw), *words], _names(key), {})


def choices(draw: random.Random, keys: list[str], groups: dict[str, list[str]]) -> Case:
    """A group with an option that may be anything."""
    group = draw.choice([*groups, *OF_HYDRA, "hydra"])
    others = [option for found in groups.values() for option in found]
    value = draw.choice(
        [draw.choice(OTHERS), draw.choice(others), draw.choice(others)[:-1], f"[{draw.choice(others)}]"]
    )
    word = draw.choice(
        [
            f"{group}={value}",
            f"~{group}",
            f"+{group}={value}",
            f"++{group}={value}",
            f"{group}@x={value}",
            f"~{group}={value}",
        ]
    )
    return Case("choice", [*_verb(draw), *draw.choice(BASES), word], [*_names(group), "needs a value"], {})


def unknown(draw: random.Random, keys: list[str], groups: dict[str, list[str]]) -> Case:
    """A key that is misspelt."""
    key = _mutated(draw, draw.choice(keys), "abcxyz._-0/@é")
    return Case("key", [*_verb(draw), *draw.choice(BASES), f"{key}={draw.choice(NUMBERS[:10])}"], _names(key), {})


def garbage(draw: random.Random, keys: list[str], groups: dict[str, list[str]]) -> Case:
    """An override of which some letters are others."""
    sound = f"{draw.choice(keys)}={draw.choice(['1', 'a,b', '[a,b]', '{a: 1}', 'range(1,3)', '${seed}'])}"
    word = _mutated(draw, sound, LETTERS, draw.randint(1, 6))
    return Case("letters", [*_verb(draw), *draw.choice(BASES), word], [*_names(word.partition("=")[0]), word[:40]], {})


def sweeps(draw: random.Random, keys: list[str], groups: dict[str, list[str]]) -> Case:
    """A sweep expression for a key or a group."""
    key = draw.choice([*keys, *keys, *groups, *OF_HYDRA, "hydra.sweeper.params.seed", "hydra.launcher.n_jobs"])
    word = draw.choice(["", "", "", "+", "++"]) + f"{key}={draw.choice(SWEEPS)}"
    more = draw.choice(
        [[], [], ["seed=range(1,4)"], ["sweep=beta"], ["sweep=optuna"], ["hydra/sweeper=optuna"], ["sweep=null"]]
    )
    return Case("sweep", ["train", "-m", "--dry-run", *draw.choice(BASES), *more, word], [*_names(key), "-m:"], {})


def option_files(draw: random.Random, keys: list[str], groups: dict[str, list[str]]) -> Case:
    """A file of options in a folder of one's own."""
    group = draw.choice(list(groups))
    content = draw.choice(FILES)
    if draw.random() < 0.6:
        shipped = options()[group][draw.choice(groups[group])]
        content = _mutated_bytes(draw, shipped.read_bytes())
    word = f"{group}=[fuzz]" if group in LIST_GROUPS else f"{group}=fuzz"
    return Case(
        "file",
        [*_verb(draw), *draw.choice(BASES), "--config-dir=options", word],
        ["fuzz", group, "needs a value"],
        {f"{group}/fuzz.yaml": content},
    )


def completions(draw: random.Random, keys: list[str], groups: dict[str, list[str]]) -> Case:
    """The beginning of a word, at which Tab is pressed."""
    word = draw.choice(
        [draw.choice(keys), f"{draw.choice(keys)}={draw.choice(OTHERS)}", f"{draw.choice(list(groups))}="]
    )
    word = _mutated(draw, word[: draw.randint(0, 60)], LETTERS, draw.randint(0, 3)) if word else word
    return Case("completion", ["complete", word], [], {"objective/fuzz.yaml": draw.choice(FILES)})


def _verb(draw: random.Random) -> list[str]:
    return draw.choice([["validate"], ["validate"], ["train", "--dry-run"], ["train", "-m", "--dry-run"]])


def _names(key: str) -> list[str]:
    """The key, or the first part of it that can be at fault."""
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _mutated(draw: random.Random, text: str, letters: str, count: int = 2) -> str:
    for _ in range(count):
        place = draw.randint(0, len(text))
        kept = draw.choice([text[place:], text[place + 1 :]])
        text = text[:place] + draw.choice(["", draw.choice(letters), draw.choice(letters)]) + kept
    return text


def _mutated_bytes(draw: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(lines))
        name, colon, value = lines[place].partition(b":")
        lines[place] = draw.choice(
            [
                b"",
                lines[place] + draw.choice(LETTERS).encode(),
                name + colon + b" " + draw.choice(NUMBERS + OTHERS).encode("utf-8", "surrogateescape"),
                b" " * draw.randint(1, 4) + lines[place],
                name + b"x" + colon + value,
                bytes([draw.randrange(256)]) + lines[place][1:],
                lines[place] + b"\n" + lines[draw.randrange(len(lines))],
            ]
        )
    return b"\n".join(lines)
