"""A function fits on a screen."""

import ast
from collections.abc import Iterator

from tests.house.tree import ROOMS, parsed, python_files, shown

LINES_MAX = 70

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_no_function_is_longer_than_a_screen():
    long = [
        f"{shown(path)}:{function.lineno} {function.name} has {length} lines"
        for path in python_files(*ROOMS, "deploy", "tests")
        for function, length in _lengths(parsed(path))
        if length > LINES_MAX
    ]
    listing = "\n".join(long)
    assert not long, (
        f"split these at their steps, each a function named for what it does ({LINES_MAX} at most):\n{listing}"
    )


def test_a_docstring_and_decorators_do_not_count():
    source = '@first\n@second\ndef one():\n    """Say.\n\n    More.\n    """\n    return 1\n'
    assert [length for _, length in _lengths(ast.parse(source))] == [2]


def test_methods_and_inner_and_async_functions_count():
    source = "class A:\n    async def b(self):\n        def c():\n            pass\n        c()\n"
    assert {function.name: length for function, length in _lengths(ast.parse(source))} == {"b": 4, "c": 2}


def _lengths(tree: ast.Module) -> Iterator[tuple[Function, int]]:
    """Every function with its lines, from `def` to the last one, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node, _span(node) - _docstring_span(node)


def _docstring_span(function: Function) -> int:
    return 0 if ast.get_docstring(function, clean=False) is None else _span(function.body[0])


def _span(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1
