"""Variants of a function that should do the same: other names, other forms. Deterministic by seed.

They give a data set enough correct solutions to learn from, and they are the starting point of mutants as
well, so that "was rewritten" says nothing about "is right". Whether a variant is right is found by executing
it.
"""

from __future__ import annotations

import ast
import builtins
import copy
import random

# Spelled as a text: one name a line would be a page.
NAMES = tuple("acc cur data elem first idx item left out part res tmp total val".split())  # noqa: SIM905
MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt,
    ast.Gt: ast.Lt,
    ast.LtE: ast.GtE,
    ast.GtE: ast.LtE,
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
}


def rewrites(function: ast.FunctionDef, seed: int | str, count: int) -> list[ast.FunctionDef]:
    """At most `count` different variants of `function`, none equal to it; fewer where nothing applies.

    Signature and docstring stay as they are.
    """
    rng = random.Random(seed)
    seen = {ast.unparse(function)}
    result: list[ast.FunctionDef] = []
    for _ in range(12 * count):
        if len(result) >= count:
            break
        variant = copy.deepcopy(function)
        # Several at once, so that few variants share a form.
        for rewrite in rng.sample(REWRITES, rng.randint(1, 3)):
            variant = rewrite(variant, rng)
        text = ast.unparse(ast.fix_missing_locations(variant))
        if text not in seen:
            seen.add(text)
            result.append(variant)
    return result


def rename(function: ast.FunctionDef, rng: random.Random) -> ast.FunctionDef:
    """Gives the local variables other names; arguments of the function itself keep theirs."""
    arguments = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    stored = [n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    used = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)} | arguments | set(dir(builtins))
    local = [name for name in dict.fromkeys(stored) if name not in arguments]
    free = [name for name in NAMES if name not in used]
    rng.shuffle(free)
    table = dict(zip(local, free, strict=False))
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id in table:
            node.id = table[node.id]
    return function


class _Rewriter(ast.NodeTransformer):
    """Applies one form change at the places that the generator picks (about two thirds of them)."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def picked(self) -> bool:
        return self.rng.random() < 0.67

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return node  # annotations are no code


class _Mirror(_Rewriter):
    """a < b becomes b > a."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) == 1 and type(node.ops[0]) in MIRRORED and self.picked():
            return ast.Compare(left=node.comparators[0], ops=[MIRRORED[type(node.ops[0])]()], comparators=[node.left])
        return node


class _Expand(_Rewriter):
    """x += y becomes x = x + y (not the same for aliased lists: execution decides)."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if not isinstance(node.target, ast.Name) or not self.picked():
            return node
        value = ast.BinOp(left=ast.Name(node.target.id, ast.Load()), op=node.op, right=node.value)
        return ast.Assign(targets=[node.target], value=value)


class _Flip(_Rewriter):
    """if a: x else: y becomes if not a: y else: x, as a statement and as an expression."""

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        # An elif would turn into another nesting; it is left alone.
        chained = len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
        if node.orelse and not chained and self.picked():
            node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
            node.body, node.orelse = node.orelse, node.body
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        if self.picked():
            node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
            node.body, node.orelse = node.orelse, node.body
        return node


class _Name(_Rewriter):
    """return EXPRESSION becomes answer = EXPRESSION; return answer."""

    def visit_Return(self, node: ast.Return) -> ast.AST | list[ast.AST]:
        if node.value is None or isinstance(node.value, ast.Name | ast.Constant) or not self.picked():
            return node
        assign = ast.Assign(targets=[ast.Name("answer", ast.Store())], value=node.value)
        return [assign, ast.Return(ast.Name("answer", ast.Load()))]


class _Unroll(_Rewriter):
    """return [f(x) for x in xs if p(x)] becomes a loop."""

    def visit_Return(self, node: ast.Return) -> ast.AST | list[ast.AST]:
        value = node.value
        if not isinstance(value, ast.ListComp) or len(value.generators) != 1:
            return node
        part = value.generators[0]
        append = ast.Attribute(ast.Name("collected", ast.Load()), "append", ast.Load())
        body: ast.stmt = ast.Expr(ast.Call(append, [value.elt], []))
        for test in reversed(part.ifs):
            body = ast.If(test=test, body=[body], orelse=[])
        return [
            ast.Assign(targets=[ast.Name("collected", ast.Store())], value=ast.List([], ast.Load())),
            ast.For(target=part.target, iter=part.iter, body=[body], orelse=[]),
            ast.Return(ast.Name("collected", ast.Load())),
        ]


class _Commute(_Rewriter):
    """a and b becomes not (not a or not b); a * b becomes b * a."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Mult) and self.picked():
            node.left, node.right = node.right, node.left
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if not self.picked():
            return node
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return ast.UnaryOp(ast.Not(), ast.BoolOp(other, [ast.UnaryOp(ast.Not(), value) for value in node.values]))


def padding(function: ast.FunctionDef, rng: random.Random) -> ast.FunctionDef:
    """Adds a statement that does nothing: `pass` somewhere in the body."""
    start = 1 if ast.get_docstring(function) is not None else 0
    function.body.insert(rng.randint(start, len(function.body) - 1), ast.Pass())
    return function


def _of(kind: type[_Rewriter]):
    def rewrite(function: ast.FunctionDef, rng: random.Random) -> ast.FunctionDef:
        visitor = kind(rng)
        function.body = [
            item
            for statement in function.body
            for item in (lambda made: made if isinstance(made, list) else [made])(visitor.visit(statement))
        ]
        return function

    return rewrite


REWRITES = [rename, padding, *map(_of, (_Mirror, _Expand, _Flip, _Name, _Unroll, _Commute))]
