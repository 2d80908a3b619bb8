"""The variables of a TensorFlow checkpoint, read without TensorFlow.

A checkpoint is a table (``*.index``, in LevelDB's form) of where each variable lies, and the numbers themselves
(``*.data-00000-of-00001``). Formats: ``tensor_bundle.proto`` of TensorFlow, ``table_format.md`` of LevelDB.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from percloss.errors import ArgumentError
from percloss.nets._protobuf import Message, integers, messages, varint

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
# Field numbers of BundleEntryProto; of TensorShapeProto and its Dim; and DT_FLOAT.
_TYPE, _SHAPE, _OFFSET, _SIZE, _DIM, _FLOAT32 = 1, 2, 4, 5, 2, 1


def variables(index: Path, *, net: str) -> dict[str, Tensor]:
    """The float32 variables of a checkpoint of one shard, by name.

    Args:
        index: The ``.index`` file; the data stand beside it.
        net: Who asks, for the message.

    Raises:
        ArgumentError: Not such a checkpoint.
    """
    shard = index.with_name(index.name.removesuffix(".index") + ".data-00000-of-00001")
    try:
        table, data = memoryview(index.read_bytes()), memoryview(shard.read_bytes())
        # The row without a name is the header.
        rows = ((name, entry) for name, entry in _table(table) if name and integers(entry, _TYPE) == [_FLOAT32])
        return {name: _variable(entry, data) for name, entry in rows}
    except (
        OSError,
        IndexError,
        RuntimeError,
        ValueError,
    ) as error:  # RuntimeError: torch, of a shape that does not fit
        raise ArgumentError(
            f"{net}: {index} cannot be read as a TensorFlow checkpoint ({error}); needed are a .index file and "
            f"{shard.name} beside it, as the package has them."
        ) from error


def _variable(entry: Message, data: Message) -> Tensor:
    # A number that is 0 is left out of a protocol buffer.
    offset = sum(integers(entry, _OFFSET))
    (size,) = integers(entry, _SIZE)
    shape = [sum(integers(dim, 1)) for part in messages(entry, _SHAPE) for dim in messages(part, _DIM)]
    return torch.frombuffer(bytearray(data[offset : offset + size]), dtype=torch.float32).reshape(shape)


def _table(table: Message) -> Iterator[tuple[str, Message]]:
    """Key and value of every row: the footer names the index block, whose rows name the blocks of data."""
    footer = table[-_FOOTER:]
    if len(footer) < _FOOTER or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("it is not a table")
    at = 0
    for _ in range(2):  # the place of the meta index, which nobody reads
        _, at = varint(footer, at)
    for _, handle in _rows(_block(table, footer[at:])):
        for key, value in _rows(_block(table, handle)):
            yield key.decode(), value


def _block(table: Message, handle: Message) -> Message:
    offset, at = varint(handle, 0)
    size, _ = varint(handle, at)
    if table[offset + size] != 0:
        raise ValueError("its table is compressed")
    return table[offset : offset + size]


def _rows(block: Message) -> Iterator[tuple[bytes, Message]]:
    """A key shares its beginning with the one before it; where that starts afresh is listed at the end."""
    restarts = int.from_bytes(block[-4:], "little")
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        size, at = varint(block, at)
        key = key[:shared] + bytes(block[at : at + fresh])
        yield key, block[at + fresh : at + fresh + size]
        at += fresh + size
