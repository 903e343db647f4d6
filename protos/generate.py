"""Writes the generated code: protos/hvcluster/v1/*.proto to *_pb2.py, *_pb2_grpc.py and their type stubs.

    python protos/generate.py            write beside the .proto files and remove what has no .proto any more
    python protos/generate.py --check    write nothing; exit 1 and name the files that are not current

This folder is the include root of the compiler and an import root of Python at once, so that the compiler's own
`from hvcluster.v1 import ...` is right as it stands: nothing here rewrites what the compiler wrote. Run it with
the locked compiler (`make proto`), for another version writes other text.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent
PACKAGE: Final = Path("hvcluster/v1")
SUFFIXES: Final = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


class CompilerError(Exception):
    """The compiler refused a .proto file; the message is the compiler's."""


def sources() -> list[Path]:
    """All .proto files of the package, relative to the include root, in the order of their names."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / PACKAGE).glob("*.proto"))


def generate(target: Path) -> None:
    """Compile every .proto into `target`, which stands for this folder. Raises CompilerError."""
    protos = [path.as_posix() for path in sources()]
    if not protos:
        raise CompilerError(f"no .proto files in {ROOT / PACKAGE}")
    import grpc_tools

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    scripts = Path(sysconfig.get_path("scripts"))
    # mypy-protobuf types stubs for grpc.aio by the channel they are given; its option for asynchronous stubs
    # alone is left off, because it types the servicer's context so that no plain method fits.
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={ROOT}",
        f"--proto_path={well_known}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
        *protos,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompilerError((done.stderr or done.stdout).strip())


def generated(root: Path) -> dict[str, str]:
    """The text of every generated file under `root`, by name."""
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((root / PACKAGE).iterdir())
        if path.name.endswith(SUFFIXES)
    }


def stale() -> list[str]:
    """The names of committed files that differ from what the compiler writes now. Raises CompilerError."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh_root = Path(scratch)
        generate(fresh_root)
        fresh, here = generated(fresh_root), generated(ROOT)
    return sorted(name for name in fresh.keys() | here.keys() if fresh.get(name) != here.get(name))


def main() -> int:
    """Write or check; the exit code is 0 when the files are current, 1 when not, 2 when the compiler refuses."""
    parser = argparse.ArgumentParser(description="Write the generated protobuf and gRPC code.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when a file is not current")
    options = parser.parse_args()
    try:
        if options.check:
            behind = stale()
            for name in behind:
                print(f"not current: {PACKAGE / name} (remedy: make proto)", file=sys.stderr)
            return 1 if behind else 0
        generate(ROOT)
        kept = {path.stem + suffix for path in sources() for suffix in SUFFIXES}
        for name in generated(ROOT).keys() - kept:
            (ROOT / PACKAGE / name).unlink()
    except CompilerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
