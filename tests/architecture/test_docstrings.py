"""Words in the code: numpydoc for what users call, a line and a paragraph for the rest.

Public is what an `__all__` lists, and its methods. Its docstrings are checked on the imported
objects: numpydoc's own hook reads the source only, where the fields of a dataclass are no
parameters. Everything else is read as source.
"""

import ast
import inspect
import pkgutil
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from numpydoc.validate import validate

import skmixed
from skmixed import bayes, datasets, display, distributed, exceptions, inference, model_selection

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
IGNORED = set(SETTINGS["tool"]["numpydoc_validation"]["checks"]) - {"all"}
# A property, or a method without arguments, may say it all in one line.
SECTIONS = {"PR01", "RT01", "YD01"}
HEADING = re.compile(r"^ *[A-Z][A-Za-z ]+\n *-{3,} *$", re.MULTILINE)
ARRAYS = re.compile(r"\b(FloatArray|IntArray|BoolArray|NDArray|ndarray|Blocks)\b")
FILES = sorted(path for path in (ROOT / "skmixed").rglob("*.py"))


def public_things():
    """Return the public classes and functions by the names they are imported under."""
    rooms = (bayes, datasets, display, distributed, exceptions, inference, model_selection)
    modules = (skmixed, *rooms)
    listed = [
        getattr(module, name) for module in modules for name in getattr(module, "__all__", [])
    ]
    things = {thing.__name__: thing for thing in listed if callable(thing)}
    return list(things.values())


def members_of(thing):
    """Yield the public methods and properties of a class that this package defines."""
    for name in dir(thing):
        member = inspect.getattr_static(thing, name)
        function = getattr(member, "fget", None) or getattr(member, "__func__", None) or member
        function = getattr(function, "func", function)  # of a cached property
        is_ours = (getattr(function, "__module__", "") or "").startswith("skmixed")
        if not name.startswith("_") and inspect.isfunction(inspect.unwrap(function)) and is_ours:
            yield name, inspect.unwrap(function)


@cache
def public_names():
    """Return where everything public is defined, as module and qualified name."""
    names = set()
    for thing in public_things():
        names.add((thing.__module__, thing.__qualname__))
        if inspect.isclass(thing):
            names |= {(part.__module__, part.__qualname__) for _, part in members_of(thing)}
    return names


def faults(name):
    """Return numpydoc's errors that count for one object."""
    report = validate(name)
    is_line = "\n" not in (report["docstring"] or "").strip()
    return [
        f"{name}: {code} {text}"
        for code, text in report["errors"]
        if code not in IGNORED and not (is_line and code in SECTIONS) and not is_private(code, text)
    ]


def is_private(code, text):
    """Tell whether undocumented parameters are private fields of a dataclass."""
    names = text.partition("{")[2].partition("}")[0].replace("'", "").split(", ")
    return code == "PR01" and all(name.startswith("_") for name in names)


@pytest.mark.parametrize("thing", public_things(), ids=lambda thing: thing.__name__)
def test_public_docstring_is_numpydoc_and_complete(thing):
    path = f"{thing.__module__}.{thing.__qualname__}"
    names = [path]
    if inspect.isclass(thing):
        names += [f"{path}.{name}" for name, _ in members_of(thing)]
    found = [fault for name in names for fault in faults(name)]
    assert not found, "\n".join(found)
    sections = inspect.getdoc(thing).splitlines()
    if thing.__module__ != "skmixed.exceptions":
        for title in ["See Also", "Examples"]:
            assert title in sections
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            if inspect.isfunction(member) and not name.startswith("_"):
                assert "Returns" in inspect.getdoc(member).splitlines(), name


@cache
def parsed(path):
    return ast.parse(path.read_text("utf-8"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def definitions(node, prefix=""):
    """Yield the classes and functions of a module with their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
            inner = "." if isinstance(child, ast.ClassDef) else ".<locals>."
            yield from definitions(child, prefix + child.name + inner)
        elif isinstance(child, ast.If | ast.With | ast.Try):
            yield from definitions(child, prefix)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_internal_docstring_is_a_line_and_at_most_one_paragraph(path):
    assert ast.get_docstring(parsed(path))
    for name, node in definitions(parsed(path)):
        text = ast.get_docstring(node)
        if text is None or (module_of(path), name) in public_names():
            continue
        where = f"{path.relative_to(ROOT)}:{node.lineno} {name}"
        assert not HEADING.search(text), f"{where}: sections are for public objects"
        assert len(re.split(r"\n\s*\n", text.strip())) <= 2, f"{where}: more than one paragraph"


def is_number(node):
    """Tell whether an expression is a number, or a tuple or product of numbers."""
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, ast.UnaryOp):
        return is_number(node.operand)
    if isinstance(node, ast.BinOp):
        return is_number(node.left) and is_number(node.right)
    return isinstance(node, ast.Tuple) and bool(node.elts) and all(map(is_number, node.elts))


def numeric_constants(path):
    for node in parsed(path).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and is_number(getattr(node, "value", None)):
            yield target.id, node.lineno


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_numeric_constant_has_its_reason_on_its_line(path):
    lines = path.read_text("utf-8").splitlines()
    bare = [
        f"{path}:{at} {name}" for name, at in numeric_constants(path) if "#" not in lines[at - 1]
    ]
    assert not bare, "\n".join(bare)


def test_numeric_constant_stands_once():
    names = Counter(name for path in FILES for name, _ in numeric_constants(path))
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_array_of_an_internal_dataclass_has_its_shape_on_its_line(path):
    lines = path.read_text("utf-8").splitlines()
    for name, node in definitions(parsed(path)):
        is_dataclass = isinstance(node, ast.ClassDef) and any(
            "dataclass" in ast.unparse(decorator) for decorator in node.decorator_list
        )
        if not is_dataclass or (module_of(path), name) in public_names():
            continue
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and ARRAYS.search(ast.unparse(field.annotation)):
                shown = "\n".join(lines[field.lineno - 1 : field.end_lineno])
                assert "#" in shown, f"{path}:{field.lineno} {ast.unparse(field.target)}"


def test_no_two_classes_or_modules_have_one_name():
    classes = Counter(
        name
        for path in FILES
        for name, node in definitions(parsed(path))
        if isinstance(node, ast.ClassDef) and "." not in name
    )
    modules = Counter(path.stem.lstrip("_") for path in FILES if path.stem != "__init__")
    assert not [name for name, count in classes.items() if count > 1]
    assert not [name for name, count in modules.items() if count > 1]


def test_every_module_can_be_walked():
    names = {module.name for module in pkgutil.walk_packages(skmixed.__path__, "skmixed.")}
    assert names | {"skmixed"} == {module_of(path) for path in FILES}
