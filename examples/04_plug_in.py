"""A preset of one's own: Latent-NeRF with a stronger guidance, as a plug-in would publish it. Run:
python examples/04_plug_in.py

Give the file to any command (threestudio-like generate "a red chair" --system bold --plugins
examples/04_plug_in.py), or name it in the pyproject.toml of a package of your own:

    [project.entry-points."threestudio_like.systems"]
    bold = "my_package:BOLD"

examples/plug_ins has one file for each kind of thing that can be added.
"""

from threestudio_like.engine.config import update
from threestudio_like.systems.registry import SYSTEMS, configuration, names
from threestudio_like.systems.system import SystemKind
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf


def bold() -> LatentNerf:
    """The default configuration with guidance 12."""
    return update(LatentNerf(), {"distil": {"guidance": {"scale": 12.0}}})


BOLD = SYSTEMS.add(
    "bold",
    SystemKind(
        summary="latent-nerf with guidance 12", task="text-to-3d", presets={"default": bold}
    ),
)

if __name__ == "__main__":
    print("systems:", ", ".join(names("generate")))
    print("bold ->", configuration("bold").distil.guidance)
