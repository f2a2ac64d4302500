"""The record of a fill: what processes tell each other about it, in the first bytes of its control file.

::

    offset 0   64 bytes, written by one pwrite: magic, version, state, length of the JSON, total, watermark,
               process id, boot id, CRC-32 of all that
    offset 64  JSON: {"route": ..., "validator": ...}, written before the record that gives its length

``pwrite`` and ``pread``, never a mapping: a store into a mapped file on a full disk is a SIGBUS. The watermark is
kept here because the size of the file of bytes may be ahead of what was written to its end.
"""

import json
import os
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from proxy.core.fills.ports import Origin

_HEAD = struct.Struct("<4sBBHqQI16s16x")
_CHECK = struct.Struct("<I")
_SIZE = _HEAD.size + _CHECK.size
_MAGIC = b"fill"
_VERSION = 1
_UNKNOWN = -1
_LONGEST_ORIGIN = 4096


class Stage(IntEnum):
    """How far a fill has come, as a number in its record."""

    FILLING = 0
    COMMITTED = 1
    UNCACHED = 2
    FAILED = 3
    DISCARDED = 4


@dataclass(frozen=True, slots=True)
class Record:
    """One state of a fill. `boot` names the run of the machine in which it was written."""

    stage: Stage
    total: int | None
    watermark: int
    origin_size: int
    boot: bytes


def write_origin(descriptor: int, origin: Origin) -> int:
    """Write `origin` into the control file and return its length, for the record."""
    text = json.dumps({"route": origin.route, "validator": origin.validator}).encode()
    if len(text) > _LONGEST_ORIGIN:
        return 0  # an absurd entity tag: resume without it
    os.pwrite(descriptor, text, _SIZE)
    return len(text)


def read_origin(descriptor: int, record: Record) -> Origin:
    """Return the origin in a control file; an unknown one where its writer died in the middle."""
    text = os.pread(descriptor, record.origin_size, _SIZE)
    try:
        found = json.loads(text)
        return Origin(str(found["route"]), str(found["validator"]))
    except (ValueError, KeyError, TypeError):
        return Origin()


def write_record(descriptor: int, record: Record) -> None:
    """Replace the record of a control file."""
    total = _UNKNOWN if record.total is None else record.total
    head = _HEAD.pack(
        _MAGIC, _VERSION, record.stage, record.origin_size, total, record.watermark, os.getpid(), record.boot
    )
    os.pwrite(descriptor, head + _CHECK.pack(zlib.crc32(head)), 0)


def read_record(descriptor: int) -> Record | None:
    """Return the record of a control file; None where none was written yet, or not by this version."""
    data = os.pread(descriptor, _SIZE, 0)
    if len(data) < _SIZE or _CHECK.unpack_from(data, _HEAD.size)[0] != zlib.crc32(data[: _HEAD.size]):
        return None
    magic, version, stage, origin_size, total, watermark, _, boot = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        return None
    return Record(Stage(stage), None if total == _UNKNOWN else total, watermark, origin_size, boot)


def read_boot_id() -> bytes:
    """Return what tells this run of the machine from others; zeros where the system does not say."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return bytes(16)
    return bytes.fromhex(text.strip().replace("-", ""))
