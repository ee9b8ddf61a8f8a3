"""The detector as one torch module from camera bytes to the best K boxes, made for export.

- The input is scaled by 1/255 and its channels are turned round inside the first convolution's weights.
- The K best anchors are chosen by their best class score before anything else; the distribution over box sides (DFL,
  https://arxiv.org/abs/2006.04388), the sigmoid and the anchor arithmetic are done for these K only. The sigmoid rises
  with its input, so the choice is the same as after it.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

_PIXEL_MAX = 255.0


class CompactHead(nn.Module):  # type: ignore[misc]
    """Replaces ultralytics' ``Detect``: boxes ``[N,K,4]`` xyxy in input pixels, scores ``[N,K]``, classes ``[N,K]``.

    Args:
        head: the head with its convolutions.
        height: of the input in pixels.
        width: of the input in pixels.
        top_k: so many boxes come out; at most the number of anchors.
    """

    def __init__(self, head: Any, *, height: int, width: int, top_k: int) -> None:  # noqa: ANN401 - ultralytics' head
        super().__init__()
        self.box_convolutions = head.cv2
        self.class_convolutions = head.cv3
        self.i, self.f, self.type = head.i, head.f, head.type
        self.class_count: int = head.nc
        self.bins: int = head.reg_max
        centres, strides = anchors_of([int(s) for s in head.stride], height, width)
        self.register_buffer("centres", centres)
        self.register_buffer("strides", strides)
        self.register_buffer("sides", torch.arange(self.bins, dtype=torch.float32))
        self.top_k = min(top_k, len(centres))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Features of each scale to the K best boxes."""
        count = features[0].shape[0]
        pairs = list(zip(self.box_convolutions, features, strict=True))
        raw = torch.cat([layer(x).view(count, 4 * self.bins, -1) for layer, x in pairs], dim=2)
        pairs = list(zip(self.class_convolutions, features, strict=True))
        logits = torch.cat([layer(x).view(count, self.class_count, -1) for layer, x in pairs], dim=2)
        best, index = logits.amax(dim=1).topk(self.top_k, dim=1)
        chosen = logits.gather(2, index.unsqueeze(1).expand(-1, self.class_count, -1))
        classes = chosen.argmax(dim=1).to(torch.int32)
        boxes = self._boxes(raw.gather(2, index.unsqueeze(1).expand(-1, 4 * self.bins, -1)), index)
        return boxes, best.sigmoid(), classes

    def _boxes(self, raw: Tensor, index: Tensor) -> Tensor:
        distances = raw.view(-1, 4, self.bins, self.top_k)
        if self.bins > 1:
            distances = distances.softmax(dim=2) * self.sides.view(1, 1, -1, 1)
        distances = distances.sum(dim=2).transpose(1, 2)
        centres, stride = self.centres[index], self.strides[index]
        upper_left = centres - distances[:, :, :2]
        lower_right = centres + distances[:, :, 2:]
        return torch.cat([upper_left, lower_right], dim=2) * stride


class CompactDetector(nn.Module):  # type: ignore[misc]
    """Camera bytes ``uint8[N, height, width, 3]``, blue-green-red, to the K best boxes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, frames: Tensor) -> Any:  # noqa: ANN401 - a tuple of three tensors
        """See the class."""
        return self.body(frames.to(torch.float32).permute(0, 3, 1, 2))


def anchors_of(strides: list[int], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres ``[A, 2]`` (x, y, in cells) and strides ``[A, 1]`` of all anchors, scale by scale, row by row."""
    centres, lengths = [], []
    for stride in strides:
        rows, columns = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        cells = torch.stack([columns.flatten(), rows.flatten()], dim=1).to(torch.float32) + 0.5
        centres.append(cells)
        lengths.append(torch.full((len(cells), 1), float(stride)))
    return torch.cat(centres), torch.cat(lengths)


def compact_detector(model: Any, *, height: int, width: int, top_k: int) -> CompactDetector:  # noqa: ANN401 - ultralytics
    """A detector's copy with fused batch normalisation, folded preprocessing and the compact head."""
    body = copy.deepcopy(model).float().eval()
    body = body.fuse(verbose=False)
    for layer in body.modules():
        if hasattr(layer, "forward_split") and type(layer).__name__ in {"C2f", "C3k2"}:
            layer.forward = layer.forward_split  # a Split, where chunk would export as several Slices
    fold_preprocessing(body.model[0].conv)
    body.model[-1] = CompactHead(body.model[-1], height=height, width=width, top_k=top_k)
    detector = CompactDetector(body)
    detector.requires_grad_(requires_grad=False)
    return detector


def fold_preprocessing(convolution: nn.Conv2d) -> None:
    """Let a convolution made for RGB in 0..1 take BGR in 0..255, in place."""
    with torch.no_grad():
        convolution.weight.copy_(convolution.weight.flip(1) / _PIXEL_MAX)
