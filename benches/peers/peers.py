"""What the comparisons share: our program, its samples, the same model in transformers, medians and ratios."""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORE = -100


def parser(doc):
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--checkpoint", type=Path, default=ROOT / "experiments/suites/mini/base")
    arguments.add_argument("--pool", type=Path, help="folder with samples.json and images; default: the miniature suite's")
    arguments.add_argument("--samples", type=int, default=512)
    arguments.add_argument("--max-length", type=int, default=96)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--rank", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=5, help="alternations of the sides, of which the median counts")
    return arguments


def ours(given, command, *more):
    """Runs our side and returns what it prints."""
    arguments = ["--checkpoint", given.checkpoint.resolve(), "--samples", given.samples, "--max-length",
                 given.max_length, "--threads", given.threads]
    if given.pool:
        arguments += ["--pool", given.pool.resolve()]
    line = ["cargo", "bench", "--quiet", "--bench", "peers", "--", command, *arguments, *more]
    environment = os.environ | {"RAYON_NUM_THREADS": str(given.threads)}
    done = subprocess.run([str(word) for word in line], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def samples(given, image_size):
    """The samples in tokens and pixels as our side has them."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        ours(given, "dump", "--to", folder)
        rows = json.loads((Path(folder) / "samples.json").read_text())
        pixels = torch.frombuffer(bytearray((Path(folder) / "pixels.f32").read_bytes()), dtype=torch.float32)
    pixels, at = pixels.reshape(-1, 3, image_size, image_size), 0
    for row in rows:
        row["pixels"] = pixels[at:at + row["images"]]
        at += row["images"]
    assert at == len(pixels)
    return rows


def model(given):
    """The checkpoint in transformers."""
    import torch
    from transformers import LlavaForConditionalGeneration

    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    return LlavaForConditionalGeneration.from_pretrained(given.checkpoint, dtype=torch.float32)


def with_adapter(model, rank):
    """The model with a fresh adapter on the linear layers of its decoder; only that has gradients."""
    from peft import LoraConfig, get_peft_model

    targets = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets))


def padded(rows, pad):
    """Ids, labels, attention mask and pixels of rows, filled up at the end."""
    import torch

    longest = max(len(row["ids"]) for row in rows)

    def fill_up(key, filler):
        return torch.tensor([row[key] + [filler] * (longest - len(row[key])) for row in rows])

    mask = torch.tensor([[1] * len(row["ids"]) + [0] * (longest - len(row["ids"])) for row in rows])
    return fill_up("ids", pad), fill_up("labels", IGNORE), mask, torch.cat([row["pixels"] for row in rows])


def median(rates):
    return statistics.median(rates)


def report(title, rates):
    """Prints samples per second of each side, and by how much ours is faster."""
    print(title)
    own = median(rates["ours"])
    for side, values in rates.items():
        ratio = "" if side == "ours" else f"   ours is {own / median(values):.2f} times as fast"
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(f"  {side:<34} {median(values):>9.1f} samples/s ({spread}){ratio}")
