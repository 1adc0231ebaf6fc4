"""Choices that are kept: whole rows, whoever is killed, in a table that `ppd prepare` reads."""

from __future__ import annotations

import csv
import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from tests.studio.colours import shown
from tests.studio.test_studio import pick_red, studio

from ppd_lightning.data.own_table import read_choices
from ppd_lightning.data.table_parts import open_table
from ppd_lightning.errors import UserError
from ppd_lightning.studio.collection import COLUMNS, Collection, zipped


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_only_who_agrees_is_kept_and_then_with_what_they_chose_before(tmp_path: Path) -> None:
    room = studio(tmp_path)
    table = tmp_path / "kept/choices.csv"
    visit, other = room.begin(), room.begin()
    pick_red(room, other)
    pick_red(room, visit, 2)
    assert rows(table) == []
    room.agree(visit, True, ' Zoë,\n "Z" ')
    pick_red(room, visit, 1)
    room.answer(visit, 3, None)
    found = rows(table)
    assert [row["choice"] for row in found] == ["0", "0", "0", "tie"]
    assert {row["user"] for row in found} == {f'Zoë, "Z"-{visit.mark}'}
    room.agree(visit, False, "")
    pick_red(room, visit, 1)
    assert len(rows(table)) == 4
    read = read_choices(open_table(str(table), "data.table"))
    assert read.faults == []
    assert [choice.label for choice in read.choices] == [1.0, 1.0, 1.0, 0.5]


def test_a_table_that_is_there_gets_rows_in_its_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"\xef\xbb\xbfuser,choice,image_1,image_0,caption,note\nann,0,b.png,a.png,a cat,mine\n")
    Collection(path).add("bob", [(shown()[1], 1)])
    before, after = path.read_text("utf-8-sig").splitlines()[1:]
    assert before == "ann,0,b.png,a.png,a cat,mine"
    assert after.startswith('"bob","1","pictures/')
    assert after.endswith(',"thing 1",""')


def test_a_last_row_without_an_end_is_whole_unless_it_is_half_a_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("caption,image_0,image_1,choice,user\na cat,a.png,b.png,0,ann")
    Collection(path).add("bob", [(shown()[1], 1)])
    assert [row["user"] for row in rows(path)] == ["ann", "bob"]
    whole = path.read_bytes()
    for cut in (1, 2, 3, 4, 5, 6, 7, 8, 40, 100):
        path.write_bytes(whole[:-cut])
        Collection(path).add("zoe", [(shown()[2], 1)])
        assert [row["user"] for row in rows(path)] == (["ann", "bob", "zoe"] if cut == 1 else ["ann", "zoe"])


def test_a_table_that_is_moved_away_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    kept = Collection(path)
    kept.add("ann", [(shown()[0], 0)])
    path.rename(tmp_path / "yesterday.csv")
    kept.add("bob", [(shown()[1], 0)])
    assert [row["user"] for row in rows(path)] == ["bob"]


def test_the_last_pick_is_taken_back_where_it_was_kept(tmp_path: Path) -> None:
    room = studio(tmp_path)
    table = tmp_path / "kept/choices.csv"
    visit, other = room.begin(), room.begin()
    for one in (visit, other):
        room.agree(one, True, "")
    pick_red(room, visit, 2)
    room.take_back(visit)
    assert [row["caption"] for row in rows(table)] == ["thing 0"]
    pick_red(room, visit, 1)
    pick_red(room, other, 1)
    room.take_back(visit)  # its row is not the last one any more
    assert [(row["caption"], row["user"]) for row in rows(table)] == [("thing 0", visit.user), ("thing 0", other.user)]
    assert read_choices(open_table(str(table), "data.table")).faults == []
    table.write_text(table.read_text().replace("thing", "other"))
    with pytest.raises(UserError, match="cannot be taken back"):
        room.take_back(visit)


def test_somebody_who_gives_a_name_later_stays_one_person(tmp_path: Path) -> None:
    room = studio(tmp_path)
    visit = room.begin()
    room.agree(visit, True, "")
    pick_red(room, visit, 2)
    room.agree(visit, True, "=1+1 Zoë")
    pick_red(room, visit, 1)
    found = rows(tmp_path / "kept/choices.csv")
    assert [row["caption"] for row in found] == ["thing 0", "thing 1", "thing 2"]
    assert {row["user"] for row in found} == {f"1+1 Zoë-{visit.mark}"}, "and no formula"


def test_a_full_disk_stops_nobody_and_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = studio(tmp_path)
    table = tmp_path / "kept/choices.csv"
    visit = room.begin()
    room.agree(visit, True, "")
    pick_red(room, visit, 1)
    written = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(descriptor, data[: len(data) - 39])

    with monkeypatch.context() as change:
        change.setattr(os, "write", full)
        pick_red(room, visit, 1)
        assert "cannot be kept" in visit.trouble
        assert visit.showing == 2
    assert table.read_bytes().endswith(b"\n")
    pick_red(room, visit, 1)
    assert [row["caption"] for row in rows(table)] == ["thing 0", "thing 1", "thing 2"]


@pytest.mark.parametrize(
    ("name", "text", "why"), [("a.parquet", "", "end in .csv"), ("a.csv", "caption;choice\n", "lacks the columns")]
)
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, name: str, text: str, why: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=why):
        Collection(path)
    assert path.read_text() == text


def test_half_a_row_is_cut_off_before_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    kept = Collection(path)
    kept.add("ann", [(shown()[0], 0)])
    whole = path.read_bytes()
    path.write_bytes(whole + b'thing 3,pictures/aa.png,"pictu')
    Collection(path).add("bob", [(shown()[1], 1)])
    assert [row["user"] for row in rows(path)] == ["ann", "bob"]
    assert path.read_bytes().startswith(whole)


@pytest.mark.long
def test_several_processes_that_are_killed_leave_whole_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    Collection(path)
    code = """
        import sys
        from pathlib import Path
        from PIL import Image
        from ppd_lightning.studio.collection import Collection
        from ppd_lightning.studio.pairs import Shown, png
        one, other = Image.new("RGB", (1, 1)), Image.new("RGB", (1, 2))
        pair = Shown("a cat", (one, other), (png(one), png(other)), ("", ""))
        kept = Collection(Path(sys.argv[1]))
        number = 0
        while True:
            kept.add(sys.argv[2], [(pair, 0)])
            number += 1
            print(number, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    writers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("ann", "bob")]
    said = []
    for writer in writers:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 20:
            pass
        os.kill(writer.pid, signal.SIGKILL)
        said.append(20 + len(writer.stdout.readlines()))
        writer.wait()
    Collection(path).add("zoe", [(shown()[0], 1)])
    found = rows(path)
    assert all(set(row) == set(COLUMNS) and None not in row.values() for row in found)
    for name, least in zip(("ann", "bob"), said, strict=True):
        assert sum(row["user"] == name for row in found) >= least, "what was acknowledged is there"


def test_ones_own_choices_come_as_the_same_table(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(zipped("ann", [(shown()[0], 0), (shown()[1], None)]))) as archive:
        archive.extractall(tmp_path)
    read = read_choices(open_table(str(tmp_path / "choices.csv"), "data.table"))
    assert read.faults == []
    assert [(choice.user, choice.label) for choice in read.choices] == [("ann", 1.0), ("ann", 0.5)]
