"""Loads checkpoints and adapters that this project wrote with transformers and PEFT.

    python load_back.py FOLDER… [--base FOLDER]

For each folder: no tensor may be missing, unexpected or misshapen. With `logits.safetensors` beside the weights (as
the test `written` leaves them), the logits of transformers must be those. With `--base`, or a folder `base` beside,
the base model with the adapter that PEFT reads, merged by PEFT, must have the decoder that was written.
"""

import argparse
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, LlamaForCausalLM, LlavaForConditionalGeneration


def load(folder):
    """The model of a folder in f32, and what is wrong with its tensors."""
    kind = {"llava": LlavaForConditionalGeneration, "llama": LlamaForCausalLM}[AutoConfig.from_pretrained(folder).model_type]
    model, found = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    wrong = {key: value for key, value in found.items() if value}
    return model.eval(), wrong


def relative_error(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.no_grad()
def compare_logits(model, path):
    """Largest relative error of the logits in `path` over its samples."""
    kept, worst = load_file(path), 0.0
    samples = {name.split(".")[0] for name in kept}
    for sample in sorted(samples):
        inputs = {"input_ids": kept[f"{sample}.ids"].long().reshape(1, -1)}
        if f"{sample}.pixels" in kept:
            inputs["pixel_values"] = kept[f"{sample}.pixels"]
        theirs = model(**inputs).logits[0]
        worst = max(worst, relative_error(kept[f"{sample}.logits"], theirs))
    return worst, len(samples)


def compare_adapter(model, base, adapter):
    """Largest relative error of a decoder matrix against base plus adapter, merged by PEFT."""
    merged = PeftModel.from_pretrained(load(base)[0], adapter).merge_and_unload()
    theirs, worst, changed = dict(merged.named_parameters()), 0.0, 0
    before = dict(load(base)[0].named_parameters())
    for name, value in model.named_parameters():
        if name.endswith("_proj.weight") and "vision_tower" not in name:
            worst = max(worst, relative_error(value, theirs[name]))
            changed += not torch.equal(theirs[name], before[name])
    return worst, changed


def check(folder, base):
    model, wrong = load(folder)
    print(f"{folder.name}: {sum(value.numel() for value in model.parameters())} parameters, problems: {wrong or 'none'}")
    fine = not wrong
    if (folder / "logits.safetensors").exists():
        worst, count = compare_logits(model, folder / "logits.safetensors")
        print(f"  logits of {count} samples differ by {worst:.1e} of their size")
        fine &= worst < 1e-4
    if base and (folder / "adapter").exists():
        worst, changed = compare_adapter(model, base, folder / "adapter")
        print(f"  base and adapter, merged by PEFT: {changed} matrices changed, differ by {worst:.1e} of their size")
        fine &= worst < 1e-5 and changed > 0
    return fine


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folders", nargs="+", type=Path, help="checkpoints, or folders of them")
    arguments.add_argument("--base", type=Path, help="the checkpoint that the adapters were trained on")
    given = arguments.parse_args()
    folders = [inner for folder in given.folders
               for inner in ([folder] if (folder / "config.json").exists() else sorted(folder.iterdir()))]
    fine = True
    for folder in folders:
        fine &= check(folder, given.base or (folder.parent / "base" if (folder.parent / "base").exists() else None))
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
