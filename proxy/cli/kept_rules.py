"""The rules in force, those that the API made included, which are in the store."""

from proxy.cli.exits import refuse
from proxy.config.settings import Settings
from proxy.core.rules import RuleSet
from proxy.storage.layout import Layout


def has_store(settings: Settings) -> bool:
    """Tell whether there is a store already, or leave where that cannot be seen."""
    database = Layout(settings.storage.path).database
    try:
        database.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        refuse(f"{database} cannot be looked at ({error.strerror}), and the API may have made rules in it")
    return True


def rules_in_force(settings: Settings) -> RuleSet:
    """Return the rules of the configuration and those that the API made; without a store there are none of these."""
    if not has_store(settings):
        return RuleSet.of(settings)
    from proxy.cli.store import rules_of_store  # noqa: PLC0415 - the product, where there is something for it to open

    return rules_of_store(settings)
