"""Whether a file that the settings name can be read."""

import os
from pathlib import Path


def unreadable(path: Path) -> str | None:
    """Return why a file cannot be read, in words for the operator, or None."""
    if not path.exists():
        return f"there is no file {path.absolute()}"
    if not path.is_file():
        return f"{path} is not a file"
    return None if os.access(path, os.R_OK) else f"{path} may not be read by this user"
