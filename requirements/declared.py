# ruff: noqa: INP001 - a script beside its data, not a package
"""Print what pyproject.toml declares beside the dependencies of the product, as input for pip-compile.

``python requirements/declared.py build dev``: the tools that build the package, the tools that test it.
"""

import sys
import tomllib
from pathlib import Path

# What hatchling needs to install the project in place; it asks for it only while building.
EDITABLE = "editables"


def main() -> None:
    """Print one requirement a line for each group named on the command line."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    groups = {"build": [*project["build-system"]["requires"], EDITABLE], "dev": project["dependency-groups"]["dev"]}
    for group in sys.argv[1:]:
        sys.stdout.writelines(f"{requirement}\n" for requirement in groups[group])


if __name__ == "__main__":
    main()
