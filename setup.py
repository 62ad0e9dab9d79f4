"""Puts the sample files of assets/ into the built package; all else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SAMPLES = ("shapes", "pictures", "meshes")


class BuildWithSamples(build_py):
    """`build_py`, and threestudio_like/assets beside the modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # The checkout has them.
        source = Path(__file__).parent / "assets"
        target = Path(self.build_lib) / "threestudio_like" / "assets"
        for kind in SAMPLES:
            shutil.copytree(source / kind, target / kind, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithSamples})
