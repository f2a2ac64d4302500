"""Run Alembic's migrations on a database that needs them."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from proxy.storage.errors import SchemaTooNewError, StoreUnusableError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, path: Path, current: set[str]) -> None:
    """Bring the database from the revisions `current` to the newest, in the transaction that is under way.

    Raises `SchemaTooNewError` where one of them is not known here; `path` is for the message.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))  # ConfigParser interpolates
    config.attributes["connection"] = connection
    unknown = current - {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if unknown:
        raise SchemaTooNewError(
            f"The metadata database {path} was written by a newer version of pullthrough "
            f"(schema {', '.join(sorted(unknown))}): run that version or a later one, "
            "or set storage.path to another folder."
        )
    command.upgrade(config, "head")
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        raise StoreUnusableError(
            f"The metadata database {path} was left as it was, because {len(broken)} of its rows point to rows that "
            "do not exist: restore the file from a backup, or remove it to start with an empty cache."
        )
