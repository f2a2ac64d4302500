"""What an upload is, as it is kept beside its bytes."""

import os
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from proxy.core.upload_ports import UploadRecord

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def parse_id(text: str) -> UUID | None:
    """Return the id that `text` spells, or None: only the usual spelling counts, in lower case and with hyphens."""
    try:
        upload = UUID(text)
    except ValueError:
        return None
    # The constructor also takes braces, "urn:uuid:", capitals, and the digits of every script.
    return upload if str(upload) == text else None


def new_id(record: UploadRecord) -> UUID:
    """Return the id of an upload that is to begin; another one than a UUID is an error of the caller."""
    upload = parse_id(record.id)
    if upload is None:
        raise ValueError("the id of an upload is a UUID in lower case")
    return upload


def write_record(path: Path, record: UploadRecord) -> None:
    """Write a new file at `path`, or leave none; raise FileExistsError where there is one already."""
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        remaining = memoryview(msgspec.json.encode(record))
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def read_record(path: Path, upload: UUID) -> UploadRecord | None:
    """Return the record at `path`; None where there is none, or not one of this upload: power loss can cut it."""
    try:
        record = msgspec.json.decode(path.read_bytes(), type=UploadRecord)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return record if record.id == str(upload) else None
