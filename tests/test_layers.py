"""The floors of the house: nothing imports upward, and what belongs in one room stays there."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "percloss"

ROOM = {
    *("data", "degrade", "scoring", "stats", "mad", "recipes", "compat", "lab", "listening"),
    *("cli", "demo", "report", "testing", "__main__"),
}
# From the ground up: a module may import its own floor and those before it.
FLOORS: list[tuple[str, set[str]]] = [
    ("words", {"errors", "spec", "_typing", "_optional", "_files", "_nearest", "uncertainty"}),
    ("dsp", {"dsp"}),
    ("front ends", {"hearing", "frontends", "distances", "functional", "bss", "nets", "adversarial", "discriminators"}),
    ("measures", {"measure", "measures", "engine", "wrappers"}),
    (
        "views",
        {
            "_views",
            "_gathering",
            "losses",
            "metrics",
            "evaluation",
            "distribution",
            "balancing",
            "metric_gan",
            "random_resolution",
        },
    ),
    ("rooms", ROOM),
]
FLOOR = {name: number for number, (_, names) in enumerate(FLOORS) for name in names}
ROOMS = len(FLOORS) - 1

MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in MODULES}
BELOW = [path for path in MODULES if FLOOR.get(path.relative_to(ROOT).parts[0].removesuffix(".py"), ROOMS) < ROOMS]
each = pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])


def home(path: Path) -> str:
    """The module or package of the first level that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and first-level name of everything a file imports of percloss, wherever it does; "" is percloss itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [
                f"{node.module}.{alias.name}" if node.module == "percloss" else str(node.module) for alias in node.names
            ]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "percloss" and rest != "__version__":
                yield node.lineno, rest.partition(".")[0]


@each
def test_every_module_has_a_floor(path: Path) -> None:
    assert home(path) in FLOOR, f"give {home(path)} a floor in {Path(__file__).name}"


@each
def test_nothing_imports_upward(path: Path) -> None:
    own = FLOOR[home(path)]
    upward = [
        f"line {line} imports percloss{'.' * bool(name)}{name}"
        for line, name in imported(TREES[path])
        # A name of percloss itself, such as percloss.SNR, may come from any floor: for rooms only.
        if FLOOR.get(name, ROOMS) > own
    ]
    assert not upward, f"{path.name} stands on the floor of {FLOORS[own][0]}"


def bare_epsilons(tree: ast.Module) -> Iterator[int]:
    """Lines with a number so small that it can only be an epsilon, 1e-5 or 10 ** -8.

    A constant of a standard may be as small: it has a name of its own at the top of its file.
    """
    named = {part for node in tree.body if isinstance(node, ast.Assign) for part in ast.walk(node.value)}
    for node in ast.walk(tree):
        small = isinstance(node, ast.Constant) and isinstance(node.value, float) and 0 < abs(node.value) < 1e-4
        power = (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Pow)
            and getattr(node.left, "value", None) == 10
            and isinstance(node.right, ast.UnaryOp)
            and isinstance(node.right.op, ast.USub)
            and isinstance(node.right.operand, ast.Constant)
            and node.right.operand.value > 4
        )
        if (small or power) and node not in named:
            yield getattr(node, "lineno", 0)


@pytest.mark.parametrize("path", BELOW, ids=[str(path.relative_to(ROOT)) for path in BELOW])
def test_only_one_file_holds_an_epsilon(path: Path) -> None:
    """Of those that make numbers; a room may hold tolerances and thresholds."""
    if path != ROOT / "dsp" / "safe.py":
        assert not list(bare_epsilons(TREES[path])), "floors are in dB, and dsp/safe.py adds them"


@pytest.mark.parametrize("line", ["x + 1e-8", "f(x + 10 ** -7)", "x.clamp(10.0**-5)", "def f(x, eps=1e-8): return x"])
def test_an_epsilon_would_be_found(line: str) -> None:
    assert list(bare_epsilons(ast.parse(line)))


@pytest.mark.parametrize("line", ["x + 1e-3", "-120.0", "10 ** (db / 10)", "x ** -2", "2**-15", "CALIBRATION = 6.9e-6"])
def test_what_is_no_epsilon_passes(line: str) -> None:
    assert not list(bare_epsilons(ast.parse(line)))


@each
def test_a_library_does_not_print(path: Path) -> None:
    if home(path) in ("cli", "__main__"):
        return
    calls = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)]
    printed = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not printed


@each
def test_users_meet_no_assert_and_no_bare_except(path: Path) -> None:
    for node in ast.walk(TREES[path]):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise a named error"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), (
            f"line {node.lineno}: name the exception"
        )


def test_the_imports_of_a_file_are_read_in_every_form() -> None:
    source = (
        "import percloss.losses\nfrom percloss import metrics, __version__\nimport percloss\nimport torch\n"
        "def f():\n    from percloss.measures.ratios import SNR\nfrom percloss import SNR\n"
    )
    names = [name for _, name in imported(ast.parse(source))]
    assert sorted(names) == ["", "SNR", "losses", "measures", "metrics"]


def test_distances_own_no_tensor() -> None:
    module = importlib.import_module("percloss.distances")
    assert not [
        name for name, value in vars(module).items() if type(value).__name__ in ("Tensor", "Parameter", "Module")
    ]
