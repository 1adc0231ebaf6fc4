"""The parts of the page that Gradio has no component for, as HTML. Every text and number that comes in is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from ppd_lightning.studio.blind_test import BlindTest
from ppd_lightning.studio.drawings import Row
from ppd_lightning.studio.pairs import png
from ppd_lightning.studio.studio import DIVISIONS, Studio
from ppd_lightning.studio.visits import Visit

SMALL = 160
"""Pixels up to which a picture is sent as it is."""
LARGEST = 640
"""Pixels of the longer side of a picture on the page; the file that is saved has all of them."""


def picture(image: Image.Image, alt: str) -> str:
    """An image element that holds its picture."""
    if max(image.size) <= SMALL:
        kind, data = "png", png(image)
    else:
        shown, file = image.convert("RGB"), io.BytesIO()
        shown.thumbnail((LARGEST, LARGEST))
        shown.save(file, "JPEG", quality=90)
        kind, data = "jpeg", file.getvalue()
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" alt="{escape(alt)}" width="{image.width}" height="{image.height}" draggable="false">'


def pick_card(studio: Studio, visit: Visit) -> str:
    """The pair to choose from, and how many picks are missing."""
    left, shown = studio.left(visit), studio.shown(visit)
    if shown is None:
        return (
            '<div class="card" data-keys><p class="said">You have seen every pair. Thank you.</p>'
            f'<div class="bar quiet">{_back(visit)}{_again()}</div></div>'
        )
    pair, swapped = shown
    places = pair.pictures[::-1] if swapped else pair.pictures
    needed = studio.settings.picks
    dots = "".join(f'<i class="{"full" if number < needed - left else ""}"></i>' for number in range(min(needed, 12)))
    state = f"{needed - left} of {needed}" if left else f"{len(visit.chosen)} picks. More make it yours."
    return (
        f'<div class="card" data-keys><div class="bar"><h2>{escape(pair.caption)}</h2>'
        f'<p class="state" role="status"><span class="dots" aria-hidden="true">{dots}</span>{escape(state)}</p></div>'
        f"{_two(places, pair.caption, f'pick:{visit.showing}:')}"
        f'<div class="bar quiet"><button type="button" data-do="pick:{visit.showing}:-" data-key="ArrowDown">'
        f"Neither <kbd>↓</kbd></button>{_back(visit) + _again() if visit.answers else ''}</div></div>"
    )


def sheet(rows: Sequence[Row], own: str = "Yours") -> str:
    """Captions with the base's picture and the own one, which can be kept."""
    figures = []
    for row in rows:
        base, mine = picture(row.base, f"{row.caption}, base"), picture(row.own, f"{row.caption}, {own}")
        figures.append(
            f'<figure><figcaption>{escape(row.caption)}</figcaption><div class="two">'
            f'<div class="cell">{base}<span>Base</span></div>'
            f'<div class="cell own">{mine}<span>{escape(own)}</span>{_keep(row.number, row.caption)}</div>'
            "</div></figure>"
        )
    return f'<div class="sheet">{"".join(figures)}</div>'


def nearest(found: Sequence[tuple[str, float, list[Row]]]) -> str:
    """Known people, how near they are, and what is drawn for them."""
    if not found:
        return empty("This model brings no people to compare with.")
    parts = []
    for name, cosine, rows in found:
        images = "".join(f'<div class="cell">{picture(row.own, f"{row.caption}, for {name}")}</div>' for row in rows)
        near = round(100 * max(0.0, cosine))
        parts.append(
            f'<section class="person"><div><h3>{escape(name)}</h3><p>{_closeness(cosine)}</p>'
            f'<div class="meter" role="img" aria-label="{near} percent alike"><i style="width:{near}%"></i></div></div>'
            f'<div class="strip">{images}</div></section>'
        )
    return f'<div class="people">{"".join(parts)}</div>'


def triangle(names: Sequence[str], chosen: Sequence[int]) -> str:
    """Every blend of three in quarters, as buttons in a triangle, and which one is drawn."""
    points = []
    for top in range(DIVISIONS, -1, -1):
        for right in range(DIVISIONS - top + 1):
            parts = (top, DIVISIONS - top - right, right)
            x, y = 50 * parts[0] + 100 * parts[2], 100 - 100 * parts[0] / DIVISIONS
            said = ", ".join(
                f"{100 * part // DIVISIONS}% {name}" for part, name in zip(parts, names, strict=True) if part
            )
            pressed = "true" if tuple(chosen) == parts else "false"
            points.append(
                f'<button type="button" data-do="blend:{":".join(map(str, parts))}" aria-pressed="{pressed}" '
                f'title="{escape(said)}" aria-label="{escape(said)}" '
                f'style="left:{x / DIVISIONS:g}%;top:{y:g}%"></button>'
            )
    corners = "".join(f'<b class="{side}">{escape(name)}</b>' for side, name in zip("tlr", names, strict=True))
    return (
        f'<div class="triangle" role="group" aria-label="Blends of three">{corners}<div class="field">'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="50,0 0,100 100,100"/></svg>{"".join(points)}</div></div>'
    )


def blind_card(test: BlindTest) -> str:
    """A round of the blind test, or how it ended."""
    if test.done:
        share, low, high = test.win_rate
        won, count = sum(test.liked_own), len(test.rounds)
        marks = "".join(f'<i class="{"full" if liked else ""}"></i>' for liked in test.liked_own)
        return (
            f'<div class="card verdict"><p class="number">{share:.0%}</p><p class="said">You liked your own picture in '
            f'{won} of {count} rounds. <span class="dots" aria-hidden="true">{marks}</span></p>'
            f'<p class="fine">The 95% interval is {low:.0%} to {high:.0%}: {count} rounds say little. '
            "Picking blindly gives 50%.</p></div>"
        )
    caption, *images = test.shown
    number, count = len(test.liked_own) + 1, len(test.rounds)
    dots = "".join(f'<i class="{"full" if one < number else ""}"></i>' for one in range(1, count + 1))
    return (
        f'<div class="card" data-keys><div class="bar"><h2>{escape(caption)}</h2><p class="state" role="status">'
        f'<span class="dots" aria-hidden="true">{dots}</span>Round {number} of {count}</p></div>'
        f"{_two(images, caption, f'blind:{number}:')}</div>"
    )


def gallery(visit: Visit, link: str) -> str:
    """What a visitor has kept, with a link to each file."""
    kept = [(number, visit.drawn[number]) for number in visit.gallery]
    if not kept:
        return empty("Nothing here yet. Press the heart below a picture to keep it.")
    figures = []
    for number, drawn in kept:
        name = f"{drawn.caption}, {drawn.title}"
        figures.append(
            f'<figure class="kept">{picture(drawn.picture, name)}<figcaption>{escape(drawn.caption)}'
            f"<small>{escape(drawn.title)}</small></figcaption>"
            f'<a class="save" href="{escape(link)}/{number}.png" download>Save</a>'
            f'<button type="button" class="drop" data-do="keep:{number}" aria-label="Remove {escape(name)}">✕</button>'
            "</figure>"
        )
    return f'<div class="kept-all">{"".join(figures)}</div>'


def notice(text: str, number: int) -> str:
    """A message to the visitor, which goes away by itself; one that is said again is another one."""
    return f'<div class="notice" role="alert" data-number="{number}">{escape(text)}</div>' if text else ""


def takes(studio: Studio, visit: Visit, link: str) -> str:
    """What a visitor can take along, how many of their choices are kept, and whether a training can use these."""
    links = [
        ("person.safetensors", "Your vector", not studio.left(visit)),
        ("choices.zip", "Your choices", bool(visit.answers)),
    ]
    buttons = "".join(f'<a href="{escape(link)}/{name}" download>{said}</a>' for name, said, there in links if there)
    kept, lacking = len(visit.collected) + visit.earlier, studio.lacking(visit)
    said = f"{kept} of your choices {'is' if kept == 1 else 'are'} kept." if kept else ""
    if kept and lacking:
        said += f" A training needs {studio.model.shots + 1} picks of a person: {lacking} more."
    return (
        f'<p class="fine" role="status">{said}</p><p class="links">'
        f"{buttons or 'Your vector and your choices can be downloaded once you have picked.'}</p>"
    )


def empty(text: str) -> str:
    """What stands where nothing is yet."""
    return f'<div class="empty"><p>{escape(text)}</p></div>'


def _two(images: Sequence[Image.Image], caption: str, does: str) -> str:
    sides = (("Left", "ArrowLeft", "←"), ("Right", "ArrowRight", "→"))
    buttons = [
        f'<button type="button" class="choice" data-do="{does}{number}" data-key="{key}" '
        f'aria-label="{side}: {escape(caption)}">{picture(image, "")}<kbd>{arrow}</kbd></button>'
        for number, (image, (side, key, arrow)) in enumerate(zip(images, sides, strict=True))
    ]
    return f'<div class="two choices">{"".join(buttons)}</div>'


def _back(visit: Visit) -> str:
    return (
        f'<button type="button" data-do="back:{len(visit.answers)}" data-key="Backspace">'
        'Undo <kbd aria-label="Backspace">⌫</kbd></button>'
    )


def _again() -> str:
    return '<button type="button" data-do="again">Start again</button>'


def _keep(number: int, caption: str) -> str:
    return (
        f'<button type="button" class="heart" data-do="keep:{number}" aria-pressed="false" '
        f'aria-label="Keep {escape(caption)}">♥</button>'
    )


def _closeness(cosine: float) -> str:
    names = ((0.9, "Almost the same taste"), (0.7, "Much like you"), (0.4, "Somewhat like you"))
    return next((name for least, name in names if cosine >= least), "Not much like you")
