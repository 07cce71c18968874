"""Wrong variants of a correct function: one small change of its syntax tree each, deterministic by seed.

Whether a mutant is wrong is not decided here: it is executed like everything else, and some still pass.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

# An edit finds its place again in a copy of the tree by the node's number in ast.walk order.
Edit = Callable[[Any], None]  # of the kind of node that it was made for

ARITHMETIC: dict[type[ast.operator], list[type[ast.operator]]] = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Add, ast.FloorDiv],
    ast.Div: [ast.Mult, ast.FloorDiv],
    ast.FloorDiv: [ast.Mult, ast.Mod],
    ast.Mod: [ast.FloorDiv, ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.BitXor: [ast.BitOr],
    ast.LShift: [ast.RShift],
    ast.RShift: [ast.LShift],
}
COMPARISON: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "sum": "len", "abs": "int"}
METHODS = {
    "lower": "upper",
    "upper": "lower",
    "append": "extend",
    "startswith": "endswith",
    "endswith": "startswith",
}


def mutants(function: ast.FunctionDef, seed: int | str) -> list[ast.FunctionDef]:
    """All single-edit variants of `function`, each once, none equal to it, in an order drawn from `seed`.

    Signature, decorators and docstring stay as they are.
    """
    nodes = list(ast.walk(function))
    protected = _protected(function)
    edits = [(i, edit) for i, node in enumerate(nodes) if id(node) not in protected for edit in _edits(node)]
    random.Random(seed).shuffle(edits)
    seen = {ast.unparse(function)}
    result = []
    for index, edit in edits:
        variant = copy.deepcopy(function)
        edit(list(ast.walk(variant))[index])
        ast.fix_missing_locations(variant)
        if (text := _valid(variant)) and text not in seen:
            seen.add(text)
            result.append(variant)
    return result


def _protected(function: ast.FunctionDef) -> set[int]:
    """Ids of the nodes that belong to the prompt rather than to the solution, and of annotations anywhere."""
    roots: list[ast.AST] = [function.args, *function.decorator_list]
    roots += [node.returns for node in ast.walk(function) if isinstance(node, ast.FunctionDef) and node.returns]
    roots += [
        node.annotation for node in ast.walk(function) if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation
    ]
    if ast.get_docstring(function) is not None:
        roots.append(function.body[0])
    return {id(node) for root in roots for node in ast.walk(root)}


def _valid(function: ast.FunctionDef) -> str:
    """The source text, or "" when it is not Python (`break` outside of a loop and the like)."""
    try:
        text = ast.unparse(function)
        compile(text, "mutant.py", "exec")
    except (SyntaxError, ValueError):
        return ""
    return text


def _set(**fields: object) -> Edit:
    def edit(node: ast.AST) -> None:
        for name, value in fields.items():
            setattr(node, name, value)

    return edit


def _edits(node: ast.AST) -> Iterator[Edit]:
    """The edits that apply at this node."""
    if isinstance(node, ast.BinOp | ast.AugAssign):
        yield from (_set(op=kind()) for kind in ARITHMETIC.get(type(node.op), []))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow):
        yield _swap("left", "right")
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from (_set(ops=[kind()]) for kind in COMPARISON.get(type(node.ops[0]), []))
    if isinstance(node, ast.BoolOp):
        yield _set(op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        yield lambda target: target.values.pop()
    if isinstance(node, ast.Constant):
        yield from (_set(value=value) for value in _constants(node.value))
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield _negate
    if isinstance(node, ast.If | ast.IfExp) and node.orelse:
        yield _swap("body", "orelse")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield _set(op=ast.UAdd())
    if isinstance(node, ast.Return) and node.value is not None:
        yield _set(value=ast.Constant(None))
    if isinstance(node, ast.comprehension) and node.ifs:
        yield lambda target: target.ifs.pop()
    yield from _call_edits(node)
    yield from _slice_edits(node)
    for field in ("body", "orelse"):
        block = getattr(node, field, None)
        if isinstance(block, list):
            yield from (_remove(field, i) for i, item in enumerate(block) if not _is_docstring(node, item))


def _call_edits(node: ast.AST) -> Iterator[Edit]:
    if not isinstance(node, ast.Call):
        return
    if len(node.args) >= 2 and not any(isinstance(arg, ast.Starred) for arg in node.args):
        yield lambda target: target.args.reverse()
    if isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield lambda target: setattr(target.func, "id", CALLS[target.func.id])
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield lambda target: setattr(target.func, "attr", METHODS[target.func.attr])
    if (
        isinstance(node.func, ast.Name)
        and node.func.id == "range"
        and not any(isinstance(a, ast.Starred) for a in node.args)
    ):
        stop = 0 if len(node.args) == 1 else 1
        for op in (ast.Add, ast.Sub):
            yield lambda target, op=op: target.args.__setitem__(stop, _off_by_one(target.args[stop], op()))


def _slice_edits(node: ast.AST) -> Iterator[Edit]:
    if not isinstance(node, ast.Slice):
        return
    for field in ("lower", "upper"):
        if getattr(node, field) is not None:
            yield _set(**{field: None})
            yield lambda target, field=field: setattr(target, field, _off_by_one(getattr(target, field), ast.Add()))
    if node.step is not None:
        yield _set(step=None)


def _off_by_one(value: ast.expr, op: ast.operator) -> ast.expr:
    if isinstance(value, ast.Constant) and type(value.value) is int:
        return ast.Constant(value.value + (1 if isinstance(op, ast.Add) else -1))
    return ast.BinOp(left=value, op=op, right=ast.Constant(1))


def _constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1]
    if isinstance(value, str):
        return [""] if value else [" "]
    return []


def _swap(first: str, second: str) -> Edit:
    def edit(node: ast.AST) -> None:
        one, two = getattr(node, first), getattr(node, second)
        setattr(node, first, two)
        setattr(node, second, one)

    return edit


def _negate(node: ast.If | ast.While | ast.IfExp) -> None:
    node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)


def _remove(field: str, index: int) -> Edit:
    def edit(node: ast.AST) -> None:
        block = getattr(node, field)
        del block[index]
        if field == "body" and not [item for item in block if not _is_docstring(node, item)]:
            block.append(ast.Pass())

    return edit


def _is_docstring(parent: ast.AST, item: ast.AST) -> bool:
    return (
        isinstance(parent, ast.FunctionDef)
        and bool(parent.body)
        and item is parent.body[0]
        and isinstance(item, ast.Expr)
        and isinstance(item.value, ast.Constant)
        and isinstance(item.value.value, str)
    )
