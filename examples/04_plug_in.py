"""A system of one's own: Latent-NeRF with a stronger guidance, as a plug-in would publish it. Run:
python examples/04_plug_in.py

In a package of your own, name it in pyproject.toml:

    [project.entry-points."threestudio_like.systems"]
    bold = "my_package:BOLD"
"""

from threestudio_like.engine.config import update
from threestudio_like.systems.system import Registered
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf


def bold() -> LatentNerf:
    """The default configuration with guidance 12."""
    return update(LatentNerf(), {"distil": {"guidance": {"scale": 12.0}}})


BOLD = Registered("bold", "latent-nerf with guidance 12", {"default": bold})

if __name__ == "__main__":
    print(BOLD.name, "->", BOLD.presets["default"]().distil.guidance)
