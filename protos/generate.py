"""Generate `flowctl_aio/_wire` from the .proto files, or check that it is up to date.

Run it with the generator's own environment (`make generate`, `make check-generated`):
grpcio-tools 1.76.0 writes code that imports on protobuf 6 and 7, but the tool itself
needs protobuf 6, so it does not share the development environment.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
WIRE = PROTOS.parent / "flowctl_aio" / "_wire"
FOLDERS = ("classic", "payloads", "v1")

SERVICE = re.compile(r"^service ", re.MULTILINE)
# protoc names the Python module after the file's path; ours live one room deeper.
MODULE = re.compile(r"flowctl_aio\.(classic|payloads|v1)\b")


def generate(out: Path) -> dict[Path, str]:
    """Run protoc into `out`; return each generated file's place in `_wire` and its text."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the plugins
    sources = sorted(str(path) for d in FOLDERS for path in (PROTOS / "flowctl_aio" / d).glob("*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"-I{PROTOS}",
            f"-I{files('grpc_tools') / '_proto'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
            *sources,
        ]
    )
    if code:
        raise SystemExit(code)
    generated = {}
    for path in sorted((out / "flowctl_aio").rglob("*.py*")):
        text = MODULE.sub(r"flowctl_aio._wire.\1", path.read_text())
        place = path.relative_to(out / "flowctl_aio")
        proto = (PROTOS / "flowctl_aio" / proto_of(place)).read_text()
        if "_pb2_grpc" in place.name and not SERVICE.search(proto):
            continue
        generated[WIRE / place] = text
    return generated


def proto_of(place: Path) -> Path:
    """`classic/sink_pb2_grpc.pyi` → `classic/sink.proto`."""
    return place.with_name(place.name.split("_pb2")[0] + ".proto")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the committed code differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
    committed = {path for d in FOLDERS for path in (WIRE / d).glob("*_pb2*")}
    stale = sorted(
        {path for path, text in generated.items() if not path.exists() or path.read_text() != text}
        | (committed - generated.keys())
    )
    if check:
        for path in stale:
            print(f"{path.relative_to(PROTOS.parent)} is not what the .proto files say: run `make generate`")
        return 1 if stale else 0
    for path in stale:
        if path in generated:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generated[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
