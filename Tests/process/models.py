"""Model data for the process tests: made quickly, incompressible, and digested for comparison."""

import hashlib
import json
import os
import pathlib

MIB = 1 << 20
BLOCK = 8 * MIB
# Room for the tensors' description, padded with spaces as the format allows.
HEADER_BYTES = 248


def write_safetensors(path: pathlib.Path, size: int):
    """A valid safetensors file of exactly `size` bytes: one tensor of random bytes."""
    data = size - 8 - HEADER_BYTES
    if data < 0:
        raise ValueError(f"a safetensors file here has at least {8 + HEADER_BYTES} bytes")
    header = json.dumps({"weights": {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}}).ljust(HEADER_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as out:
        out.write(HEADER_BYTES.to_bytes(8, "little") + header.encode())
        for start in range(0, data, BLOCK):
            out.write(os.urandom(min(BLOCK, data - start)))


def write_model(root, name: str = "org/model", size: int = 40 * MIB, **files: bytes) -> "Model":
    """A model ROOT/org/name: `model.safetensors` of `size` bytes, a config, a file in a folder, and what else is asked for."""
    directory = pathlib.Path(root) / name
    write_safetensors(directory / "model.safetensors", size)
    (directory / "config.json").write_text(json.dumps({"model_type": "test", "size": size}))
    (directory / "tokenizer").mkdir(exist_ok=True)
    (directory / "tokenizer" / "vocab.txt").write_text("\n".join(f"token-{i}" for i in range(5000)))
    for file, content in files.items():
        (directory / file).write_bytes(content)
    return Model(directory, name)


class Model:
    """A model's files as the origin has them."""

    def __init__(self, directory, name: str):
        self.directory = pathlib.Path(directory)
        self.reference = f"hf://{name}"
        self.files = digests(self.directory)
        self.bytes = sum((self.directory / path).stat().st_size for path in self.files)


def digests(directory) -> dict:
    """SHA-256 by relative path of all files below a directory; hidden ones do not count."""
    directory = pathlib.Path(directory)
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found[str(name)] = sha256(path)
    return found


def sha256(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
