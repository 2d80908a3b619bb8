"""The weights inside an ONNX file, read without the onnx package."""

from pathlib import Path

import torch
from torch import Tensor

from percloss.errors import ArgumentError
from percloss.nets._protobuf import integers, messages

# Field numbers of onnx.proto3: ModelProto.graph, GraphProto.initializer; then of TensorProto.
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9
_FLOAT32 = 1


def initializers(path: Path, *, net: str) -> dict[str, Tensor]:
    """The float32 constants of a model's graph, by name.

    Raises:
        ArgumentError: Not an ONNX file.
    """
    found = {}
    try:
        for graph in messages(memoryview(path.read_bytes()), _GRAPH):
            for tensor in messages(graph, _INITIALIZER):
                if integers(tensor, _TYPE) != [_FLOAT32]:
                    continue
                (name,) = messages(tensor, _NAME)
                (data,) = (*messages(tensor, _RAW), *messages(tensor, _FLOATS))
                values = torch.frombuffer(bytearray(data), dtype=torch.float32)
                found[bytes(name).decode()] = values.reshape(integers(tensor, _DIMS))
    except (RuntimeError, ValueError) as error:  # RuntimeError: torch, of a shape that does not fit
        raise ArgumentError(f"{net}: {path} cannot be read as an ONNX model ({error}); give an .onnx file.") from error
    return found
