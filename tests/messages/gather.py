"""Every sentence that the pack says to a person, as templates with ``{0}`` where a value stands, gathered from the source.

What counts, by rules and not by a list of exceptions:

- what is given to :class:`LTX2Error` and its subclasses, to ``Finding`` (text and advice), to ``Dropped`` (the reason), to
  ``MemoryPlanned`` and to a ``message(...)`` of a reporter, and what a ``__str__`` returns. Other exceptions (ValueError,
  AssertionError, NotImplementedError) are a programmer's and stay English;
- every other string that is a whole sentence: it begins with a capital or a value, has three words and ends with a full stop;
- what a reporter of a SimpleTuner import says of a key (``honoured``, ``mapped``, ``idle``), and what is given to ``say`` or ``told``;
- what those are made of: names of the same function or file, tables of text, and functions of the pack that return text. A
  constant of the file, a word or several of which a loop takes one, is part of the sentence.

A reason, which begins with a small letter because it goes on from a file's name, is two templates where a semicolon parts
what is so from what helps, since a finding shows them apart. Of a sentence on a media file, what is so is known without its name.

Left out: documentation strings, and what describes inputs (``locales/*/nodeDefs.json`` has it); and what only the command line
says, or writes into a file.

Run as a program, it names what the catalogues lack: ``python tests/messages/gather.py``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
LANGUAGES = ("ja", "zh")
COMMAND_LINE = re.compile(r"ltx2core/(cli|__main__|demo\w*|tiny\w*|full_size|commands/.*|simpletuner/canvas)\.py")
FILES = re.compile(r"ltx2core/media/(probe|image|video)\.py")
HOLE = "\0"
NUMBER = "\1"
_ERRORS = {"LTX2Error"}
_SPOKEN = {
    "Finding": ((2, "text"), (3, "advice")), "Dropped": ((1, "reason"),), "message": ((0, "text"),), "MemoryPlanned": ((5, "text"),),
    "say": ((0, "text"),), "told": ((0, "text"),), "honoured": ((2, "note"),), "mapped": ((2, "note"),), "idle": ((1, "note"),), "Row": ((4, "note"),),
    "idle_group": ((0, "reason"),),
}  # fmt: skip
_DESCRIBED = {"tooltip", "description", "help"}
_SENTENCE = re.compile(r"[A-Z\0\1].*\s.*\s.*[.…]", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]{3,}")
_MOST_VARIANTS = 12


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _body(node: ast.AST) -> list[ast.stmt]:
    """Without the documentation string."""
    body = node.body
    first = body[0] if body else None
    return body[1:] if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else body


class Pack:
    """All files of the pack, with the functions that return text and the classes of errors."""

    def __init__(self, root: Path = ROOT):
        self._root = root
        paths = sorted([*root.glob("ltx2core/**/*.py"), *root.glob("nodes/**/*.py")])
        self.files = {p.relative_to(root).as_posix(): ast.parse(p.read_text(encoding="utf-8")) for p in paths}
        self.errors = set(_ERRORS)
        self.functions: dict[str, list[tuple[str, ast.FunctionDef]]] = {}
        for file, tree in self.files.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef):
                    self.functions.setdefault(node.name, []).append((file, node))
        classes = [n for tree in self.files.values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
        while more := {c.name for c in classes if {_name(b) for b in c.bases} & self.errors} - self.errors:
            self.errors |= more

    def function(self, file: str, name: str) -> ast.FunctionDef | None:
        """The one of the same file, or the only one of this name."""
        found = self.functions.get(name, [])
        here = [f for where, f in found if where == file]
        return here[0] if len(here) == 1 else found[0][1] if len(found) == 1 else None

    def templates(self) -> dict[str, str]:
        """Template -> the file that it is said in, in the order of files and lines."""
        found: dict[str, str] = {}
        for file in self.files:
            if not COMMAND_LINE.fullmatch(file):
                for text in _Reader(self, file).read():
                    found.setdefault(written(text), file)
        for path in sorted(self._root.glob("ltx2core/presets/*.json")):
            preset = json.loads(path.read_text(encoding="utf-8"))
            for text in [preset["describes"], *(a["advice"] for a in preset["advice"])]:
                found.setdefault(text, path.relative_to(self._root).as_posix())
        return found


class _Reader:
    """Reads one file."""

    def __init__(self, pack: Pack, file: str):
        self.pack, self.file, self.said = pack, file, {}
        self._constants = _bound(pack.files[file].body)
        self._inside: list[str] = []
        self._open: set[int] = set()

    def read(self) -> Iterable[str]:
        self._walk(self.pack.files[self.file], self._constants)
        return self.said

    def _keep(self, texts: Iterable[str], whole: bool = False) -> None:
        """Take those with words, sentences alone if ``whole``; with them what was seen inside."""
        texts = list(texts)  # which fills what is inside
        inside, self._inside = self._inside, []
        kept = [t for t in (line.strip(" ,") for text in texts for line in text.split("\n")) if _SENTENCE.fullmatch(t) or not whole and _WORD.search(t) and " " in t]
        for text in [*kept, *(inside if kept or not whole else ())]:
            parts = text.split("; ") if text[0].islower() and text[-1] not in ".…" else [text]
            if FILES.fullmatch(self.file) and text.startswith(f"{HOLE} ") and "; " in text:
                parts.append(text[2:].split("; ")[0])
            self.said.update(dict.fromkeys(p for p in parts if _WORD.search(p)))

    def _walk(self, node: ast.AST, names: dict[str, list[ast.expr]]) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == "define_schema":
                return
            names = {**names, **_assigned(node)}
            if node.name == "__str__":
                self._keep(t for r in _returns(node) for t in self.texts(r, names))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for child in _body(node):
                self._walk(child, names)
            return
        if isinstance(node, ast.Call):
            self._call(node, names)
        if isinstance(node, ast.JoinedStr | ast.Constant | ast.BinOp | ast.IfExp):
            self._keep(self.texts(node, names), whole=True)
        for child in ast.iter_child_nodes(node):
            inner = isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)
            described = isinstance(child, ast.keyword) and child.arg in _DESCRIBED
            if not inner and not described:
                self._walk(child, names)

    def _call(self, call: ast.Call, names: dict[str, list[ast.expr]]) -> None:
        name = _name(call.func)
        if name in self.pack.errors:
            for given in call.args[:1]:
                self._keep(self.texts(given, names))
        for place, keyword in _SPOKEN.get(name, ()):
            given = [*call.args[place : place + 1], *(k.value for k in call.keywords if k.arg == keyword)]
            for expression in given:
                self._keep(self.texts(expression, names))

    def texts(self, node: ast.expr, names: dict[str, list[ast.expr]]) -> list[str]:
        """The forms that the expression's text can have, a hole where the value is not known before."""
        if isinstance(node, ast.Constant):
            return [node.value if isinstance(node.value, str) else HOLE]
        if isinstance(node, ast.JoinedStr):
            return _joined(self._field(v.value, names) if isinstance(v, ast.FormattedValue) else [v.value] for v in node.values)
        if isinstance(node, ast.IfExp):
            return list(dict.fromkeys(self.texts(node.body, names) + self.texts(node.orelse, names)))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return _joined([self.texts(node.left, names), self.texts(node.right, names)])
        if isinstance(node, ast.Name):
            return self._once(node.id, lambda: [t for v in names.get(node.id, ()) for t in self.texts(v, names)]) or [HOLE]
        if isinstance(node, ast.Tuple):
            return list(dict.fromkeys(t for each in node.elts for t in self.texts(each, names)))
        if isinstance(node, ast.Subscript):
            return self._looked_up(node, names) or [HOLE]
        if isinstance(node, ast.Call):
            self._returned(node, names)
        return [HOLE]

    def _looked_up(self, node: ast.Subscript, names: dict[str, list[ast.expr]]) -> list[str]:
        """The values of a table that holds text alone."""
        tables = [node.value] if isinstance(node.value, ast.Dict) else names.get(_name(node.value), ()) if isinstance(node.value, ast.Name) else ()
        values = [v.value for t in tables if isinstance(t, ast.Dict) for v in t.values if isinstance(v, ast.Constant)]
        return values if values and all(isinstance(v, str) for v in values) else []

    def _field(self, node: ast.expr, names: dict[str, list[ast.expr]]) -> list[str]:
        """A value inside a sentence: a choice between words is part of it; what a name or a function gives is a piece of its own.

        A count is known to be a number, so that no folder called "my video files" is taken for a sentence on two files.
        """
        if _counts(node):
            return [NUMBER]
        if isinstance(node, ast.IfExp | ast.Subscript):
            return self.texts(node, names)
        found = self.texts(node, names)
        if isinstance(node, ast.Name):
            if self._constant(node.id, names) and HOLE not in found and (len(found) > 1 or " " not in found[0].strip()):
                return found
            self._inside += _worded(found)
        return [HOLE]

    def _constant(self, name: str, names: dict[str, list[ast.expr]]) -> bool:
        """A literal string or several of the file, or what a loop takes of them."""
        values = names.get(name, ())
        if values and values is self._constants.get(name):
            return all(isinstance(v, ast.Tuple) or isinstance(v, ast.Constant) and isinstance(v.value, str) for v in values)
        return bool(values) and all(isinstance(v, ast.Name) and v.id != name and self._constant(v.id, names) for v in values)

    def _returned(self, call: ast.Call, names: dict[str, list[ast.expr]]) -> None:
        name = _name(call.func)
        if name == "join":
            made = [a for a in call.args if isinstance(a, ast.GeneratorExp | ast.ListComp)]
            listed = [e for m in made for e in (m.elt, *(getattr(m.generators[0].iter, "elts", ())))]
            self._inside += _worded(t for each in listed for t in self.texts(each, names))
            return
        if name == "of" and len(call.args) == 2 and isinstance(call.args[1], ast.Constant):
            self._inside += [f"1 {call.args[1].value}", f"{NUMBER} {call.args[1].value}s"]
            return
        made = self.pack.function(self.file, next((v.id for v in names.get(name, ()) if isinstance(v, ast.Name)), name))
        if made is None or made.name.startswith("__"):
            return
        inner = {**names, **_assigned(made)}
        self._inside += _worded(self._once(made.name, lambda: [t for r in _returns(made) for t in self.texts(r, inner)]))
        self._inside += _worded(a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str))

    def _once(self, key: str, make) -> list[str]:
        """Guards against names that are made of themselves."""
        if key in self._open:
            return []
        self._open.add(key)
        try:
            return make()
        finally:
            self._open.remove(key)


def _worded(texts: Iterable[str]) -> list[str]:
    """Those of more than one word, stripped; a single word may as well be a name."""
    return [s for t in texts if _WORD.search(s := t.strip(" ,\n")) and " " in s]


def _counts(node: ast.expr) -> bool:
    """``len(…)``, or such a number with another added or taken away."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        return _counts(node.left) or _counts(node.right)
    return isinstance(node, ast.Call) and _name(node.func) == "len"


def _returns(function: ast.FunctionDef) -> list[ast.expr]:
    return [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]


def _assigned(function: ast.AST) -> dict[str, list[ast.expr]]:
    """Name -> what is assigned to it in the function; parameters hide names of the file, and have their defaults."""
    given = function.args
    found: dict[str, list[ast.expr]] = {a.arg: [] for a in given.args + given.kwonlyargs}
    found |= {a.arg: [d] for a, d in zip(given.args[::-1], given.defaults[::-1], strict=False) if isinstance(d, ast.Constant | ast.Name)}
    return found | _bound(ast.walk(function), found)


def _bound(nodes: Iterable[ast.AST], found: dict[str, list[ast.expr]] | None = None) -> dict[str, list[ast.expr]]:
    """Name -> what it is assigned, or what a loop takes its values from, beside what was ``found``."""
    found = {name: list(values) for name, values in (found or {}).items()}
    for node in nodes:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) and node.value else ()
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Name):
            found.setdefault(node.target.id, []).append(node.iter)
        for target in targets:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(node.value)
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple) and len(target.elts) == len(node.value.elts):
                for t, v in zip(target.elts, node.value.elts, strict=True):
                    if isinstance(t, ast.Name):
                        found.setdefault(t.id, []).append(v)
    return found


def _joined(parts: Iterable[list[str]]) -> list[str]:
    """Every combination; where there are very many, the parts with choices stay holes."""
    parts = list(parts)
    count = 1
    for p in parts:
        count *= len(p)
    if count > _MOST_VARIANTS:
        parts = [p if len(p) == 1 else [HOLE] for p in parts]
    return ["".join(p) for p in product(*parts)]


def written(text: str) -> str:
    """``\\0 of \\1`` -> ``{0} of {1:d}``: holes numbered, neighbours as one."""
    numbers: Iterator[int] = iter(range(100))
    text = re.sub("[\0\1]*\0[\0\1]*", HOLE, text)
    return re.sub("[\0\1]", lambda m: f"{{{next(numbers)}{':d' if m[0] == NUMBER else ''}}}", text.replace("{", "{{").replace("}", "}}"))


def catalogue(language: str, root: Path = ROOT) -> dict[str, str]:
    return json.loads((root / "locales" / language / "messages.json").read_text(encoding="utf-8"))


def main() -> None:
    said = Pack().templates()
    for language in LANGUAGES:
        have = catalogue(language)
        for text, file in said.items():
            if text not in have:
                print(f"{language} lacks ({file}): {text}")
        for text in (t for t in have if t not in said and _WORD.search(t)):
            print(f"{language} has what is not said any more: {text}")


if __name__ == "__main__":
    main()
