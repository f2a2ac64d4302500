"""Whether a file that the settings name can be read."""

import os
import stat
from pathlib import Path


def unreadable(path: Path) -> str | None:
    """Return why a file cannot be read, in words for the operator, or None."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"there is no file {path.absolute()}"
    except OSError as error:  # mostly: a folder on the way to it is closed to this user
        return f"{path} cannot be read: {error.strerror}"
    if not stat.S_ISREG(mode):
        return f"{path} is not a file"
    return None if os.access(path, os.R_OK) else f"{path} may not be read by this user"


def is_missing(path: Path) -> bool:
    """Tell whether a file is not there, but could be made: its folder is."""
    try:
        path.stat()
    except FileNotFoundError:
        return path.parent.is_dir()
    except OSError:
        pass
    return False
