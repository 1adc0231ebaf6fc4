"""Images to Stage C latents: the features of an EfficientNetV2-S, mapped to 16 normalised channels.

B = batch, H, W = height and width of the images.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import efficientnet_v2_s

STRIDE = 32
# Of ImageNet, channels red, green, blue of images in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class EfficientNetEncoder(nn.Module):
    """Stable Cascade's semantic compressor, frozen and in evaluation mode.

    Its names of weights are those of the released effnet_encoder.safetensors. ImageNet's mean and deviation, which that
    file does not hold, are applied inside; the last BatchNorm has no weights, so latents have mean 0 and deviation 1.

    Source: StableCascade's `modules/effnet.py` and the preprocessing of its `train/train_c.py`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = efficientnet_v2_s(weights=None).features
        self.mapper = nn.Sequential(nn.Conv2d(1280, 16, 1, bias=False), nn.BatchNorm2d(16, affine=False))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1], RGB, to latents (B, 16, H/32, W/32) float32.

        Raises:
            ValueError: not images of floats, or a height or width that is not a multiple of 32.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"images must be floats of shape (B, 3, H, W), got {images.dtype} of shape {tuple(images.shape)}"
            )
        height, width = images.shape[2:]
        if height % STRIDE or width % STRIDE or not height or not width:
            raise ValueError(
                f"images must be a multiple of {STRIDE} pixels high and wide, got {height}x{width}; resize or crop them"
            )
        images = images.float()
        mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
        normalised = ((images - mean) / deviation).to(next(self.parameters()).dtype)
        latents: Tensor = self.mapper(self.backbone(normalised))
        return latents.float()
