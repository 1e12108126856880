"""Short trainings with PyTorch's AdamW as transformers' Trainer uses it: losses, rates and what is learnt.

The samples are conversations with images of exactly the model's size, so that both sides train on the same numbers.
As in this project, and unlike in the Trainer, the loss of a step is the mean over its samples of each sample's mean,
and the first step of the warm-up already learns (`(step + 1) / warm-up steps`; the Trainer's first rate is 0).
"""

import json
import math
import random
import shutil

import numpy as np
import torch
from PIL import Image
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, get_cosine_schedule_with_warmup
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import conversations
import tokenizer
from common import FIXTURES, versions, write_json, write_tensors
from lora import adapted, trained, write_adapter
from models import IGNORE, MODELS, fill, llava, load, padded, save

FOLDER = FIXTURES / "training"
LIMIT = 160
BATCH, EPOCHS = 4, 2


def base():
    """A model with the tokenizer's vocabulary, tied so that it is small."""
    vocabulary, _ = tokenizer.build()
    image, pad = len(vocabulary), len(vocabulary) + 1
    text = {"num_hidden_layers": 2, "vocab_size": pad + 1, "pad_token_id": pad, "num_key_value_heads": 2,
            "tie_word_embeddings": True}
    save("trained", fill(llava(text=text, vision={"num_hidden_layers": 2}, image_token_index=image, pad_token_id=pad), 90))
    shutil.copy(tokenizer.folder("legacy") / "tokenizer.json", MODELS / "trained")


def items():
    """Ten conversations with none to two images each; images are written as they are used."""
    generator, noise = random.Random(4), np.random.default_rng(4)
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "images").mkdir(parents=True)
    for number in range(10):
        images = [f"{number}-{image}.png" for image in range(generator.choice([0, 1, 1, 2]))]
        for image in images:
            Image.fromarray(noise.integers(0, 256, (28, 28, 3), dtype=np.uint8)).save(FOLDER / "images" / image)
        turns = [[generator.choice(conversations.QUESTIONS), generator.choice(conversations.ANSWERS[:12])]
                 for _ in range(generator.choice([1, 2]))]
        turns[0][0] = "<image>" * len(images) + "\n" * bool(images) + turns[0][0]
        yield {"name": f"sample {number}", "turns": turns, "images": images}


def encode(items):
    """Ids, labels and pixels of the items."""
    rule = conversations.Rule("legacy")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    for item in items:
        ids, learnt, _, cut = conversations.right(rule, item["turns"], "", LIMIT)
        assert cut == 0
        labels = [id if position in learnt else IGNORE for position, id in enumerate(ids)]
        images = [Image.open(FOLDER / "images" / image) for image in item["images"]]
        pixels = torch.tensor(processor(images, return_tensors="np")["pixel_values"]) if images else torch.zeros(0, 3, 28, 28)
        yield {"ids": ids, "labels": labels, "pixels": pixels}


def loss_of(model, rows):
    """The mean over samples of the mean over what each learns."""
    ids, labels, mask = padded(rows, model.config.pad_token_id, left=False)
    pixels = torch.cat([row["pixels"] for row in rows])
    logits = model(input_ids=ids, attention_mask=mask, pixel_values=pixels if len(pixels) else None).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=IGNORE, reduction="none")
    return (losses.sum(1) / (labels[:, 1:] != IGNORE).sum(1)).mean()


def train(model, groups, rows, warmup, clip):
    """Trains in the given order; losses, rates and norms of every step."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    batches = [rows[at:at + BATCH] for _ in range(EPOCHS) for at in range(0, len(rows), BATCH)]
    rising = math.ceil(warmup * len(batches))
    theirs = get_cosine_schedule_with_warmup(optimizer, rising, len(batches)).lr_lambdas[0]
    schedule = LambdaLR(optimizer, lambda step: (step + 1) / rising if step < rising else theirs(step))
    steps = []
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip or math.inf)
        steps.append({"loss": loss.item(), "norm": norm.item(), "rate": schedule.get_last_lr()[0]})
        optimizer.step()
        schedule.step()
    return steps


def lora(rows, warmup):
    """Adapters of the decoder at one rate, the projector at another."""
    model = adapted("trained", 91, zero_b=True)
    if not (MODELS / "trained" / "adapter").exists():
        write_adapter(model, MODELS / "trained")
    adapters = [value for _, value in trained(model)]
    projector = [value.requires_grad_(True) for name, value in model.named_parameters() if "multi_modal_projector" in name]
    groups = [{"params": adapters, "lr": 1e-2}, {"params": projector, "lr": 2e-3}]
    for group in groups:
        group["weight_decay"] = 0.0
    steps = train(model, groups, rows, warmup, 1.0)
    after = dict(trained(model)) | {
        f"multi_modal_projector.{name.split('multi_modal_projector.')[1]}": value
        for name, value in model.named_parameters() if "multi_modal_projector" in name}
    return steps, after


def full(rows, warmup):
    """Everything, with decay of what the Trainer decays."""
    model = load("trained")
    named = dict(model.named_parameters())
    decayed = set(Trainer.get_decay_parameter_names(None, model)) & set(named)
    groups = [{"params": [v for n, v in named.items() if (n in decayed) is decay], "lr": 2e-3,
               "weight_decay": 0.1 if decay else 0.0} for decay in (True, False)]
    before = {name: value.detach().clone() for name, value in named.items()}
    steps = train(model, groups, rows, warmup, 0.0)
    print("decayed vectors:", [name for name in decayed if named[name].dim() < 2],
          "matrices not:", [name for name in named if named[name].dim() > 1 and name not in decayed])
    folder = FOLDER / "full"
    model.save_pretrained(folder)
    (folder / "config.json").unlink()
    (folder / "generation_config.json").unlink(missing_ok=True)
    changed = sum(not torch.equal(before[name], value) for name, value in named.items())
    print(changed, "of", len(named), "tensors changed")
    return steps


def main():
    torch.set_num_threads(1)
    base()
    drawn = list(items())
    rows = list(encode(drawn))
    runs = {}
    for name, warmup in [("lora", 0.0), ("lora_warmup", 0.4)]:
        steps, after = lora(rows, warmup)
        runs[name] = {"warmup": warmup, "clip": 1.0, "rate": 1e-2, "projector_rate": 2e-3, "decay": 0.0, "steps": steps}
        write_tensors(FOLDER / f"{name}.safetensors", after)
    runs["full"] = {"warmup": 0.2, "clip": 0.0, "rate": 2e-3, "projector_rate": 2e-3, "decay": 0.1,
                    "steps": full(rows, 0.2)}
    head = {"made_with": versions("torch", "transformers", "peft"), "batch": BATCH, "epochs": EPOCHS, "limit": LIMIT,
            "items": drawn, "runs": runs}
    write_json(FOLDER / "training.json", head, indent=1)
    print(json.dumps({name: [round(step["loss"], 4) for step in run["steps"]] for name, run in runs.items()}))
    print([[round(step["norm"], 3) for step in run["steps"]] for run in runs.values()])


if __name__ == "__main__":
    main()
