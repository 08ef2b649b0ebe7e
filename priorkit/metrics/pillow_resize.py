"""Images as Pillow resizes them: bicubic, with anti-aliasing, in 8 bits, as the definitions of FD-DINOv2 and CMMD say."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["normalised", "pillow_resize"]


def pillow_resize(images: Tensor, side: int) -> Tensor:
    """Return images (B, 1 or 3, H, W), uint8, as (B, 3, side, side), uint8; grey ones are repeated in three channels."""
    arrays = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy()
    resized = [np.asarray(Image.fromarray(array).resize((side, side), Image.Resampling.BICUBIC)) for array in arrays]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(images.device)


def normalised(images: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """Return uint8 images (B, 3, H, W) in [0, 1], minus the mean and over the deviation of each channel, float32."""
    centre, scale = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, deviation))
    return (images.float() / 255 - centre) / scale
