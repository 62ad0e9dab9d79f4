"""Framing of pictures for networks: the object is centred and scaled to fill the frame, on grey;
and the inverse map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

FILL = 0.85
"""Share of the frame's edge that the longer side of the object's bounding box takes."""


@dataclass(frozen=True)
class Similarity:
    """The square that was cut out of a picture: `side` source pixels wide, centred at (x, y) in
    source pixels from the top left corner."""

    x: float
    y: float
    side: float

    def to_source(self, points: torch.Tensor) -> torch.Tensor:
        """Map positions (..., 2) in the frame, in [0, 1], to pixels of the source."""
        return (points - 0.5) * self.side + points.new_tensor([self.x, self.y])

    def to_frame(self, points: torch.Tensor) -> torch.Tensor:
        """Map positions (..., 2) in pixels of the source to the frame's [0, 1]."""
        return (points - points.new_tensor([self.x, self.y])) / self.side + 0.5


def boxes(alpha: torch.Tensor, threshold: float = 0.1) -> torch.Tensor:
    """Bounding boxes (B, 4) (left, top, right, bottom) in pixels of alphas (B, H, W) in [0, 1]; the
    whole picture if it is transparent."""
    full = alpha > threshold
    out = []
    for rows, columns in zip(full.any(2), full.any(1)):
        y, x = rows.nonzero()[:, 0], columns.nonzero()[:, 0]
        if len(y) == 0:
            out.append([0, 0, alpha.shape[2], alpha.shape[1]])
        else:
            out.append([int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1])
    return torch.tensor(out, dtype=torch.float32)


def similarities(box: torch.Tensor, fill: float = FILL) -> list[Similarity]:
    """The squares that frame bounding boxes (B, 4)."""
    side = (box[:, 2:] - box[:, :2]).amax(1) / fill
    centre = (box[:, :2] + box[:, 2:]) / 2
    return [Similarity(float(c[0]), float(c[1]), float(s)) for c, s in zip(centre, side)]


def cut(pictures: torch.Tensor, frames: list[Similarity], size: int) -> torch.Tensor:
    """Cut squares (B, C, size, size) out of pictures (B, C, H, W), with zero outside of the
    picture. Each pixel is the average of the source pixels that it covers."""
    height, width = pictures.shape[-2:]
    out = []
    for picture, f in zip(pictures, frames):
        # Two samples along the edge of a pixel if the source is finer than the frame, and more if
        # it is much finer.
        many = max(1, min(8, round(f.side / size)))
        line = (torch.arange(size * many) + 0.5) / (size * many)
        y, x = torch.meshgrid(line, line, indexing="ij")
        place = f.to_source(torch.stack([x, y], -1))
        grid = place / place.new_tensor([width, height]) * 2 - 1
        sampled = F.grid_sample(
            picture[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
        )
        out.append(F.avg_pool2d(sampled, many)[0] if many > 1 else sampled[0])
    return torch.stack(out)


def framed(
    pictures: torch.Tensor,
    size: int,
    level: float,
    jitter: torch.Tensor | None = None,
    fill: float = FILL,
) -> torch.Tensor:
    """Frame pictures (B, H, W, 4) uint8 with alpha: (B, size, size, 3) in [0, 1], with the object
    centred on grey of `level`.

    Args:
        jitter: (B, 3) errors of scale, x and y, as shares of the frame.
    """
    x = pictures.permute(0, 3, 1, 2).float() / 255
    frames = similarities(boxes(x[:, 3]), fill)
    if jitter is not None:
        frames = [
            Similarity(
                f.x + float(j[1]) * f.side, f.y + float(j[2]) * f.side, f.side * (1 + float(j[0]))
            )
            for f, j in zip(frames, jitter)
        ]
    x = torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1)
    framed_pictures = cut(x, frames, size)
    return (
        (framed_pictures[:, :3] + (1 - framed_pictures[:, 3:]) * level)
        .permute(0, 2, 3, 1)
        .clamp(0, 1)
    )


def released(pictures: torch.Tensor, size: int = 224, level: float = 240 / 255) -> torch.Tensor:
    """The released transform (METHODS 2.2): (B, H, W, 4) uint8 to (B, size, size, 3) in [0, 1].

    Fully transparent pixels become grey, then follow a centre crop to 128/137 of the edge and a
    resize.
    """
    x = pictures.float() / 255
    x = torch.where(x[..., 3:] == 0, level, x[..., :3]).permute(0, 3, 1, 2)
    edge = round(x.shape[-1] * 128 / 137)
    margin = (x.shape[-1] - edge) // 2
    x = x[..., margin : margin + edge, margin : margin + edge]
    return F.interpolate(
        x, (size, size), mode="bilinear", align_corners=False, antialias=edge > size
    ).permute(0, 2, 3, 1)
