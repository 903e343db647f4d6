"""`make compiled`: the simulator and the cores it runs, compiled to C with mypyc, into build/compiled.

Law: changes how fast histories are simulated, never what happens in them; a test compares the facts. The sources stay
as they are: a copy is compiled, in which every value (see model/values.py) is written out as a plain class, because
that is what mypyc makes fast. Everything works without: a lab without a C compiler simulates two to three times slower.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sim"))

from hvcluster.sim.overlay import HOME, MARK, MODULES, ROOT, compiled_modules, current, fingerprint, sources

COPY = HOME / "source"
WORK = HOME / "work"
LOG = HOME / "build.log"

HOT = {
    "hvcluster.model": {"codec", "scsi", "votes"},
    "hvcluster.sim": {
        "clients", "guests", "judge", "judge_disks", "judge_raft", "judge_witness", "machines", "network", "sides",
        "storage", "strikes", "world",
    },
}  # fmt: skip
"""What is compiled of these packages; of the cores, everything but what follows."""

UNKNOWN_TO_MYPYC = {"vhd"}
"""Modules with a construct that mypyc refuses."""

SETUP = """\
from setuptools import setup
from mypyc.build import mypycify

flags = ["--explicit-package-bases", "--namespace-packages", "--ignore-missing-imports"]
setup(name="compiled", packages=[], ext_modules=mypycify(flags + {files!r}, opt_level="3", debug_level="0"))
"""


def is_hot(module: str, path: Path, text: str) -> bool:
    """Whether a module is compiled; the others are copied only so that mypyc knows their types.

    A module that defines dataclasses is left as it is: mypyc would forget what is in the brackets of their fields'
    types, which the codec reads, and compare them by identity.
    """
    package, _, name = module.rpartition(".")
    if path.name == "__init__.py" or "\n@dataclass" in text:
        return False
    if package in HOT:
        return name in HOT[package]
    return ".core." in module and name not in UNKNOWN_TO_MYPYC


class Plainer(ast.NodeTransformer):
    """Writes values out as plain classes; has exceptions made by Python."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """One class."""
        marks = {ast.unparse(mark).partition("(")[0] for mark in node.decorator_list}
        if "value" in marks:
            return written_out(node)
        if any(ast.unparse(base).endswith("Error") for base in node.bases):  # mypyc makes no native exceptions
            node.decorator_list.append(ast.parse("mypyc_attr(native_class=False)", mode="eval").body)
        return node


def written_out(node: ast.ClassDef) -> ast.ClassDef:
    """A value without its decorator: fields declared, and the methods that `dataclass` would have made."""
    fields: list[tuple[str, str, str]] = []  # name, type, default with its sign
    body: list[ast.stmt] = []
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and "ClassVar" not in ast.unparse(line.annotation):
            assert isinstance(line.target, ast.Name)
            default = f" = {ast.unparse(line.value)}" if line.value is not None else ""
            fields.append((line.target.id, ast.unparse(line.annotation), default))
            line = ast.AnnAssign(line.target, line.annotation, None, 1)
        body.append(line)
    names = [name for name, _, _ in fields]
    arguments = "".join(f", {name}: {kind}{default}" for name, kind, default in fields)
    keep = [f"    self.{name} = {name}" for name in names] or ["    pass"]
    same = " and ".join(f"self.{name} == other.{name}" for name in names) or "True"
    key = "".join(f"self.{name}, " for name in names)
    shown = ", ".join(f"{name}={{self.{name}!r}}" for name in names)
    methods = [
        f"__match_args__ = {tuple(names)!r}",
        f"def __init__(self{arguments}) -> None:", *keep,
        "def __eq__(self, other: object) -> bool:",
        f"    return isinstance(other, {node.name}) and {same}",
        "def __hash__(self) -> int:",
        f"    return hash(({key}))",
        "def __repr__(self) -> str:",
        f"    return f'{node.name}({shown})'",
    ]  # fmt: skip
    node.body = [*body, *ast.parse("\n".join(methods)).body]
    node.decorator_list = []
    return node


def plain_text(text: str) -> str:
    """A module as mypyc gets it."""
    tree = Plainer().visit(ast.parse(text))
    at = next(at for at, line in enumerate(tree.body) if isinstance(line, ast.ImportFrom)) + 1
    tree.body.insert(at, ast.parse("from mypy_extensions import mypyc_attr").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def copied() -> Iterator[str]:
    """Copy all sources; yields the files to compile, named from the copy's root."""
    shutil.rmtree(COPY, ignore_errors=True)
    for module, path in sources():
        place = COPY.joinpath(*module.split("."))
        file = place / "__init__.py" if path.name == "__init__.py" else place.with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8")
        hot = is_hot(module, path, text)
        file.write_text(plain_text(text) if hot else text, encoding="utf-8")
        if hot:
            yield str(file.relative_to(COPY))
    for package in ("node", "san"):  # their shells are not copied
        (COPY / "hvcluster" / package / "__init__.py").touch()


def obstacle() -> str | None:
    """What is missing to compile, with the remedy; None when nothing is."""
    compiler = (os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")).split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler}); on Debian: apt-get install gcc"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Python.h is missing; on Debian: apt-get install python3-dev"
    absent = [name for name in ("mypyc", "setuptools") if importlib.util.find_spec(name) is None]
    if absent:
        return f"{' and '.join(absent)} missing; make setup-dev installs what is needed"
    return None


def build() -> bool:
    """Compile everything; False when that fails, the log says why."""
    MARK.unlink(missing_ok=True)
    shutil.rmtree(MODULES, ignore_errors=True)
    shutil.rmtree(WORK, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    mark = fingerprint()
    files = list(copied())
    (COPY / "setup.py").write_text(SETUP.format(files=files), encoding="utf-8")
    print(f"compiling {len(files)} modules; that takes a minute or two ...", flush=True)
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", str(MODULES), "--build-temp", str(WORK)]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    with LOG.open("w", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=COPY, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode == 0:
        MARK.write_text(mark + "\n", encoding="utf-8")
    return done.returncode == 0


def main() -> int:
    """Compile, unless what is there fits the sources; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--if-possible", action="store_true", help="succeed when something to compile with is missing")
    parser.add_argument("--again", action="store_true", help="compile although nothing has changed")
    asked = parser.parse_args()
    if not asked.again and current():
        print("compiled: nothing has changed")
        return 0
    missing = obstacle()
    if missing is not None:
        print(f"not compiled: {missing}. Everything works without; simulating is only slower.", file=sys.stderr)
        return 0 if asked.if_possible else 1
    began = time.monotonic()
    if not build():
        last = LOG.read_text(encoding="utf-8").splitlines()[-5:]
        print("\n".join(["not compiled; the last lines of " + str(LOG.relative_to(ROOT)), *last]), file=sys.stderr)
        return 0 if asked.if_possible else 1
    print(f"compiled {len(compiled_modules())} modules in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
