"""Pinhole cameras. +Y up, cameras look down -Z (OpenGL), azimuth 0 is the front (+Z)."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Cameras:
    """A batch of pinhole cameras.

    camera_to_world (B, 4, 4); fov_y (B,) radians; height, width in pixels; azimuth, elevation (B,)
    radians and distance (B,) describe cameras that look at the origin and feed view-dependent
    prompts and camera-conditioned priors.
    """

    camera_to_world: torch.Tensor
    fov_y: torch.Tensor
    height: int
    width: int
    azimuth: torch.Tensor
    elevation: torch.Tensor
    distance: torch.Tensor

    def __len__(self) -> int:
        return int(self.camera_to_world.shape[0])

    @property
    def device(self) -> torch.device:
        """The device of the cameras' tensors, on which rays and matrices are created."""
        return self.camera_to_world.device

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras on another device."""
        return Cameras(
            self.camera_to_world.to(device),
            self.fov_y.to(device),
            self.height,
            width=self.width,
            azimuth=self.azimuth.to(device),
            elevation=self.elevation.to(device),
            distance=self.distance.to(device),
        )

    def __getitem__(self, index: slice | torch.Tensor | list[int]) -> Cameras:
        return Cameras(
            self.camera_to_world[index],
            self.fov_y[index],
            self.height,
            width=self.width,
            azimuth=self.azimuth[index],
            elevation=self.elevation[index],
            distance=self.distance[index],
        )

    @staticmethod
    def orbit(
        azimuth: torch.Tensor,
        elevation: torch.Tensor,
        distance: torch.Tensor | float,
        fov_y: torch.Tensor | float,
        height: int,
        width: int,
        target: torch.Tensor | None = None,
        up: torch.Tensor | None = None,
        moved: torch.Tensor | None = None,
    ) -> Cameras:
        """Cameras on a sphere about the origin that look at `target`.

        Args:
            azimuth, elevation: (B,) radians.
            distance, fov_y: (B,) or a number, in scene units and radians.
            target: (B, 3) points to look at; the origin by default.
            up: (B, 3) up vectors; +Y by default.
            moved: (B, 3) by which the eyes leave the sphere; azimuth, elevation and distance stay
                those of the sphere, as view-dependent prompts are to see them.
        """
        count = azimuth.shape[0]
        distance = torch.as_tensor(distance, dtype=torch.float32).expand(count)
        fov_y = torch.as_tensor(fov_y, dtype=torch.float32).expand(count)
        eye = distance[:, None] * torch.stack(
            [elevation.cos() * azimuth.sin(), elevation.sin(), elevation.cos() * azimuth.cos()], -1
        )
        if moved is not None:
            eye = eye + moved
        back = eye - target if target is not None else eye
        back = torch.nn.functional.normalize(back, dim=-1)
        up = torch.tensor([0.0, 1.0, 0.0]).expand(count, 3) if up is None else up
        right = torch.linalg.cross(up, back)
        # For a camera straight above the object +Y is no valid up vector, so the one that continues
        # the azimuth is used.
        pole = right.norm(dim=-1, keepdim=True) < 1e-5
        right = torch.where(
            pole, torch.stack([azimuth.cos(), azimuth * 0, -azimuth.sin()], -1), right
        )
        right = torch.nn.functional.normalize(right, dim=-1)
        matrix = torch.zeros(count, 4, 4)
        matrix[:, :3, 0], matrix[:, :3, 1], matrix[:, :3, 2], matrix[:, :3, 3] = (
            right,
            torch.linalg.cross(back, right),
            back,
            eye,
        )
        matrix[:, 3, 3] = 1
        return Cameras(
            matrix,
            fov_y,
            height,
            width=width,
            azimuth=azimuth,
            elevation=elevation,
            distance=distance,
        )

    def resized(self, height: int, width: int) -> Cameras:
        """The same cameras with a different picture size."""
        return Cameras(
            self.camera_to_world,
            self.fov_y,
            height,
            width=width,
            azimuth=self.azimuth,
            elevation=self.elevation,
            distance=self.distance,
        )

    def rays_at(
        self, pixels: torch.Tensor, jitter: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Origins and unit directions, both (P, 3), of rays given by their index in the flattened
        (B, H, W) bundle.

        Args:
            pixels: (P,) int64.
            jitter: (P, 2) offsets in pixels in [-0.5, 0.5].
        """
        camera = pixels // (self.height * self.width)
        rest = pixels % (self.height * self.width)
        point = torch.stack([rest % self.width, rest // self.width], -1) + 0.5
        if jitter is not None:
            point = point + jitter
        scale = torch.tan(self.fov_y / 2)[camera]
        x = (point[:, 0] / self.width * 2 - 1) * scale * (self.width / self.height)
        y = (1 - point[:, 1] / self.height * 2) * scale
        local = torch.stack([x, y, -torch.ones_like(x)], -1)
        frame = self.camera_to_world[camera]
        directions = torch.nn.functional.normalize(
            (frame[:, :3, :3] @ local[:, :, None])[:, :, 0], dim=-1
        )
        return frame[:, :3, 3], directions

    def rays(self, jitter: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Origins and unit directions, both (B, H, W, 3), through pixel centres.

        Args:
            jitter: (B, H, W, 2) offsets in pixels in [-0.5, 0.5].
        """
        rows, columns = (
            torch.arange(size, device=self.device) + 0.5 for size in (self.height, self.width)
        )
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        pixel = torch.stack([x, y], -1)[None].expand(len(self), -1, -1, -1)
        if jitter is not None:
            pixel = pixel + jitter
        scale = torch.tan(self.fov_y / 2)[:, None, None]
        aspect = self.width / self.height
        local = torch.stack(
            [
                (pixel[..., 0] / self.width * 2 - 1) * scale * aspect,
                (1 - pixel[..., 1] / self.height * 2) * scale,
                -torch.ones(len(self), self.height, self.width, device=self.device),
            ],
            -1,
        )
        directions = torch.nn.functional.normalize(
            torch.einsum("bij,bhwj->bhwi", self.camera_to_world[:, :3, :3], local), dim=-1
        )
        return self.camera_to_world[:, None, None, :3, 3].expand_as(directions), directions

    def view_projection(self, near: float = 0.1, far: float = 100.0) -> torch.Tensor:
        """World to clip space (B, 4, 4), OpenGL convention."""
        f = 1 / torch.tan(self.fov_y / 2)
        projection = torch.zeros(len(self), 4, 4, device=self.device)
        projection[:, 0, 0], projection[:, 1, 1] = f * self.height / self.width, f
        projection[:, 2, 2], projection[:, 2, 3] = (
            (far + near) / (near - far),
            2 * far * near / (near - far),
        )
        projection[:, 3, 2] = -1
        return projection @ torch.linalg.inv(self.camera_to_world)

    def ray_maps(self, height: int, width: int) -> torch.Tensor:
        """For every pixel of a (height, width) latent, the point of its ray that is nearest to the
        origin, and the ray's direction: (B, 6, H, W)."""
        origins, directions = self.resized(height, width).rays()
        nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
        return torch.cat([nearest, directions], -1).permute(0, 3, 1, 2).contiguous()
