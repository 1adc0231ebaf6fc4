"""The cheap way from Stage C latents to a picture: a convolutional decoder of one forward pass.

B = batch, H, W = height and width of the latents.
"""

from __future__ import annotations

from torch import Tensor, nn

# Channels after each layer; a layer marked True doubles height and width, the others leave them.
_LAYERS = ((512, False), (512, False), (256, True), (256, False), (128, True), (128, False), (128, True), (128, False))


class Previewer(nn.Module):
    """Latents (B, 16, H, W) to images (B, 3, 8H, 8W), frozen and in evaluation mode; 24x24 becomes 192x192.

    Its names of weights are those of the released previewer.safetensors.

    Source: StableCascade's `modules/previewer.py`.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 16
        for index, (channels, doubles) in enumerate(_LAYERS):
            if doubles:
                layers.append(nn.ConvTranspose2d(before, channels, 2, stride=2))
            elif index == 0:
                layers.append(nn.Conv2d(before, channels, 1))
            else:
                layers.append(nn.Conv2d(before, channels, 3, padding=1))
            layers += [nn.GELU(), nn.BatchNorm2d(channels)]
            before = channels
        self.blocks = nn.Sequential(*layers, nn.Conv2d(before, 3, 1))
        self.eval().requires_grad_(False)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, H, W) to images (B, 3, 8H, 8W) float32 in [0, 1]."""
        images: Tensor = self.blocks(latents.to(next(self.parameters()).dtype))
        return images.float().clamp(0, 1)
