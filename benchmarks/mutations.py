"""Mistakes put into the code on purpose: each must make a test of the fast suite fail.

Every row changes one place in a temporary copy of the tree and runs the test that has to notice.
A row's text has to occur exactly once in its file, so that it cannot be left behind by a change.

    python benchmarks/mutations.py                 # all rows, a table into docs/results
    python benchmarks/mutations.py --only schedule # rows whose file or test has this in its name
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "threestudio_like"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One mistake: `old` becomes `new` in a file of the package, and `test` has to fail."""

    file: str
    old: str
    new: str
    test: str


MUTATIONS = [
    Mutation(
        file="kernels/reference/gaussians.py",
        old="xx, xy = covariance[..., 0, 0] + BLUR, covariance[..., 0, 1]",
        new="xx, xy = covariance[..., 0, 0], covariance[..., 0, 1]",
        test="test_gaussians.py::test_the_definition_is_the_formula_pixel_by_pixel",
    ),
    Mutation(
        file="representations/gaussian_rules.py",
        old="rows[: len(old)] = old",
        new="rows[: len(old)] = torch.arange(len(old), device=device)",
        test="test_gaussians.py::test_densification_clones_small_ones_and_splits_large_ones",
    ),
    Mutation(
        file="meshes/io/splats/spz.py",
        old="whole = np.where(whole >= 1 << 23, whole - (1 << 24), whole)",
        new="whole = np.where(whole >= 1 << 24, whole - (1 << 24), whole)",
        test="test_splat_files.py::test_an_spz_comes_back_within_its_steps",
    ),
    Mutation(
        file="meshes/picture/render.py",
        old="left = left * (1 - opacity)",
        new="left = left - opacity",
        test="test_pictures.py::test_glass_is_blended_back_to_front_whatever_the_order_of_the_parts",
    ),
    Mutation(
        file="meshes/picture/appearance.py",
        old="1 - (1 - values.remainder(2)).abs()",
        new="values.remainder(1)",
        test="test_pictures.py::test_a_texture_is_wrapped_and_filtered_as_its_sampler_says",
    ),
    Mutation(
        file="renderers/surface.py",
        old="pixels = torch.where(through[..., None], beyond, pixels)",
        new="pixels = torch.where(through[..., None], torch.zeros_like(beyond), pixels)",
        test="test_surface.py::test_a_hole_of_a_painted_surface_shows_what_lies_behind",
    ),
    Mutation(
        file="guidance/score_distillation.py",
        old="high = max(low + 1, int(self.t_max(inputs.fraction) * last) + 1)",
        new="high = max(low + 1, int(self.t_max(inputs.fraction) * last))",
        test="test_guidance.py::test_the_last_time_step_of_the_range_is_drawn_too",
    ),
    Mutation(
        file="guidance/score_distillation.py",
        old="self.config.known_background * (opacity - mask)",
        new="self.config.known_background * 0 * (opacity - mask)",
        test="test_guidance.py::test_a_known_background_draws_the_opacity_to_the_mask",
    ),
    Mutation(
        file="guidance/score_distillation.py",
        old="return abar.sqrt() * (1 - abar)\n",
        new="return abar.sqrt() * (1 - abar).sqrt()\n",
        test="test_guidance.py::test_official_weight_makes_the_factor_abar_sqrt_one_minus_abar",
    ),
    Mutation(
        file="guidance/regularisers.py",
        old="samples.step / 3",
        new="samples.step / 2",
        test="test_guidance.py::test_distortion_equals_the_double_sum",
    ),
    Mutation(
        file="guidance/regularisers.py",
        old=".sum(-1).clamp_min(0).square()",
        new=".sum(-1).square()",
        test="test_guidance.py::test_orientation_counts_only_what_faces_away",
    ),
    Mutation(
        file="guidance/prompts.py",
        old='"back": ("front", "side"),',
        new='"back": ("back", "side"),',
        test="test_guidance.py::test_perp_neg_is_told_the_directions_that_a_view_must_not_show",
    ),
    Mutation(
        file="renderers/volume.py",
        old='z, y, x = torch.meshgrid(line, line, line, indexing="ij")',
        new='x, y, z = torch.meshgrid(line, line, line, indexing="ij")',
        test="test_fields.py::test_the_occupancy_grid_is_where_the_field_is",
    ),
    Mutation(
        file="renderers/volume.py",
        old="flat[cells] * self.config.decay",
        new="flat[cells]",
        test="test_fields.py::test_the_occupancy_grid_drops_what_is_empty_and_forgets_slowly",
    ),
    Mutation(
        file="renderers/cameras.py",
        old="(1 - pixel[..., 1] / self.height * 2) * scale,",
        new="(pixel[..., 1] / self.height * 2 - 1) * scale,",
        test="test_fields.py::test_a_point_on_a_ray_is_seen_in_its_pixel",
    ),
    Mutation(
        file="renderers/gradient_scaling.py",
        old="torch.where(grad > 0, grad, grad * factor)",
        new="torch.where(grad > 0, grad * factor, grad)",
        test="test_triplanes.py::test_scaling_that_clears_leaves_gradients_alone_that_take_away",
    ),
    Mutation(
        file="meshes/io/gltf/materials.py",
        old="r, g, b = np.minimum(to_display(np.array(linear[:3])).round(12), 1.0).tolist()",
        new="r, g, b = np.array(linear[:3]).tolist()",
        test="test_meshes.py::test_a_base_colour_factor_is_linear_in_a_file",
    ),
    Mutation(
        file="meshes/mesh.py",
        old="np.cross(corner[:, 1], corner[:, 2])).sum() / 6",
        new="np.cross(corner[:, 1], corner[:, 2])).sum() / 3",
        test="test_meshes.py::test_volume_and_area_of_a_box",
    ),
    Mutation(
        file="meshes/surface/clean.py",
        old="(edges.faces == 2) & (runs != 1)",
        new="(edges.faces == 2) & (runs > 1)",
        test="test_meshes.py::test_faces_that_run_against_their_neighbour_are_counted",
    ),
    Mutation(
        file="engine/schedule.py",
        old="            x = 0.5 - 0.5 * math.cos(math.pi * x)",
        new="            x = 0.5 + 0.5 * math.cos(math.pi * x)",
        test="test_engine.py::test_schedules",
    ),
    Mutation(
        file="engine/random.py",
        old='f"{self.seed}/{self.stage}/{self.step}/{purpose}"',
        new='f"{self.seed}/{self.step}/{purpose}"',
        test="test_engine.py::test_random_numbers_are_keyed_by_seed_stage_step_and_purpose",
    ),
    Mutation(
        file="engine/watchdog.py",
        old="return None if all(gradients)",
        new="return None if any(gradients)",
        test="test_engine.py::test_one_bad_gradient_of_several_is_noticed",
    ),
    Mutation(
        file="priors/families/views/mvdream.py",
        old="matrix = (turn @ matrix)[:, [2, 0, 1, 3]]",
        new="matrix = (turn @ matrix)[:, [0, 2, 1, 3]]",
        test="test_views.py::test_mvdreams_cameras",
    ),
    Mutation(
        file="priors/families/views/mvdream.py",
        old="place = F.normalize(matrix[:, :3, 3], dim=-1)",
        new="place = matrix[:, :3, 3]",
        test="test_views.py::test_mvdreams_cameras",
    ),
    Mutation(
        file="priors/families/views/mvdream.py",
        old="c, s = torch.cos(torch.tensor(-turned)), torch.sin(torch.tensor(-turned))",
        new="c, s = torch.cos(torch.tensor(turned)), torch.sin(torch.tensor(turned))",
        test="test_views.py::test_imagedreams_world_turns_with_the_picture",
    ),
    Mutation(
        file="priors/families/views/mvdream.py",
        old="seen = latents.to(x) * shown.view(-1, 1, 1, 1)",
        new="seen = latents.to(x).expand(groups, -1, -1, -1)",
        test="test_views.py::test_imagedream_is_the_librarys_unet_with_a_fifth_view",
    ),
    Mutation(
        file="priors/families/views/mvdream.py",
        old=").hidden_states[-2]",
        new=").hidden_states[-1]",
        test="test_views.py::test_imagedream_is_the_librarys_unet_with_a_fifth_view",
    ),
    Mutation(
        file="priors/networks/multi_view_layers.py",
        old="rows = self.norm1(x).unflatten(0, (-1, views)).flatten(1, 2)",
        new="rows = self.norm1(x).unflatten(0, (views, -1)).transpose(0, 1).flatten(1, 2)",
        test="test_views.py::test_mvdream_is_the_librarys_unet_with_dense_attention",
    ),
    Mutation(
        file="priors/networks/multi_view_layers.py",
        old="out = out + self.picture_weight * own",
        new="out = out + 0.9 * self.picture_weight * own",
        test="test_views.py::test_imagedream_is_the_librarys_unet_with_a_fifth_view",
    ),
    Mutation(
        file="priors/families/views/zero123.py",
        old="polar = reference.elevation - cameras.elevation",
        new="polar = cameras.elevation - reference.elevation",
        test="test_views.py::test_zero123s_cameras",
    ),
    Mutation(
        file="priors/families/views/zero123.py",
        old="last = torch.full_like(last, math.pi / 2 - reference.elevation)",
        new="last = torch.full_like(last, math.pi / 2 + reference.elevation)",
        test="test_views.py::test_zero123s_cameras",
    ),
    Mutation(
        file="priors/families/views/zero123.py",
        old="coded = self.vae.encode(seen.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode()",
        new="coded = self.latents.encode(seen.permute(0, 3, 1, 2) * 2 - 1)",
        test="test_views.py::test_zero123_is_the_published_formula",
    ),
    Mutation(
        file="priors/families/views/zero123plus.py",
        old="SHIFT, SCALE, CONTRAST = 0.22, 0.75, 0.5 / 0.8",
        new="SHIFT, SCALE, CONTRAST = 0.22, 0.75, 0.8 / 0.5",
        test="test_views.py::test_zero123plus_shrinks_pictures_and_shifts_latents",
    ),
    Mutation(
        file="priors/families/views/zero123plus.py",
        old="x = x.unflatten(0, (-1, ROWS, COLUMNS)).permute(0, 3, 1, 4, 2, 5)",
        new="x = x.unflatten(0, (-1, COLUMNS, ROWS)).permute(0, 3, 2, 4, 1, 5)",
        test="test_views.py::test_zero123plus_views",
    ),
    Mutation(
        file="priors/families/views/zero123plus.py",
        old="beside = select * seen.to(x) + (1 - select) * grey.to(x)",
        new="beside = select * seen.to(x)",
        test="test_views.py::test_zero123plus_is_the_librarys_unet_with_reference_attention",
    ),
    Mutation(
        file="guidance/score_distillation.py",
        old="condition.shown[count : 2 * count] = False",
        new="condition.shown[:count] = False",
        test="test_views.py::test_zero123s_gradient_is_threestudios",
    ),
]


def copy_tree(folder: Path) -> None:
    """A tree of links to the files of this one, so that a file can be replaced in it."""
    for name in (PACKAGE, "tests", "assets", "docs"):
        shutil.copytree(
            ROOT / name,
            folder / name,
            copy_function=os.symlink,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy2(ROOT / "pyproject.toml", folder)


def passes(folder: Path, test: str) -> bool:
    """Whether a test passes in a tree. Raises RuntimeError where there is no such test."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, f"tests/{test}"], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{test} cannot be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def mutated(mutation: Mutation) -> str:
    """The file's text with the mistake. Raises ValueError unless its text occurs exactly once."""
    text = (ROOT / PACKAGE / mutation.file).read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file} has {text.count(mutation.old)} times {mutation.old!r}")
    return text.replace(mutation.old, mutation.new)


def main() -> int:
    """Print the table; exit code 1 where a mistake is not noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a file's or a test's name")
    arguments = parser.parse_args()
    from tables import publish, table

    rows = [m for m in MUTATIONS if arguments.only in m.file or arguments.only in m.test]
    header, lines = ["file", "the code", "with a mistake", "test", "noticed"], []
    survived = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tree"
        folder.mkdir()
        copy_tree(folder)
        for test in dict.fromkeys(m.test for m in rows):
            if not passes(folder, test):
                raise RuntimeError(f"{test} fails without any mistake")
        for mutation in rows:
            place = folder / PACKAGE / mutation.file
            place.unlink()
            place.write_text(mutated(mutation), encoding="utf-8")
            noticed = not passes(folder, mutation.test)
            survived += not noticed
            place.unlink()
            place.symlink_to(ROOT / PACKAGE / mutation.file)
            old, new = (f"<code>{' '.join(t.split())}</code>" for t in (mutation.old, mutation.new))
            answer = "yes" if noticed else "**no**"
            lines.append([f"`{mutation.file}`", old, new, f"`{mutation.test}`", answer])
            print(*lines[-1], flush=True)
    if not arguments.only:
        publish(
            "mutations",
            "Mistakes put into the code on purpose",
            "python benchmarks/mutations.py",
            "Each mistake alone, in a copy of the tree; the test passes without it. "
            f"{len(rows) - survived} of {len(rows)} are noticed.\n\n{table(header, lines)}",
        )
    print(f"{len(rows) - survived} of {len(rows)} mistakes are noticed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
