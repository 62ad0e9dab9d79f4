"""The definition of rasterisation, interpolation, texture lookup and antialiasing, in plain torch,
on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .edges import covers, edge_functions, working

_CANDIDATES = 1 << 19
"""Number of pixel candidates that are held in memory at once."""


def _pixel_boxes(corners: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Pixel ranges (F, 4) row begin, row end, column begin, column end; the whole picture for a
    triangle across the camera plane."""
    w = corners[..., 3]
    front = (w > 1e-6).all(-1)
    safe = torch.where(front[:, None], w, torch.ones_like(w))
    x, y = (
        (corners[..., 0] / safe + 1) * (width / 2) - 0.5,
        (1 - corners[..., 1] / safe) * (height / 2) - 0.5,
    )
    box = torch.stack(
        [y.amin(1).floor(), y.amax(1).ceil() + 1, x.amin(1).floor(), x.amax(1).ceil() + 1], 1
    )
    whole = torch.tensor([0, height, 0, width], dtype=box.dtype, device=box.device)
    box = torch.where(front[:, None], box, whole)
    limit = torch.tensor([height, height, width, width], dtype=box.dtype, device=box.device)
    box = box.clamp_min(0).minimum(limit).long()
    return torch.where((w > 0).any(-1)[:, None], box, torch.zeros_like(box))


def rasterize(
    clip: torch.Tensor,  # [V, 4] or [B, V, 4]
    tri: torch.Tensor,  # [F, 3] int
    height: int,
    width: int,
) -> torch.Tensor:  # [H, W, 4] or [B, H, W, 4]: u, v, z/w, triangle + 1 (0 where nothing is hit)
    """The nearest triangle of every pixel centre, OpenGL convention, row 0 at the top; of equally
    near ones the first.

    Which pixels a triangle covers is the rule of `reference.edges`, in float64 where the device has
    that. Differentiable in `clip` through u, v and z/w.
    """
    if clip.ndim == 3:
        return torch.stack([rasterize(one, tri, height, width=width) for one in clip])
    faces, points = tri.long(), working(clip)
    with torch.no_grad():
        hit = _nearest(points, faces, height, width=width, kind=clip.dtype)
    return _weights(points, faces, hit, height=height, width=width).to(clip.dtype)


@torch.no_grad()
def peel(
    clip: torch.Tensor,  # [B, V, 4]
    tri: torch.Tensor,  # [F, 3] int
    height: int,
    width: int,
    beyond: torch.Tensor,  # [B, H, W] z/w
) -> torch.Tensor:  # [B, H, W, 4], as of `rasterize`
    """The nearest triangle of every pixel centre that lies strictly behind `beyond`. Not
    differentiable.
    """
    faces, out = tri.long(), []
    for points, depth in zip(working(clip), beyond.to(clip)):
        hit = _nearest(
            points, faces, height, width=width, kind=clip.dtype, beyond=depth.reshape(-1)
        )
        out.append(_weights(points, faces, hit, height=height, width=width))
    return torch.stack(out).to(clip)


def _weights(
    clip: torch.Tensor, faces: torch.Tensor, hit: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """The picture (H, W, 4) of the numbers + 1 (H * W,) of the triangles that are seen."""
    pixels = hit.nonzero()[:, 0]
    corners = clip[faces[hit[pixels] - 1]]
    e = edge_functions(corners, pixels // width, pixels % width, height=height, width=width)
    share = e / e.sum(1, keepdim=True)
    # Weights over w: z/w is e . z over e . w, which is not zero where a triangle is seen.
    depth = (e * corners[..., 2]).sum(1) / (e * corners[..., 3]).sum(1)
    rows = torch.cat([share[:, :2], depth[:, None], hit[pixels, None].to(clip)], 1)
    return clip.new_zeros(height * width, 4).index_copy(0, pixels, rows).view(height, width, 4)


def _nearest(
    clip: torch.Tensor,
    faces: torch.Tensor,
    height: int,
    width: int,
    kind: torch.dtype,
    beyond: torch.Tensor | None = None,
) -> torch.Tensor:
    """Number + 1 of the nearest triangle of every pixel (H * W,) int64, of those behind the z/w
    `beyond` (H * W,) if it is given. Depths are compared as numbers of a kind."""
    nothing = len(faces) + 1
    corners = clip[faces]
    box = _pixel_boxes(corners, height, width)
    size = (box[:, 1] - box[:, 0]).clamp_min(0) * (box[:, 3] - box[:, 2]).clamp_min(0)
    depth = torch.full((height * width,), 2.0, dtype=kind, device=clip.device)
    first = torch.full((height * width,), nothing, device=clip.device)
    order = torch.arange(len(faces), device=clip.device)[size > 0]
    # Triangles in groups whose candidates fit the budget; a group never reorders the triangles.
    ends = size[order].cumsum(0)
    group = (ends - 1) // _CANDIDATES
    for number in torch.unique_consecutive(group).tolist():
        triangles = order[group == number]
        owner = triangles.repeat_interleave(size[triangles])
        index = torch.arange(len(owner), device=clip.device) - (
            ends[group == number] - size[triangles]
        ).sub(ends[group == number][0] - size[triangles][0]).repeat_interleave(size[triangles])
        columns = (box[:, 3] - box[:, 2])[owner]
        row, column = box[owner, 0] + index // columns, box[owner, 2] + index % columns
        inside, e = covers(corners[owner], row, column, height=height, width=width)
        row, column, owner, e = row[inside], column[inside], owner[inside], e[inside]
        z = (e * corners[owner, :, 2]).sum(1) / (e * corners[owner, :, 3]).sum(1)
        z, pixel = z.to(kind), row * width + column
        seen = (z >= -1) & (z <= 1)
        if beyond is not None:
            seen &= z > beyond[pixel]
        pixel, z, owner = pixel[seen], z[seen], owner[seen]
        nearer = depth.scatter_reduce(0, pixel, z, "amin")
        won = z == nearer[pixel]
        mine = torch.full_like(first, nothing).scatter_reduce(0, pixel[won], owner[won], "amin")
        first = torch.where(nearer < depth, mine, first)
        depth = nearer
    return torch.where(first < nothing, first + 1, torch.zeros_like(first))


def interpolate(
    attributes: torch.Tensor,  # [V, C]
    tri: torch.Tensor,  # [F, 3] int
    pixels: torch.Tensor,  # [(B,) H, W, 4] from `rasterize`
) -> torch.Tensor:  # [(B,) H, W, C], zero where nothing is hit
    """Perspective-correct vertex attributes at every pixel. Differentiable in `attributes` and in
    u, v of `pixels`."""
    hit = pixels[..., 3].long() - 1
    if len(tri) == 0:
        none = attributes.new_zeros(*hit.shape, attributes.shape[1])
        # With a gradient of zero in both.
        return none + 0 * attributes.sum() + 0 * pixels[..., :1]
    corners = tri.long()[hit.clamp_min(0)]
    u, v = pixels[..., 0:1], pixels[..., 1:2]
    value = (
        attributes[corners[..., 0]] * u
        + attributes[corners[..., 1]] * v
        + attributes[corners[..., 2]] * (1 - u - v)
    )
    return value * (hit >= 0)[..., None]


def silhouette_pairs(
    clip: torch.Tensor,  # [V, 4]
    edges: torch.Tensor,  # [E, 2] int
    opposite: torch.Tensor,  # [E, 2] int, -1 for none
    pixels: torch.Tensor,  # [H, W, 4]
) -> torch.Tensor:  # [N, 3] int64: inside pixel, outside pixel, edge
    """Pixel pairs that a silhouette edge separates, one edge a pair: the outermost. Not
    differentiable."""
    height, width, _ = pixels.shape
    edges, opposite, clip = edges.long(), opposite.long(), working(clip)
    w = clip[:, 3]
    safe = torch.where(w > 1e-6, w, torch.ones_like(w))
    screen = torch.stack(
        [(clip[:, 0] / safe + 1) * (width / 2) - 0.5, (1 - clip[:, 1] / safe) * (height / 2) - 0.5],
        1,
    )
    depth = clip[:, 2] / safe
    a, b = screen[edges[:, 0]], screen[edges[:, 1]]
    d = b - a
    o = screen[opposite.clamp_min(0)] - a[:, None]
    turn = (d[:, None, 0] * o[..., 1] - d[:, None, 1] * o[..., 0]) * (opposite >= 0)
    behind = (w[edges] <= 1e-6).any(1) | ((w[opposite.clamp_min(0)] <= 1e-6) & (opposite >= 0)).any(
        1
    )
    silhouette = ~behind & (turn[:, 0] * turn[:, 1] >= 0) & (turn != 0).any(1)
    side = torch.where(turn[:, 1] != 0, turn[:, 1], turn[:, 0])
    steep = d[:, 1].abs() >= d[:, 0].abs()
    swap = torch.where(steep, 1, 0)
    p0, p1 = a.gather(1, swap[:, None])[:, 0], b.gather(1, swap[:, None])[:, 0]
    q0, q1 = a.gather(1, 1 - swap[:, None])[:, 0], b.gather(1, 1 - swap[:, None])[:, 0]
    limit = torch.where(steep, height, width)
    begin = torch.minimum(p0, p1).ceil().clamp_min(0).long()
    end = torch.minimum(torch.maximum(p0, p1).ceil().long(), limit)
    span = ((end - begin).clamp_min(0) * (silhouette & (p0 != p1))).long()
    edge = torch.arange(len(edges), device=clip.device).repeat_interleave(span)
    p = torch.arange(len(edge), device=clip.device) - (span.cumsum(0) - span)[edge] + begin[edge]
    s = (p - p0[edge]) / (p1 - p0)[edge]
    q = q0[edge] + s * (q1 - q0)[edge]
    # A pixel on a left or top edge is inside, and one on a right or bottom edge is outside.
    first = q.ceil().long() - 1
    larger = torch.where(steep, (side < 0) == (d[:, 1] > 0), (side > 0) == (d[:, 0] > 0))[edge]
    inner, outer = torch.where(larger, first + 1, first), torch.where(larger, first, first + 1)
    keep = (first >= 0) & (first + 1 < torch.where(steep, width, height)[edge])
    edge, p, q, s, first, inner, outer, larger = (
        t[keep] for t in (edge, p, q, s, first, inner, outer, larger)
    )
    on_rows = steep[edge]
    inside = torch.where(on_rows, p * width + inner, inner * width + p)
    outside = torch.where(on_rows, p * width + outer, outer * width + p)
    flat = pixels.reshape(-1, 4)
    z = depth[edges[edge, 0]] + s * (depth[edges[edge, 1]] - depth[edges[edge, 0]])
    z_in, z_out = flat[inside, 2], flat[outside, 2]
    open_ = (flat[outside, 3] == 0) | ((z_out > z + 0.25 * (z_out - z_in).abs()) & (z_out > z_in))
    keep = (flat[inside, 3] > 0) & open_
    edge, q, first, larger, inside, outside, on_rows, p = (
        t[keep] for t in (edge, q, first, larger, inside, outside, on_rows, p)
    )
    outward = torch.where(larger, first + 1 - q, q - first)
    pair = torch.where(on_rows, p * width + first, first * width + p) * 2 + (~on_rows).long()
    # The outermost edge of a pair, of equals the first: sort by pair, then outward from large to
    # small, then edge.
    order = torch.argsort(edge, stable=True)
    order = order[torch.argsort(outward[order], descending=True, stable=True)]
    order = order[torch.argsort(pair[order], stable=True)]
    new = torch.ones(len(order), dtype=torch.bool, device=clip.device)
    new[1:] = pair[order][1:] != pair[order][:-1]
    return torch.stack([inside, outside, edge], 1)[order[new]]


def blend(
    colour: torch.Tensor,  # [H, W, C]
    clip: torch.Tensor,  # [V, 4]
    edges: torch.Tensor,  # [E, 2] int
    pairs: torch.Tensor,  # [N, 3] int64 from `silhouette_pairs`
) -> torch.Tensor:  # [H, W, C]
    """Give each pixel of a pair the share of the other one's colour that the edge lies within it.
    Differentiable in both."""
    height, width, channels = colour.shape
    flat = colour.reshape(-1, channels)
    inside, outside, edge = pairs.unbind(1)
    steep = (inside - outside).abs() == 1
    ends = clip[edges.long()[edge]]
    screen = torch.stack(
        [
            (ends[..., 0] / ends[..., 3] + 1) * (width / 2) - 0.5,
            (1 - ends[..., 1] / ends[..., 3]) * (height / 2) - 0.5,
        ],
        -1,
    )
    # Coordinates along the edge's main axis (p) and across it (q).
    p = torch.where(steep[:, None], screen[..., 1], screen[..., 0])
    q = torch.where(steep[:, None], screen[..., 0], screen[..., 1])
    at = torch.where(steep, inside // width, inside % width)
    crossing = q[:, 0] + (at - p[:, 0]) / (p[:, 1] - p[:, 0]) * (q[:, 1] - q[:, 0])
    centre_in = torch.where(steep, inside % width, inside // width)
    centre_out = torch.where(steep, outside % width, outside // width)
    # How far the edge stands out beyond the border between the two pixels, in pixels within [-0.5,
    # 0.5].
    beyond = (crossing - centre_in) * (centre_out - centre_in) - 0.5
    step = flat[inside] - flat[outside]
    change = flat.new_zeros(flat.shape)
    change = change.index_add(0, outside, beyond.clamp_min(0)[:, None] * step)
    change = change.index_add(0, inside, beyond.clamp_max(0)[:, None] * step)
    return (flat + change).view(height, width, channels)


def _averages(old: int, new: int, like: torch.Tensor) -> torch.Tensor:  # [new, old], rows of sum 1
    """The weights of texels in averages over `new` equal stretches of a row of `old` texels."""
    edges = torch.arange(new + 1, dtype=torch.float64) * (old / new)
    texel = torch.arange(old, dtype=torch.float64)
    high = torch.minimum(edges[1:, None], texel + 1)
    return ((high - torch.maximum(edges[:-1, None], texel)).clamp_min(0) * (new / old)).to(like)


def pyramid(texels: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """The texture [1, C, H, W] and its halvings, `levels` + 1 in all at most: level k has
    H // 2^k x W // 2^k texels, at least one, each the average of the texture over its area.

    Averages of 2 x 2 texels are that while a size can be halved; an odd row is shared by its
    neighbours. Differentiable.
    """
    out, whole = [texels], texels
    height, width = texels.shape[-2:]
    while len(out) <= levels and max(out[-1].shape[-2:]) > 1:
        above = out[-1]
        if above is whole and all(n % 2 == 0 for n in above.shape[-2:]):
            whole = F.avg_pool2d(above, 2)
            out.append(whole)
            continue
        # From the texture itself: parts of texels of a level above are not parts of its own.
        high, wide = (max(1, n >> len(out)) for n in (height, width))
        down, across = (_averages(old, new, texels) for old, new in ((height, high), (width, wide)))
        out.append(down @ (texels @ across.t()))
    return out


def texture(
    texels: torch.Tensor,  # [1, C, Ht, Wt], row 0 at v = 1
    uv: torch.Tensor,  # [..., 2], v upwards
    level: torch.Tensor | None = None,  # [...] mip level, 0 = full resolution
    mode: str = "bilinear",
) -> torch.Tensor:  # [..., C]
    """Texture lookup, clamped at the border; between two levels of the pyramid where `level` is
    given.

    Differentiable in `texels`, and in `uv` for the bilinear mode.
    """
    shape = uv.shape[:-1]
    grid = torch.stack([uv[..., 0] * 2 - 1, 1 - uv[..., 1] * 2], -1).reshape(1, 1, -1, 2)

    def look(image: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)[
            0, :, 0
        ].t()

    if level is None:
        return look(texels).reshape(*shape, -1)
    flat = level.detach().reshape(-1, 1).clamp_min(0)
    highest = int(flat.max().ceil()) if flat.numel() else 0
    images = pyramid(texels, highest)
    flat = flat.clamp_max(len(images) - 1)
    total = flat.new_zeros(flat.shape[0], texels.shape[1])
    for number, image in enumerate(images):
        share = (1 - (flat - number).abs()).clamp_min(0)
        if number == 0 or bool((share > 0).any()):
            total = total + share * look(image)
    return total.reshape(*shape, -1)
