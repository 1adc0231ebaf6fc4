"""Pictures and files that people really have: each is read as the pixels that a person sees, or refused with a word.

    python experiments/reliability/pictures.py             all cases, about two minutes
    python experiments/reliability/pictures.py --cases 40  that many of the pictures, and all files and tables

Three kinds of cases: bytes (formats, orientation, transparency, depth, damage), files beside a table (names, links,
pipes, what lies elsewhere), and tables that are no files. Besides, pictures of every format are damaged at random: each
is read or refused, in bounded time, never with another exception.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import socket
import struct
import sys
import tempfile
import time
import unicodedata
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pyarrow.parquet as pq
from PIL import Image, PngImagePlugin

from ppd_lightning.data.pictures import as_rgb, open_picture
from ppd_lightning.errors import UserError

RED, WHITE, GREY = (255, 0, 0), (255, 255, 255), (117, 117, 117)
LOSSY = ("JPEG", "WEBP", "AVIF", "JPEG2000", "HEIF")
TOLERANCE, SLOWEST = 3, 20.0
"""By how much a pixel may differ where a format loses some; seconds that a case may take."""


@dataclass(frozen=True)
class Case:
    """Bytes, and what comes of them: size and the colour at the top left, or a part of the sentence of a refusal."""

    name: str
    data: bytes
    size: tuple[int, int] | None = None
    colour: tuple[int, int, int] | None = None
    refused: str = ""


def saved(picture: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, kind: int, lines: bytes, *further: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    ends = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(further) + ends


def tiff(bits: int, photometric: int, data: bytes, sample: int = 1) -> bytes:
    """8 x 8 pixels of one channel."""
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 8, 279: len(data), 339: sample}
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def formats() -> dict[str, Image.Image]:
    picture = Image.new("RGB", (80, 40), RED)
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        extra = ["HEIF"]
    except ImportError:
        extra = []
    return dict.fromkeys(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", *extra], picture)


def upright_cases() -> Iterator[Case]:
    """Red at the top left of what lies, so that each orientation moves it to another corner."""
    lying = np.zeros((40, 80, 3), np.uint8)
    lying[:20, :40] = RED
    black = (0, 0, 0)
    first = {1: RED, 2: black, 3: black, 4: black, 5: RED, 6: black, 7: black, 8: black}
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        for orientation in (*range(10), 6000):
            exif = Image.Exif()
            exif[0x0112] = orientation
            size = (40, 80) if 5 <= orientation <= 8 else (80, 40)
            data = saved(Image.fromarray(lying), kind, exif=exif)
            yield Case(f"orientation {orientation} in {kind}", data, size, first.get(orientation, RED))
    picture = Image.fromarray(lying)
    yield Case("metadata that are no EXIF", saved(picture, "JPEG", exif=b"Exif\0\0garbage"), (80, 40), RED)
    yield Case("eXIf that is none", png(1, 1, 8, 2, b"\0\xff\0\0", chunk(b"eXIf", b"garbage")), (1, 1), RED)


def transparent_cases() -> Iterator[Case]:
    for mode, colour in (("RGBA", (255, 0, 255, 0)), ("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))):
        for kind in ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000"):
            settings = {"lossless": True, "exact": True} if kind == "WEBP" else {}
            data = saved(Image.new(mode, (8, 8), colour), kind, **settings)
            yield Case(f"{mode} {colour} in {kind}", data, (8, 8), WHITE)
    yield Case("half of red", saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG"), (8, 8), (255, 127, 127))
    many = Image.new("P", (8, 8), 3)
    many.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2, 250, 0, 250])
    yield Case("a clear colour of a palette", saved(many, "PNG", transparency=3), (8, 8), WHITE)
    yield Case("a palette with alpha", saved(many, "PNG", transparency=bytes([255] * 3 + [0])), (8, 8), WHITE)
    yield Case("a clear colour of a GIF", saved(many, "GIF", transparency=3), (8, 8), WHITE)
    yield Case("palette and alpha", saved(Image.new("PA", (8, 8), 0), "TIFF"), (8, 8), WHITE)
    yield Case("a clear grey", saved(Image.new("L", (8, 8), 7), "PNG", transparency=7), (8, 8), WHITE)
    yield Case("a clear colour", saved(Image.new("RGB", (8, 8), (7, 8, 9)), "PNG", transparency=(7, 8, 9)), None, WHITE)
    yield Case("a clear bit", saved(Image.new("1", (8, 8)), "PNG", transparency=0), (8, 8), WHITE)
    deep = Image.fromarray(np.full((8, 8), 30000, np.uint16))
    yield Case("a clear grey of 16 bits", saved(deep, "PNG", transparency=30000), (8, 8), WHITE)
    lines = (b"\0" + struct.pack(">3H", 30000, 30000, 30000) * 8) * 8
    clear = chunk(b"tRNS", struct.pack(">3H", 30000, 30000, 30000))
    yield Case("a clear colour of 16 bits", png(8, 8, 16, 2, lines, clear), (8, 8), WHITE)
    straight = saved(Image.new("RGBA", (8, 8), (50, 0, 0, 128)), "TIFF")
    multiplied = straight.replace(struct.pack("<HHII", 338, 3, 1, 2), struct.pack("<HHII", 338, 3, 1, 1))
    yield Case("multiplied by alpha", multiplied, (8, 8), (177, 127, 127))


def deep_cases() -> Iterator[Case]:
    for kind in ("PNG", "TIFF"):
        yield Case(f"16 bits in {kind}", saved(Image.fromarray(np.full((8, 8), 30000, np.uint16)), kind), None, GREY)
    for channels, kind in ((3, 2), (4, 6), (2, 4)):
        values = [30000] * (channels - 1 + channels % 2) + [65535] * (1 - channels % 2)
        lines = (b"\0" + struct.pack(f">{channels}H", *values) * 8) * 8
        yield Case(f"{channels} channels of 16 bits", png(8, 8, 16, kind, lines), (8, 8), GREY)
    words = np.full(64, 30000, "<u2").tobytes()
    yield Case("white is zero, 16 bits", tiff(16, 0, words), (8, 8), (138, 138, 138))
    yield Case("white is zero, 8 bits", tiff(8, 0, bytes([10]) * 64), (8, 8), (245, 245, 245))
    yield Case("12 bits", tiff(12, 1, bytes([0x80, 0x08, 0x00]) * 32), (8, 8), (128, 128, 128))
    yield Case("4 bits", tiff(4, 1, bytes([0x77]) * 32), (8, 8), (119, 119, 119))
    yield Case("16 bits, high byte first", saved(Image.fromarray(np.full((8, 8), 30000, ">u2")), "TIFF"), None, GREY)
    for value, colour in ((30000, GREY), (200, (200, 200, 200))):
        whole = Image.fromarray(np.full((8, 8), value, np.int32))
        yield Case(f"32-bit whole number {value}", saved(whole, "TIFF"), (8, 8), colour)
    for number, colour in ((0.5, (128, 128, 128)), (1.0, WHITE), (200.0, (200, 200, 200))):
        real = Image.fromarray(np.full((8, 8), number, np.float32))
        yield Case(f"float {number}", saved(real, "TIFF"), (8, 8), colour)
    for number in (-1.0, 1e6, float("nan"), float("inf")):
        real = Image.fromarray(np.full((8, 8), number, np.float32))
        yield Case(f"float {number}", saved(real, "TIFF"), refused="numbers from")
    for value in (-5, 70000, 1 << 30):
        whole = Image.fromarray(np.full((8, 8), value, np.int32))
        yield Case(f"32-bit whole number {value}", saved(whole, "TIFF"), refused="numbers from")
    yield Case("64-bit floats", tiff(64, 1, np.full(64, 0.5).tobytes(), 3), refused="TIFF")
    for mode in ("1", "L", "P", "CMYK", "YCbCr", "LAB"):
        yield Case(f"mode {mode} in TIFF", saved(Image.new(mode, (8, 8)), "TIFF"), (8, 8))
    yield Case("CMYK in JPEG", saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), (8, 8), RED)


def other_cases() -> Iterator[Case]:
    red = Image.new("RGB", (80, 40), RED)
    for kind, picture in formats().items():
        data = saved(picture, kind)
        yield Case(f"{kind}", data, (80, 40), RED)
        noise = saved(Image.effect_noise((64, 64), 90).convert("RGB"), kind)
        yield Case(f"half of a {kind}", noise[: len(noise) // 2], refused="truncated")
    for kind in ("TGA", "PPM", "PCX", "DDS", "SGI", "ICO", "PDF", "EPS", "QOI"):
        words = {"EPS": "PostScript"}.get(kind, kind)
        yield Case(kind, saved(red.resize((64, 64)), kind), refused=f"{words}")
    heads = {
        "JPEG XL": b"\xff\x0a" + bytes(50),
        "PSD": b"8BPS\0\1" + bytes(50),
        "SVG": b'<?xml version="1.0"?><svg xmlns="x"/>',
        "HTML": b"<!DOCTYPE html><html>not found</html>",
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
        "ZIP": b"PK\3\4" + bytes(50),
        "video": b"\0\0\0\x20ftypisom" + bytes(50),
        "text": b"root:x:0:0:root:/root:/bin/bash\n",
        "empty": b"",
        "no image": bytes(100),
        "OpenEXR": b"\x76\x2f\x31\x01" + bytes(50),
    }
    yield from (Case(name, data, refused=name) for name, data in heads.items())
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, WHITE)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"):
        yield Case(f"animated {kind}", saved(frames[0], kind, save_all=True, append_images=frames[1:]), (8, 8), RED)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * (2 << 20), zip=True)
    yield Case("2 MB of text, compressed", saved(red, "PNG", pnginfo=text), (80, 40), RED)
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "x" * (70 << 20))
    yield Case("70 MB of text", saved(red, "PNG", pnginfo=text), (80, 40), RED)
    for kind in ("PNG", "JPEG", "WEBP"):
        yield Case(f"a profile of 3 MB in {kind}", saved(red, kind, icc_profile=b"x" * (3 << 20)), (80, 40), RED)
    dot = b"\0\xff\0\0"
    bomb = chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(200 << 20)))
    yield Case("200 MB of text in 200 kB", png(1, 1, 8, 2, dot, bomb), (1, 1), RED)
    yield Case("a text with a wrong checksum", png(1, 1, 8, 2, dot, chunk(b"tEXt", b"a\0b")[:-2] + b"zz"), (1, 1), RED)
    yield Case("192 MP", saved(Image.new("1", (16000, 12000)), "PNG"), refused="192 MP, more than")
    yield Case("a header of 10^12 pixels", png(10**6, 10**6, 8, 2, b""), refused="MP, more than")
    yield Case("no pixels", png(0, 8, 8, 2, b""), refused="PNG")
    yield Case("pixels that are missing", png(100, 100, 8, 2, b""), refused="truncated")
    absurd = saved(red, "JPEG").replace(struct.pack(">HH", 40, 80), struct.pack(">HH", 65535, 65535))
    yield Case("a JPEG of 65535 x 65535", absurd, refused="MP, more than")
    absurd = saved(red, "GIF").replace(struct.pack("<HH", 80, 40), struct.pack("<HH", 65535, 65535))
    yield Case("a GIF of 65535 x 65535", absurd, refused="MP, more than")
    for size in ((1, 1), (1, 4000), (4000, 1)):
        yield Case(f"{size} pixels", saved(Image.new("RGB", size, RED), "PNG"), size, RED)


def wrong(case: Case) -> str:
    """What is wrong with what comes of a case; empty if nothing."""
    begun = time.monotonic()
    try:
        picture = as_rgb(open_picture(case.data))
    except UserError as error:
        found = str(error)
        if not case.refused or case.refused not in found:
            return f"refused ({found}), expected {case.refused or 'pixels'}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    else:
        corner = picture.getpixel((0, 0))
        if case.refused:
            return f"read, expected {case.refused}"
        if case.size and picture.size != case.size:
            return f"{picture.size}, expected {case.size}"
        if case.colour and max(abs(a - b) for a, b in zip(corner, case.colour, strict=True)) > TOLERANCE:
            return f"{corner}, expected {case.colour}"
    seconds = time.monotonic() - begun
    return f"took {seconds:.0f} s" if seconds > SLOWEST else ""


def damaged(count: int, seed: int) -> Iterator[str]:
    """What is wrong with pictures that are damaged at random."""
    draw = random.Random(seed)
    whole = {kind: saved(Image.effect_noise((64, 64), 90).convert("RGB"), kind) for kind in (*formats(), "PNG", "AVIF")}
    for number in range(count):
        kind = draw.choice(sorted(whole))
        data = bytearray(whole[kind])
        for _ in range(draw.randint(1, 30)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        cut = bytes(data[: draw.randint(len(data) // 2, len(data))])
        try:
            as_rgb(open_picture(cut))
        except UserError:
            pass
        except BaseException as error:
            yield f"{kind}, seed {seed}, number {number}: {type(error).__name__}: {error}"


def files(folder: Path) -> dict[str, tuple[str, str]]:
    """Files beside a table and elsewhere: by a case's name, how the table names the image, and what is said of it."""
    red, mine = saved(Image.new("RGB", (64, 64), RED), "PNG"), folder / "mine [v2]::x"
    elsewhere, root = folder / "elsewhere", folder / "root"
    for place in (mine / "deep/er", elsewhere, root):
        place.mkdir(parents=True)
    (mine / "ok.png").write_bytes(saved(Image.new("RGB", (64, 64)), "PNG"))
    read: dict[str, str] = {}
    names = [
        "[1].png",
        "a*b?.png",
        "a::b.png",
        "a#b%20c.png",
        "a b .png",
        "~.png",
        "a=b,c.png",
        "$x{y}.png",
        "a\nb.png",
    ]
    names += [
        "'q\".png",
        "x" * 250 + ".png",
        "deep/er/../er/a.png",
        "-rf.png",
        "back\\slash.png",
        "no extension",
        "猫🐈.png",
    ]
    for name in names:
        (mine / name).write_bytes(red)
        read[name] = name
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        there, asked = (unicodedata.normalize(one, f"{form} Übung/é.png") for one in (form, other))
        (mine / there).parent.mkdir()
        (mine / there).write_bytes(red)
        read[f"{other} of {form}"] = asked
    (elsewhere / "a.png").write_bytes(red)
    (root / "a.png").write_bytes(red)
    (mine / "real.png").write_bytes(red)
    (mine / "link.png").symlink_to("real.png")
    (mine / "to root.png").symlink_to(root / "a.png")
    read |= {"a link beside it": "link.png", "a link to a root": "to root.png", "of a root": str(root / "a.png")}
    read["its whole path"] = str(mine / "real.png")
    (mine / "dangling.png").symlink_to("gone.png")
    (mine / "loop.png").symlink_to("loop.png")
    (mine / "out.png").symlink_to(elsewhere / "a.png")
    (mine / "secret.png").symlink_to("/etc/passwd")
    (mine / "zero.png").symlink_to("/dev/zero")
    (mine / "empty.png").write_bytes(b"")
    (mine / "text.png").write_text("a secret")
    (mine / "cut.png").write_bytes(red[: len(red) // 2])
    (mine / "big.png").write_bytes(png(10**6, 10**6, 8, 2, b""))
    (mine / "tga.png").write_bytes(saved(Image.new("RGB", (8, 8)), "TGA"))
    with (mine / "huge.png").open("wb") as file:
        file.truncate(3 << 30)
    os.mkfifo(mine / "pipe.png")
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as channel:
        os.chdir(mine)
        channel.bind("socket.png")
        os.chdir(here)
    (mine / "folder.png").mkdir()
    refused = {
        "dangling.png": "which is not there",
        "loop.png": "leads to itself",
        "out.png": "lies outside of",
        "secret.png": "lies outside of",
        "zero.png": "lies outside of",
        "../elsewhere/a.png": "lies outside of",
        "../../../../../../../etc/passwd": "lies outside of",
        "/etc/passwd": "lies outside of",
        "empty.png": "is empty",
        "text.png": "is a text and no image",
        "cut.png": "truncated",
        "big.png": "MP, more than",
        "tga.png": "is TGA",
        "huge.png": "MB, more than",
        "pipe.png": "is a named pipe",
        "socket.png": "is a socket",
        "folder.png": "is a folder",
        "deep": "is a folder",
        "nix.png": "there is no image",
        "nix/nix.png": "there is no image",
        "real.png/nix.png": "there is no image",
        "a\0b.png": "cannot be read",
        "\ud83d.png": "half a character",
        "y" * 300 + ".png": "cannot be read",
        "z/" * 5000 + "a.png": "letters; at most",
        "https://example.org/a.png": "is a URL",
        "file:///etc/passwd": "is a URL",
        "data:image/png;base64,AAAA": "is a URL",
        "img\\a.png": "not a backslash",
        "C:\\img\\a.png": "not a backslash",
        "/dev/zero": "lies outside of",
    }
    return {name: (asked, "") for name, asked in read.items()} | {
        name[:40]: (name, word) for name, word in refused.items()
    }


def prepare(folder: Path, table: Path, *further: str) -> commands.Outcome:
    """Prepare a table of one person's choices on the model that ships."""
    settings = ["data.min_pairs=2", "shots.n=1", "data.held_out_captions=0.0", "data.unseen_users=0.0"]
    settings += ["data.validation=0.0", "data.max_unusable=1.0", f"output={folder / 'out'}", *further]
    return commands.run(["prepare", "experiment=emoji/own", f"data.table='{table}'", *settings], folder)


def wrong_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file's case, and what is wrong with what comes of it, of one command that meets them all."""
    asked = files(folder)
    table = folder / "mine [v2]::x/pairs.jsonl"
    lines = [
        {"caption": f"c{number}", "image_0": name, "image_1": "ok.png", "choice": 0, "user": "ann"}
        for number, (name, _) in enumerate(asked.values())
    ]
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = prepare(folder, table, f"data.roots=['{folder / 'root'}']")
    quarantined = sorted((folder / "out/data").glob("folder-*/quarantine.parquet"))
    if outcome.code or outcome.traceback or outcome.hung or not quarantined:
        yield "the command", f"exit {outcome.code}, hung {outcome.hung}: {outcome.output[-2000:]}"
        return
    reasons = {row["row"]: row["reason"] for row in pq.read_table(quarantined[-1]).to_pylist()}
    for number, (name, (_, word)) in enumerate(asked.items(), 1):
        found = reasons.get(number, "")
        yield name, "" if (word in found if word else not found) else f"{found or 'read'}, expected {word or 'read'}"
    stored = (quarantined[-1].parent / "source/choices.parquet").read_bytes()
    secrets = [text for text in (b"a secret", b"root:x:0") if text in stored]
    yield "nothing is stored that is no image", f"{secrets} is stored" if secrets else ""


def wrong_tables(folder: Path) -> Iterator[tuple[str, str]]:
    """Tables that are no files, or that are links to what is none."""
    for name, target, word in (
        ("zero.csv", "/dev/zero", "is a device"),
        ("gone.csv", "nowhere.csv", "which is not there"),
        ("folder.csv", "/etc", "is a folder"),
    ):
        (folder / name).symlink_to(target)
        yield from _refused(folder, name, word)
    os.mkfifo(folder / "pipe.csv")
    yield from _refused(folder, "pipe.csv", "is a named pipe")
    for verb in ("zero.csv", "pipe.csv"):
        outcome = commands.run(["doctor", "experiment=emoji/own", f"data.table={verb}"], folder, timeout=60)
        bad = outcome.hung or outcome.traceback
        yield f"doctor of {verb}", f"exit {outcome.code}: {outcome.output[-500:]}" if bad else ""


def _refused(folder: Path, name: str, word: str) -> Iterator[tuple[str, str]]:
    outcome = prepare(folder, folder / name)
    fine = outcome.code == 2 and word in outcome.output and not outcome.traceback
    yield name, "" if fine else f"exit {outcome.code}, hung {outcome.hung}: {outcome.output[-500:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, help="pictures that are opened, chosen by the seed; all if absent")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    begun = time.monotonic()
    every = [*upright_cases(), *transparent_cases(), *deep_cases(), *other_cases()]
    chosen = (
        every if options.cases is None else random.Random(options.seed).sample(every, min(options.cases, len(every)))
    )
    results = [(f"picture: {case.name}", wrong(case)) for case in chosen]
    random_cases = 2000 if options.cases is None else 10 * len(chosen)
    failures = [("damaged at random", fault) for fault in damaged(random_cases, options.seed)]
    commands.import_all()
    temporary = Path(tempfile.mkdtemp())  # a TemporaryDirectory would be removed by each fork as it ends
    try:
        results += [(f"file: {name}", fault) for name, fault in wrong_files(temporary)]
        results += [(f"table: {name}", fault) for name, fault in wrong_tables(temporary)]
    finally:
        shutil.rmtree(temporary)
    failures += [(name, fault) for name, fault in results if fault]
    counts = {
        "cases": len(results),
        "damaged": random_cases,
        "failed": len(failures),
        "seconds": round(time.monotonic() - begun, 1),
    }
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    for name, fault in failures:
        print(f"{name!r}: {fault}")
    target = Path("outputs/reliability/pictures.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(counts | {"failures": failures}, indent=2) + "\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
