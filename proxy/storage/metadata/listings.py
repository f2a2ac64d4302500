"""The `Listings` port in SQL."""

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from proxy.core.ports import Listing
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.provenances import OnDatabase, replacing
from proxy.storage.metadata.schema import listings


class SqlListings(OnDatabase):
    """Lists as upstreams gave them."""

    async def listing(self, repository: RepositoryName, key: str, source: str) -> Listing | None:
        """Return the list kept under `key` that came from `source`, or None."""
        query = select(listings.c.document, listings.c.checked_at, listings.c.failed_at).where(
            listings.c.repository == repository, listings.c.key == key, listings.c.source == source
        )
        row = await self._database.look_up("listings.listing", lambda c: c.execute(query).one_or_none())
        return None if row is None else Listing(*row)

    async def keep_listing(self, repository: RepositoryName, key: str, source: str, listing: Listing) -> None:
        """Keep a list, replacing any under `key`."""
        statement = insert(listings).values(
            repository=repository,
            key=key,
            source=source,
            document=listing.document,
            checked_at=listing.checked_at,
            failed_at=listing.failed_at,
        )
        await self._database.write("listings.keep_listing", lambda c: c.execute(replacing(statement)), durable=False)
