"""The page: Gradio components and what happens on their events; all of it is done by `Studio`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr

from ppd_lightning.errors import UserError
from ppd_lightning.studio import html
from ppd_lightning.studio.studio import ME, STRONGEST, Studio
from ppd_lightning.studio.visits import Visit

HERE = Path(__file__).parent
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "Menlo", "Consolas", "monospace"]
ASKS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (!button) return;
  if (button.classList.contains('heart'))
    button.setAttribute('aria-pressed', button.getAttribute('aria-pressed') !== 'true');
  element.dataset.last = button.dataset.key || '';
  trigger('click', {what: button.dataset.do});
});
watch('value', () => {
  const last = element.dataset.last && element.querySelector(`[data-key="${element.dataset.last}"]`);
  if (last) last.focus({preventScroll: true});
  element.dataset.last = '';
  const first = element.closest('#drawn') && !element.dataset.seen && element.querySelector('.sheet figure');
  if (!first) return;
  element.dataset.seen = 'true';
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  first.scrollIntoView({block: 'nearest', behavior: still ? 'auto' : 'smooth'});
});
"""
"""A click on anything with data-do is an event; the key that was used keeps the focus when the part is made anew.

The first pictures that are drawn are scrolled into view, once; they may lie below the screen's edge.
"""
GOES = """
watch('value', () => {
  clearTimeout(Number(element.dataset.timer));
  element.dataset.timer = setTimeout(() => element.querySelector('.notice')?.classList.add('gone'), 10000);
});
"""
"""A message goes away after ten seconds."""
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
SLOW: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}


def look() -> dict[str, Any]:
    """Theme, style and script, for where the page is mounted; nothing is fetched from elsewhere."""
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        text_size=gr.themes.sizes.text_lg,
        font=FONTS,
        font_mono=MONO,
    )
    script = (HERE / "page.js").read_text("utf-8")
    return {"theme": theme, "css": (HERE / "page.css").read_text("utf-8"), "head": f"<script>{script}</script>"}


def make_page(studio: Studio) -> gr.Blocks:
    """The page of a studio, with its queue.

    At most `waiting` requests wait; one at a time draws, in the order in which they came. Gradio keeps a little of each
    session, which somebody who asks for many would make much of.
    """
    with gr.Blocks(title="Studio", analytics_enabled=False, fill_width=True) as page:
        token = gr.State()
        note = gr.HTML("", elem_id="note", js_on_load=GOES, container=False, padding=False)
        gr.HTML(
            '<header><p class="mark">ppd studio</p><h1>Pick the one you like.</h1>'
            f"<p>{_numeral(studio.settings.picks)} show the model your taste. Then it draws for you.</p></header>"
        )
        picks = _part("picks")
        with gr.Column(elem_classes="section"):
            gr.HTML("<h2>Drawn for you</h2>")
            drawn = _part("drawn", html.empty("Your pictures appear here."))
            with gr.Row(elem_classes="tools"):
                caption = gr.Textbox(
                    label="Draw something else",
                    placeholder=f"a {studio.captions[-1]}" if studio.captions else "",
                    max_length=studio.settings.longest,
                    lines=1,
                    scale=3,
                )
                strength = gr.Slider(0, STRONGEST, 1, step=0.25, label="Your taste", scale=2, min_width=200)
                noise = gr.Button("Another try", scale=0, min_width=140)
        with gr.Tabs(elem_classes="section"):
            with gr.Tab("Blind test"):
                blind = _part("blind", html.empty("Five rounds: your picture and the base's, in random order."))
                begin_blind = gr.Button("Is it really mine?", variant="primary")
            with gr.Tab("Blend"):
                with gr.Row():
                    people = [ME, *studio.model.known]
                    with gr.Column(min_width=280):
                        one = gr.Dropdown(people, value=ME, label="From", filterable=False)
                        other = gr.Dropdown(people, value=people[-1], label="To", filterable=False)
                        share = gr.Slider(0, 1, 0.5, step=0.1, label="How far")
                    if studio.triangle:
                        with gr.Column(min_width=280):
                            corners = _part("corners", html.triangle(studio.triangle, ()))
                blended = _part("blended", html.empty("Two people on a line, or three on a triangle."))
            with gr.Tab("Like you"):
                nearest = _part("nearest", html.empty("Whose taste is near yours, and what they like."))
                look_up = gr.Button("Show them", variant="primary")
            with gr.Tab("Keep"):
                gallery = _part("gallery", html.empty("Press the heart below a picture to keep it."))
                name = gr.Textbox(label="Your name, if you like", max_length=studio.settings.longest, lines=1)
                agreed = gr.Checkbox(label=studio.settings.consent, visible=studio.collection is not None)
                taken = gr.HTML("", container=False, padding=False)

        def begin() -> tuple[str, str, str]:
            visit = studio.begin()
            return visit.token, html.pick_card(studio, visit), html.takes(studio, visit, _link(visit))

        def pick(visit: Visit, event: gr.EventData) -> tuple[str, str]:
            kind, *rest = _asked(event)
            if kind == "again":
                studio.again(visit)
            elif kind == "back" and rest == [str(len(visit.answers))]:
                studio.take_back(visit)
            elif kind == "pick" and len(rest) == 2 and rest[0].isdecimal():
                studio.answer(visit, int(rest[0]), {"0": 0, "1": 1}.get(rest[1]))
            return html.pick_card(studio, visit), html.takes(studio, visit, _link(visit))

        def draw(visit: Visit) -> Any:
            return gr.skip() if studio.left(visit) else html.sheet(studio.sheet(visit))

        def ask(visit: Visit, said: str) -> Any:
            studio.ask(visit, said)
            return draw(visit)

        def change(visit: Visit, multiple: float) -> Any:
            studio.strength(visit, multiple)
            return draw(visit)

        def again(visit: Visit) -> Any:
            studio.other_noise(visit)
            return draw(visit)

        def keep(visit: Visit, event: gr.EventData) -> Any:
            kind, *rest = _asked(event)
            if kind == "keep" and rest and rest[0].isdecimal():
                visit.keep(int(rest[0]))
            return html.gallery(visit, _link(visit))

        def start(visit: Visit) -> tuple[str, Any]:
            return html.blind_card(studio.begin_blind(visit)), gr.update(value="Start anew", variant="secondary")

        def judge(visit: Visit, event: gr.EventData) -> Any:
            kind, *rest = _asked(event)
            if visit.blind is None or kind != "blind" or rest[:1] != [str(len(visit.blind.liked_own) + 1)]:
                return gr.skip()
            visit.blind.answer(1 if rest[-1] == "1" else 0)
            return html.blind_card(visit.blind)

        def blend(visit: Visit, first: str, second: str, far: float) -> str:
            return html.sheet(studio.blend(visit, first, second, far), "Blend")

        def mix(visit: Visit, event: gr.EventData) -> Any:
            kind, *rest = _asked(event)
            if kind != "blend" or not all(part.isdecimal() for part in rest):
                return gr.skip()
            parts = [int(part) for part in rest]
            rows = studio.corner_blend(visit, parts)
            return html.triangle(studio.triangle, parts), html.sheet(rows, "Blend")

        def find(visit: Visit) -> str:
            return html.nearest(studio.nearest(visit))

        def agree(visit: Visit, yes: bool, said: str) -> str:
            studio.agree(visit, yes, said)
            return html.takes(studio, visit, _link(visit))

        said = count()

        def on(
            event: Callable[..., Any], work: Callable[..., Any], inputs: list[Any], outputs: list[Any], **how: Any
        ) -> Any:
            done = _visiting(studio, work, len(outputs), said)
            return event(done, [token, *inputs], [*outputs, note], **how)

        page.load(begin, None, [token, picks, taken], **QUICK)
        picked = on(picks.click, pick, [], [picks, taken], **QUICK)
        on(picked.then, draw, [], [drawn], trigger_mode="always_last", **SLOW)
        on(caption.submit, ask, [caption], [drawn], **SLOW)
        on(strength.input, change, [strength], [drawn], trigger_mode="always_last", **SLOW)
        on(noise.click, again, [], [drawn], **SLOW)
        for part in (drawn, blended, gallery):
            on(part.click, keep, [], [gallery], **QUICK)
        on(begin_blind.click, start, [], [blind, begin_blind], **SLOW)
        on(blind.click, judge, [], [blind], **QUICK)
        for chosen in (one, other, share):
            on(chosen.input, blend, [one, other, share], [blended], trigger_mode="always_last", **SLOW)
        if studio.triangle:
            on(corners.click, mix, [], [corners, blended], **SLOW)
        on(look_up.click, find, [], [nearest], **SLOW)
        for changed in (name.blur, name.submit, agreed.input):
            on(changed, agree, [agreed, name], [taken], **QUICK)
    page.state_session_capacity = 2 * studio.settings.visitors
    page.queue(max_size=studio.settings.waiting, default_concurrency_limit=1)
    return page


def _visiting(studio: Studio, work: Callable[..., Any], count: int, numbers: Iterator[int]) -> Callable[..., Any]:
    """The work for the visit with a token: what it makes of `count` parts, and a message to the visitor.

    Where it is refused the parts stay as they are. Gradio's own messages need its queue, which quick work passes by.
    """

    def done(token: str | None, *values: Any) -> Any:
        try:
            visit = studio.visits.of(token)
            made = work(visit, *values)
        except UserError as error:
            return *[gr.skip()] * count, html.notice(str(error), next(numbers))
        trouble, visit.trouble = visit.trouble, ""
        said = html.notice(trouble, next(numbers)) if trouble else gr.skip()
        return *(made if isinstance(made, tuple) else [made] * count), said

    if "event" in work.__code__.co_varnames[: work.__code__.co_argcount]:

        def with_event(token: str | None, event: gr.EventData) -> Any:
            return done(token, event)

        return with_event
    return done


def _part(name: str, value: str = "") -> gr.HTML:
    return gr.HTML(value, elem_id=name, js_on_load=ASKS, container=False, padding=False)


def _asked(event: gr.EventData) -> list[str]:
    what = event._data.get("what") if isinstance(event._data, dict) else None
    return what[:100].split(":") if isinstance(what, str) else [""]


def _link(visit: Visit) -> str:
    return f"take/{visit.token}"


def _numeral(count: int) -> str:
    words = ("", "One pick", "Two picks", "Three picks", "Four picks", "Five picks", "Six picks")
    return words[count] if count < len(words) else f"{count} picks"
