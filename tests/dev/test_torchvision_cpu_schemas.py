"""The development-only package that lets a CUDA build of torchvision be imported beside a CPU build of torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "dev" / "torchvision_cpu_schemas"

FAKE_TORCHVISION = {
    "__init__.py": "from . import extension, _meta_registrations",
    "extension.py": "def _has_ops(): return {has_ops}",
    "_meta_registrations.py": "import torch\nfound = hasattr(torch.ops.torchvision, 'nms')",
}


def test_it_declares_the_operators_only_where_torchvisions_library_does_not_load(tmp_path: Path) -> None:
    for has_ops in (True, False):
        folder = tmp_path / str(has_ops) / "torchvision"
        folder.mkdir(parents=True)
        for name, text in FAKE_TORCHVISION.items():
            (folder / name).write_text(text.format(has_ops=has_ops))
        code = (
            f"import sys; sys.path[:0] = [{str(folder.parent)!r}, {str(PACKAGE)!r}]; import torchvision_cpu_schemas; "
            "import torchvision; print(torchvision._meta_registrations.found)"
        )
        done = subprocess.run(
            [sys.executable, "-S", "-c", _with_site(code)], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == str(not has_ops), done.stderr


def test_it_costs_an_interpreter_no_import() -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(PACKAGE)!r}]; import torchvision_cpu_schemas; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def _with_site(code: str) -> str:
    """`code` with this interpreter's packages, but without what their `.pth` files start."""
    return f"import sys; sys.path += {[path for path in sys.path if 'site-packages' in path]!r}; {code}"
