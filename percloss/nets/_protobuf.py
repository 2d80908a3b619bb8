"""Protocol buffers, read without a schema compiler: a message is keys, lengths and bytes."""

from collections.abc import Iterator

Message = memoryview


def fields(message: Message) -> Iterator[tuple[int, int | Message]]:
    """Field number and value, in the order of the file: an integer, or bytes.

    Raises:
        ValueError: Not a message.
    """
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(message):
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, message[at : at + size]
        at += size


def messages(message: Message, number: int) -> Iterator[Message]:
    """The values of one field that are bytes: strings, tensors, messages."""
    return (value for key, value in fields(message) if key == number and isinstance(value, Message))


def integers(message: Message, number: int) -> list[int]:
    """The values of one field of integers, one by one or packed."""
    found = []
    for key, value in fields(message):
        if key != number:
            continue
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = varint(value, at)
            found.append(one)
    return found


def varint(message: Message, at: int) -> tuple[int, int]:
    """The integer that begins at a byte, seven bits a byte with the lowest first, and where the next thing begins.

    Raises:
        ValueError: The bytes end before it does.
    """
    number = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
    raise ValueError("it ends in the middle of a number")
