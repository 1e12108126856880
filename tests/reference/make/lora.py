"""LoRA adapters that PEFT writes, the gradient of each sample with respect to them, and logits of merged weights.

The gradients come from a loop over the samples, one backward pass each through the unmerged adapter: the plain way,
against which the batched one is checked.
"""

import json
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from common import versions, write_json, write_tensors
from models import MODELS, forward, load

TARGETS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


def adapted(name, seed, zero_b=False):
    """A checkpoint with a LoRA adapter of rank 4 and alpha 8 on the linear layers of its decoder."""
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=TARGETS, bias="none", task_type="CAUSAL_LM")
    model = get_peft_model(load(name), config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter, value in model.named_parameters():
            if "lora_" in parameter:
                deviation = 0.0 if zero_b and "lora_B" in parameter else 0.15
                value.copy_(deviation * torch.randn(value.shape, generator=generator))
    return model


def write_adapter(model, folder):
    """The adapter as PEFT saves it, in the folder `adapter`."""
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    # The path of the base model is that of one machine.
    path = folder / "adapter" / "adapter_config.json"
    write_json(path, json.loads(path.read_text()) | {"base_model_name_or_path": None}, indent=2)


def trained(model):
    """Canonical name → LoRA matrix."""
    for name, value in model.named_parameters():
        if "lora_" in name:
            name = name.split("language_model.")[1].replace(".default.weight", "").removeprefix("model.")
            yield f"language_model.model.{name}", value


def gradients(model, rows, pixels):
    """Per LoRA matrix, the gradient of every sample's loss, `[samples, …]`."""
    found, at = {}, 0
    for row in rows:
        own = pixels[at:at + row["images"]]
        at += row["images"]
        inputs = dict(input_ids=torch.tensor([row["ids"]]), labels=torch.tensor([row["labels"]]))
        if len(own):
            inputs["pixel_values"] = own
        model.zero_grad()
        model(**inputs).loss.backward()
        for name, value in trained(model):
            found.setdefault(name, []).append(value.grad.clone())
    return {f"gradient.{name}": torch.stack(values) for name, values in found.items()}


def main():
    torch.set_num_threads(1)
    for name, seed in [("untied", 12), ("grouped", 22)]:
        folder = MODELS / name
        rows = json.loads((folder / "cases.json").read_text())["cases"]["batch"]["rows"]
        pixels = load_file(folder / "cases.safetensors")["batch.pixels"]
        model = adapted(name, seed)
        write_adapter(model, folder)
        tensors = gradients(model, rows, pixels)
        tensors["unmerged.logits"] = forward(model, rows, pixels)["logits"]
        merged = model.merge_and_unload()
        tensors["merged.logits"] = forward(merged, rows, pixels)["logits"]
        write_tensors(folder / "lora.safetensors", tensors)
        write_json(folder / "lora.json", {"made_with": versions("torch", "transformers", "peft"), "case": "batch"})
        print(name, len(tensors), "tensors")


if __name__ == "__main__":
    main()
