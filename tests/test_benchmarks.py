"""A published figure must carry what is needed to doubt it: device, threads, versions, settings, its rivals."""

import json
from pathlib import Path

import jsonschema
import pytest

RESULTS = sorted((Path(__file__).resolve().parents[1] / "benchmarks" / "results").glob("*.json"))
SCHEMA = {
    "type": "object",
    "required": ["schema", "benchmark", "device", "threads", "revision", "versions", "settings", "rows"],
    "properties": {
        "schema": {"const": 1},
        "threads": {"type": "integer", "minimum": 1},
        "revision": {"type": "string", "minLength": 7},
        "versions": {"type": "object", "required": ["torch", "percloss"]},
        "rows": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "required": ["contender", "ms", "speedup", "peak, inputs"],
                "properties": {"ms": {"exclusiveMinimum": 0}, "speedup": {"exclusiveMinimum": 0}},
            },
        },
    },
}


def test_there_are_results() -> None:
    assert RESULTS


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_a_result_says_how_it_was_measured(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(found, SCHEMA)
    assert path.name.startswith(found["benchmark"])
    assert not found["revision"].endswith("-dirty"), "commit before measuring, so that the revision says what was run"
