"""Every key that our code logs is on the closed list of workers/logs.py, and every key of the list is logged.

What the list does not have is dropped at run time; here it is found before. A `**` is followed to the dictionary that
it stands for, by its name.
"""

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.house.tree import parsed, python_files, shown
from workers.logs import LOG_KEYS, MACHINE_KEYS

LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
BINDERS = {"bound_contextvars", "bind_contextvars"}
#: Arguments of the logging call itself.
NO_KEYS = {"exc_info", "stack_info"}


class LostKeysError(Exception):
    """A `**` whose keys cannot be found: log a dictionary that is written in a function or a variable of this room."""


def log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Every call that writes a line, or binds what lines say."""
    loggers = set(_aliases(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(attr=name) if name in BINDERS:
                yield node
            case ast.Attribute(attr=name, value=of) if name in LEVELS and _is_logger(of):
                yield node
            case ast.Name(id=name) if name in loggers:
                yield node
            case ast.Call(func=ast.Name(id="getattr"), args=[of, *_]) if _is_logger(of):
                yield node


def _is_logger(node: ast.AST) -> bool:
    match node:
        case ast.Name(id="_log") | ast.Attribute(attr="_log"):
            return True
        case ast.Call(func=ast.Name(id="logger")):
            return True
    return False


def _aliases(tree: ast.AST) -> Iterator[str]:
    """Names that stand for a method of a logger, such as `tell = _log.error if bad else _log.warning`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(_is_method(part) for part in _branches(node.value)):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _branches(node: ast.expr) -> list[ast.expr]:
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]


def _is_method(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in LEVELS and _is_logger(node.value)


def keys(call: ast.Call, tree: ast.AST, everything: list[ast.Module]) -> Iterator[str]:
    """The keys that a call logs."""
    for keyword in call.keywords:
        if keyword.arg is None:
            yield from _spread(keyword.value, tree, everything)
        elif keyword.arg not in NO_KEYS:
            yield keyword.arg


def _spread(value: ast.expr, tree: ast.AST, everything: list[ast.Module]) -> list[str]:
    """The keys of what stands behind `**`: a dictionary, a variable of its file, a function or property of the room."""
    match value:
        case ast.Dict():
            found = list(_literal_keys(value))
        case ast.Name(id=name):
            found = list(_of_variable(name, tree))
        case ast.Attribute(attr=name) | ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            found = [key for each in everything for key in _of_function(name, each)]
        case _:
            found = []
    if not found:
        raise LostKeysError(ast.unparse(value))
    return found


def _literal_keys(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Dict):
            yield from (str(key.value) for key in part.keys if isinstance(key, ast.Constant))


def _of_variable(name: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            match target:
                case ast.Name(id=found) if found == name and isinstance(node, ast.Assign):
                    yield from _literal_keys(node.value)
                case ast.Subscript(value=ast.Name(id=found), slice=ast.Constant(value=str(key))) if found == name:
                    yield key


def _of_function(name: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            yield from _literal_keys(node)


@cache
def logged() -> dict[str, list[str]]:
    """Where each key is logged."""
    files = {path: parsed(path) for path in python_files("workers")}
    everything = list(files.values())
    found: dict[str, list[str]] = {}
    for path, tree in files.items():
        for call in log_calls(tree):
            for key in keys(call, tree, everything):
                found.setdefault(key, []).append(f"{shown(path)}:{call.lineno}")
    return found


def test_every_key_that_is_logged_is_on_the_list():
    assert {key: places for key, places in logged().items() if key not in LOG_KEYS} == {}


def test_every_key_of_the_list_is_logged():
    assert LOG_KEYS - logged().keys() - MACHINE_KEYS == frozenset()


def test_no_room_below_logs():
    loud = [shown(path) for path in python_files("contracts", "store", "handlers") for _ in log_calls(parsed(path))]
    assert loud == []


PLANTED = {
    "a keyword": '_log.info("x", planted=1)',
    "of the object": 'self._log.warning("x", planted=1)',
    "by a chosen level": 'getattr(self._log, level)("x", planted=1)',
    "by another name": 'tell = _log.error if bad else _log.info\ntell("x", planted=1)',
    "of a fresh logger": 'logger(__name__).error("x", planted=1)',
    "bound": "structlog.contextvars.bound_contextvars(planted=1)",
    "in a dictionary": '_log.info("x", **{"planted": 1})',
    "in a variable": 'facts = {"planted": 1}\n_log.info("x", **facts)',
    "put into a variable": 'facts = {"count": 1}\nfacts["planted"] = 2\n_log.info("x", **facts)',
    "of a function": 'def wide():\n    return {"planted": 1}\n_log.info("x", **wide())',
    "of a property": 'def facts(self):\n    return {"planted": 1}\n_log.info("x", **delivery.facts)',
}


@pytest.mark.parametrize("source", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_key_is_found(source: str):
    tree = ast.parse(source)
    assert "planted" in {key for call in log_calls(tree) for key in keys(call, tree, [tree])}


def test_keys_that_cannot_be_found_are_an_error():
    tree = ast.parse('_log.info("x", **come_from_elsewhere)')
    [call] = log_calls(tree)
    with pytest.raises(LostKeysError):
        list(keys(call, tree, [tree]))
