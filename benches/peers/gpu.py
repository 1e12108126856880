"""A model of a billion parameters on a GPU: this program and PyTorch (transformers, PEFT) on the same shapes.

    python benches/peers/gpu.py --runner target/release/runner

Prints samples per second of scoring, per-sample gradients of the middle layer and LoRA training, and the ratios.
PyTorch's per-sample gradients are taken as the authors of Adapt-∞ take them: batch 1 and a full backward pass; its dense
projection is left out, which favours PyTorch.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlavaConfig, LlavaForConditionalGeneration

ROOT = Path(__file__).resolve().parents[2]


def timed(work, repeats):
    """Seconds of the median of some runs after one to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def pytorch(given):
    torch.manual_seed(0)
    config = LlavaConfig.from_pretrained(given.config)
    model = LlavaForConditionalGeneration(config).to(torch.bfloat16).cuda()
    names = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    model = get_peft_model(model, LoraConfig(r=given.rank, lora_alpha=2 * given.rank, lora_dropout=0.05, target_modules=names))
    size = config.vision_config.image_size
    patches = (size // config.vision_config.patch_size) ** 2
    image = torch.full((given.batch, patches), config.image_token_index)
    text = torch.randint(8, config.text_config.vocab_size, (given.batch, given.tokens))
    ids = torch.cat([image, text], 1).cuda()
    labels = ids.clone()
    labels[:, : ids.shape[1] - (given.tokens + 3) // 4] = -100
    pixels = torch.rand(given.batch, 3, size, size, dtype=torch.bfloat16, device="cuda")

    def loss(rows):
        return model(input_ids=ids[rows], labels=labels[rows], pixel_values=pixels[rows]).loss

    everything = slice(0, given.batch)

    @torch.no_grad()
    def score():
        logits = model(input_ids=ids, pixel_values=pixels).logits.float()
        torch.log_softmax(logits[:, -given.tokens :], -1)

    def gradients():
        for row in range(given.batch):
            model.zero_grad(set_to_none=True)
            loss(slice(row, row + 1)).backward()

    adapters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(adapters, lr=1e-4, fused=True)

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss(everything).backward()
        optimizer.step()

    model.eval()
    speeds = {"scores": given.batch / timed(score, given.repeats)}
    speeds["projected gradients of the middle layer"] = given.batch / timed(gradients, given.repeats)
    model.train()
    if given.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    speeds["training of adapters"] = given.batch / timed(train, given.repeats)
    return speeds, torch.cuda.max_memory_allocated()


def ours(given):
    line = [given.runner, "devices", "--measure", given.config, "--precision", "bf16", "--batch", given.batch,
            "--tokens", given.tokens, "--rank", given.rank, "--repeats", given.repeats, "--device", "cuda:0",
            "--format", "json"]
    line += ["--gradient-checkpointing"] if given.gradient_checkpointing else []
    done = subprocess.run([str(word) for word in line], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return {speed["what"]: speed["samples_per_second"] for speed in json.loads(done.stdout)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runner", required=True)
    arguments.add_argument("--config", type=Path, default=ROOT / "tests/gpu/billion")
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--tokens", type=int, default=64)
    arguments.add_argument("--rank", type=int, default=128)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--gradient-checkpointing", action="store_true")
    given = arguments.parse_args()
    given.runner = Path(given.runner).resolve()
    mine = ours(given)
    theirs, memory = pytorch(given)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, bf16, {given.batch} samples a batch")
    print(f"{'samples per second':<42} {'runner':>9} {'PyTorch':>9} {'ratio':>7}")
    for what, speed in theirs.items():
        print(f"{what:<42} {mine[what]:>9.1f} {speed:>9.1f} {mine[what] / speed:>7.2f}")
    print(f"most memory that PyTorch had allocated: {memory / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
