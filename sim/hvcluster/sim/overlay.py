"""The compiled simulator: where `make compiled` puts it, whether it is what the sources say, and how to run on it.

Law: knows nothing of clusters and imports nothing that is compiled. A compiled module takes the place of its source
only all together and before any of them is loaded, and only for histories that are run, never where tests change them.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
"""The source tree; where hvcluster is installed without one there is nothing compiled either."""

HOME: Final = ROOT / "build" / "compiled"
MODULES: Final = HOME / "lib"
MARK: Final = HOME / "fingerprint"

SWITCH: Final = "HVCLUSTER_COMPILED"
"""Environment: `no` runs the sources although they are compiled. Worker processes inherit it."""

TREES: Final = {
    "hvcluster.model": "model/hvcluster/model",
    "hvcluster.node.core": "node/hvcluster/node/core",
    "hvcluster.san.core": "san/hvcluster/san/core",
    "hvcluster.sim": "sim/hvcluster/sim",
}
"""Packages that take part, and where their sources are."""

COMPILER: Final = "tools/compile.py"


def sources(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """Every source file that takes part: its module's name and its path, in a fixed order."""
    for package, folder in TREES.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), path


def fingerprint(root: Path = ROOT) -> str:
    """One word for all sources, what compiles them, and the interpreter they are compiled for."""
    found = hashlib.blake2b(f"{sys.version} {platform.machine()}".encode(), digest_size=16)
    for name, path in (*sources(root), (COMPILER, root / COMPILER)):
        found.update(name.encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def current() -> bool:
    """Whether there are compiled modules, made of the sources as they are now."""
    return MARK.exists() and MARK.read_text(encoding="utf-8").strip() == fingerprint()


def missing() -> str | None:
    """Why the compiled simulator cannot be used now; None when it can."""
    if os.environ.get(SWITCH, "").lower() in ("no", "0", "false"):
        return f"{SWITCH} says no"
    if not MARK.exists():
        return "it is not compiled (make compiled)"
    if not current():
        return "the sources have changed since it was compiled (make compiled)"
    loaded = sorted(name for name in compiled_modules() if name in sys.modules)
    if loaded:
        return f"{loaded[0]} is already loaded from its source"
    return None


def compiled_modules() -> list[str]:
    """The modules that there are in compiled form."""
    found = (path.relative_to(MODULES) for path in MODULES.rglob("*") if path.suffix in (".so", ".pyd"))
    return [".".join((*path.parent.parts, path.name.split(".")[0])) for path in found if len(path.parts) > 1]


def use() -> str:
    """Run on the compiled modules from now on, if there are any that fit; says in a few words what runs."""
    why_not = missing()
    if why_not is not None:
        return f"interpreted: {why_not}"
    sys.path.append(str(MODULES))  # the one library that they share
    for folder in sorted(path for path in MODULES.glob("hvcluster/**") if path.is_dir())[1:]:
        package = importlib.import_module(".".join(folder.relative_to(MODULES).parts))
        package.__path__.insert(0, str(folder))
    return "compiled"
