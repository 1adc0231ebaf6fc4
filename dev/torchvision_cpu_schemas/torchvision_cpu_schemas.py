"""Lets `import torchvision` work where torch is a CPU build and torchvision is a CUDA build.

torchvision's compiled library does not load then, and its Python side fails with "operator torchvision::nms does not
exist" when it registers shapes for operators that nobody declared; timm, torchmetrics, lightning and diffusers fail
with it. This module, imported at every interpreter's start by the `.pth` file beside it (so in workers and
subprocesses too), declares the two operators just before that. Where torchvision's own library loads it does nothing.
For development and CI; a user installs a torchvision that fits their torch.
"""

from __future__ import annotations

import sys

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared = []  # a torch.library.Library takes its declarations back when it is collected


class DeclareBeforeRegistrations:
    """A finder that finds nothing itself: it only looks on as torchvision is imported."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """Declare what is missing when torchvision is about to register shapes."""
        if name == "torchvision._meta_registrations":
            sys.meta_path.remove(self)
            if not sys.modules["torchvision.extension"]._has_ops():
                _declare()


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    _declared.append(library)


sys.meta_path.insert(0, DeclareBeforeRegistrations())
