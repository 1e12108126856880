"""What every script here shares: where fixtures go, how they are written, and which versions made them."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def versions(*packages):
    """The versions of Python and of `packages`, for a fixture's head."""
    return {"python": platform.python_version()} | {package: version(package) for package in packages}


def write_json(path, value, indent=None):
    """Writes `value` as JSON; lists of rows get a line per row, so that differences can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def write_rows(path, head, rows):
    """Writes the object `head` with a last key `rows`, a line per row."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    beginning = json.dumps(head, ensure_ascii=False)[:-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{beginning}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")


def write_tensors(path, tensors):
    """Writes torch tensors as f32 (bytes stay bytes) in the order of their names."""
    import torch
    from safetensors.torch import save_file

    def plain(tensor):
        tensor = tensor.detach()
        return (tensor if tensor.dtype == torch.uint8 else tensor.float()).contiguous().clone()

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: plain(tensor) for name, tensor in sorted(tensors.items())}, path)
