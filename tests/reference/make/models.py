"""Tiny random checkpoints in every layout that is in use, and what transformers computes with them.

Per checkpoint: `cases.json` (ids, labels, images, what greedy generation answers) and `cases.safetensors` (pixels,
logits, hidden states, losses and scores). Positions of padding are left out of what is stored: rows of several
samples are one after the other.
"""

import random
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration

import tokenizer
from common import FIXTURES, versions, write_json, write_tensors

BOS, EOS = 1, 2
IGNORE = -100
MODELS = FIXTURES / "models"


def text_config(**changes):
    config = dict(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, rms_norm_eps=1e-5, max_position_embeddings=256, bos_token_id=BOS, eos_token_id=EOS,
        pad_token_id=4, tie_word_embeddings=False,
    )
    return LlamaConfig(**(config | changes))


def vision_config(**changes):
    config = dict(
        hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, image_size=28,
        patch_size=14, projection_dim=16,
    )
    return CLIPVisionConfig(**(config | changes))


def llava(text=None, vision=None, **changes):
    text, vision = text_config(**(text or {})), vision_config(**(vision or {}))
    tokens = (vision.image_size // vision.patch_size) ** 2 + (changes.get("vision_feature_select_strategy") == "full")
    config = dict(
        image_token_index=3, image_seq_length=tokens, pad_token_id=4, vision_feature_layer=-2,
        vision_feature_select_strategy="default", tie_word_embeddings=text.tie_word_embeddings,
    )
    config = LlavaConfig(text_config=text, vision_config=vision, **(config | changes))
    return LlavaForConditionalGeneration(config).float().eval()


@torch.no_grad()
def fill(model, seed):
    """Random values everywhere, norms and biases included, of a size at which every part matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        if value.dim() == 1:
            is_weight = name.endswith("weight")
            value.copy_(1 + 0.3 * noise if is_weight else 0.5 * noise if "class" in name else 0.2 * noise)
        elif "embed" in name and "patch" not in name:
            value.copy_(0.6 * noise)
        else:
            value.copy_(1.3 * noise / value[0].numel() ** 0.5)
    return model


class Samples:
    """Draws samples for a model: tokens with runs of image tokens, labels, pixels."""

    def __init__(self, model, seed):
        config = model.config
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.vision = getattr(config, "vision_config", None)
        self.vocabulary = (config.text_config if self.vision else config).vocab_size
        self.image = getattr(config, "image_token_index", None) or getattr(config, "image_token_id", None)
        if self.vision:
            patches = (self.vision.image_size // self.vision.patch_size) ** 2
            self.run = patches + (config.vision_feature_select_strategy == "full")

    def words(self, count):
        return [self.random.choice([id for id in range(5, self.vocabulary) if id != self.image]) for _ in range(count)]

    def sample(self, layout):
        """`layout`: a list of numbers of words, `I` for an image, `A3` for a labelled answer of 3 words and end."""
        ids, labels, images = [BOS], [IGNORE], 0
        for part in layout:
            if part == "I":
                run, learnt = [self.image] * self.run, False
                images += 1
            elif isinstance(part, str):
                run, learnt = self.words(int(part[1:])) + [EOS], True
            else:
                run, learnt = self.words(part), False
            ids += run
            labels += run if learnt else [IGNORE] * len(run)
        return {"ids": ids, "labels": labels, "images": images}

    def pixels(self, images):
        size = self.vision.image_size
        return torch.randn(images, 3, size, size, generator=self.generator)


def padded(rows, pad, left):
    """Ids, labels and attention mask of rows of unequal length."""
    longest = max(len(row["ids"]) for row in rows)

    def fill_up(key, filler):
        lists = [row[key] for row in rows]
        fillers = [[filler] * (longest - len(values)) for values in lists]
        return torch.tensor([f + v if left else v + f for f, v in zip(fillers, lists)])

    mask = torch.tensor([[0] * (longest - len(r["ids"])) + [1] * len(r["ids"]) if left
                         else [1] * len(r["ids"]) + [0] * (longest - len(r["ids"])) for r in rows])
    return fill_up("ids", pad), fill_up("labels", IGNORE), mask


@torch.no_grad()
def forward(model, rows, pixels, left=False):
    """What a padded batch gives, without the padding."""
    ids, labels, mask = padded(rows, 4, left)
    inputs = dict(input_ids=ids, attention_mask=mask, labels=labels, output_hidden_states=True)
    if pixels is not None and len(pixels):
        inputs["pixel_values"] = pixels
    if left:
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    output = model(**inputs)
    real = mask.bool()
    return {
        "loss": output.loss.reshape(1),
        "logits": output.logits[real],
        "hidden": torch.stack([state[real] for state in output.hidden_states]),
    }


def scores(rows, logits):
    """Loss, perplexity, EL2N and entropy of each sample over the tokens that it learns; entropy over all."""
    result = {name: [] for name in ["losses", "perplexity", "reference_perplexity", "el2n", "entropy", "entropy_all"]}
    at = 0
    for row in rows:
        length = len(row["ids"])
        own, labels = logits[at:at + length].double(), torch.tensor(row["labels"])
        at += length
        learnt = labels[1:] != IGNORE
        targets, predicting = labels[1:][learnt], own[:-1][learnt]
        probabilities = predicting.softmax(1)
        nll = torch.nn.functional.cross_entropy(predicting, targets, reduction="none")
        error = probabilities - torch.nn.functional.one_hot(targets, own.shape[1])
        entropy = torch.distributions.Categorical(logits=predicting).entropy()
        result["losses"].append(nll.mean())
        result["perplexity"].append(nll.mean().exp())
        result["reference_perplexity"].append(nll.exp().mean())
        result["el2n"].append(error.norm(dim=1).mean())
        result["entropy"].append(entropy.mean())
        result["entropy_all"].append(torch.distributions.Categorical(logits=own).entropy().mean())
    return {name: torch.stack(values) for name, values in result.items()}


@torch.no_grad()
def generate(model, rows, pixels, most):
    """Greedy answers to a left-padded batch, and the least lead of a chosen token over the next."""
    ids, _, mask = padded(rows, 4, left=True)
    inputs = dict(input_ids=ids, attention_mask=mask)
    if pixels is not None and len(pixels):
        inputs["pixel_values"] = pixels
    output = model.generate(
        **inputs, do_sample=False, num_beams=1, max_new_tokens=most, output_logits=True, return_dict_in_generate=True,
        pad_token_id=4, eos_token_id=EOS,
    )
    new = output.sequences[:, ids.shape[1]:].tolist()
    answers, lead = [], float("inf")
    for row, answer in enumerate(new):
        ended = answer.index(EOS) if EOS in answer else len(answer)
        answers.append(answer[:ended])
        for step in range(min(ended + 1, len(output.logits))):
            best = output.logits[step][row].topk(2).values
            lead = min(lead, float(best[0] - best[1]))
    return answers, lead


def cases(model, seed, with_images, only):
    """The cases of a model, or `only` some of them."""
    layouts = {
        "no_image": [[6, "A4"]],
        "one_image": [[3, "I", 5, "A3"]],
        "several_images": [["I", "I", 4, "I", 3, "A2", 5, "A3"]],
        "batch": [[2, "I", 7, "A3"], [9, "A5"], [4, "I", 2, "I", 3, "A1", 4, "A4"], ["I", 4, "A2"]],
    }
    if not with_images:
        layouts = {"one": [[6, "A4"]], "batch": [[12, "A3"], [5, "A6"], [8, "A1", 6, "A2"]]}
    samples = Samples(model, seed)
    tensors, facts = {}, {}
    for name, layout in layouts.items():
        if only and name not in only:
            continue
        rows = [samples.sample(row) for row in layout]
        pixels = samples.pixels(sum(row["images"] for row in rows)) if with_images else None
        right, left = forward(model, rows, pixels), forward(model, rows, pixels, left=True)
        assert torch.allclose(right["logits"], left["logits"], atol=2e-4), "padding changes nothing but rounding"
        tensors |= {f"{name}.{key}": value for key, value in right.items()}
        tensors |= {f"{name}.{key}": value for key, value in scores(rows, right["logits"]).items()}
        if len(rows) > 1:
            tensors[f"{name}.left_logits"] = left["logits"]
        if pixels is not None and len(pixels):
            tensors[f"{name}.pixels"] = pixels
        facts[name] = {"rows": rows, "generation": answers(model, samples, layout, pixels)}
    return tensors, facts


def answers(model, samples, layout, pixels, most=10):
    """Prompts like these samples without their last answer, drawn until greedy decoding is beyond rounding.

    Where it can be had, one of the answers ends by itself before `most` tokens.
    """
    fallback = None
    for _ in range(100):
        prompts = [samples.sample(row[:-1]) for row in layout]
        found, lead = generate(model, prompts, pixels, most)
        # A model that answers with an image token asks for an image that nobody has.
        if lead < 0.01 or min(map(len, found)) == 0 or any(samples.image in answer for answer in found):
            continue
        kept = {"prompts": [row["ids"] for row in prompts], "images": [row["images"] for row in prompts],
                "most": most, "answers": found}
        if any(len(answer) < most for answer in found):
            return kept
        fallback = fallback or kept
    assert fallback, "no prompts with clear answers"
    return fallback


def load(name, kind=LlavaForConditionalGeneration):
    """A saved checkpoint as transformers reads it, in f32."""
    return kind.from_pretrained(MODELS / name, dtype=torch.float32).eval()


def save(name, model, **options):
    shutil.rmtree(MODELS / name, ignore_errors=True)
    model.save_pretrained(MODELS / name, **options)


def compute(name, seed, kind=LlavaForConditionalGeneration, only=None):
    """The cases of a saved checkpoint, computed with the model that transformers reads from it."""
    folder, model = MODELS / name, load(name, kind)
    tensors, facts = cases(model, seed, kind is LlavaForConditionalGeneration, only)
    write_tensors(folder / "cases.safetensors", tensors)
    write_json(folder / "cases.json", {"made_with": versions("torch", "transformers"), "cases": facts})
    lengths = [len(a) for case in facts.values() for a in case["generation"]["answers"]]
    print(name, sorted(path.name for path in folder.iterdir()), "answers of", lengths)


def older():
    """As the first published checkpoints: other names, tensors that are computed, a sparse config."""
    save("older", fill(llava(text={"num_hidden_layers": 2}), 40))
    folder = MODELS / "older"
    weights = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if name.startswith("vision_tower.") and "vision_model" not in name:
            name = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        weights[name] = value
    weights["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(5).unsqueeze(0)
    for layer in range(2):
        name = f"language_model.model.layers.{layer}.self_attn.rotary_emb.inv_freq"
        weights[name] = 10000.0 ** (-torch.arange(0, 8, 2).float() / 8)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": 3,
        "model_type": "llava", "pad_token_id": 4, "projector_hidden_act": "gelu",
        "text_config": {
            "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 48,
            "max_position_embeddings": 256, "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2,
            "num_key_value_heads": 4, "rms_norm_eps": 1e-05, "torch_dtype": "float16", "vocab_size": 96,
        },
        "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.36.0.dev0",
        "vision_config": {
            "hidden_size": 32, "image_size": 28, "intermediate_size": 40, "model_type": "clip_vision_model",
            "num_attention_heads": 4, "num_hidden_layers": 3, "patch_size": 14, "projection_dim": 16,
        },
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
    }
    write_json(folder / "config.json", config, indent=2)
    compute("older", 41, only=["batch"])


def between():
    """As transformers 4.52 to 4.57 saves: everything but the head below `model`."""
    save("between", fill(llava(text={"num_hidden_layers": 2}), 50))
    folder = MODELS / "between"

    def rename(name):
        name = name.replace("language_model.lm_head.", "lm_head.").replace("language_model.model.", "language_model.")
        return name if name.startswith("lm_head") else f"model.{name}"

    weights = load_file(folder / "model.safetensors")
    weights = {rename(name).replace("vision_tower.", "vision_tower.vision_model."): v for name, v in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    compute("between", 51, only=["batch"])


def resized():
    """A vocabulary that was grown for `<image>` and `<pad>`, as LLaVA's was; it fits the tokenizer."""
    vocabulary, _ = tokenizer.build()
    before = len(vocabulary)
    image, pad = before, before + 1
    torch.manual_seed(60)
    model = llava(
        text={"num_hidden_layers": 2, "vocab_size": before, "pad_token_id": None}, image_token_index=image,
        pad_token_id=None,
    )
    fill(model, 60)
    model.resize_token_embeddings(before + 2, pad_to_multiple_of=64)
    model.config.pad_token_id = pad
    assert model.config.text_config.vocab_size % 64 == 0
    save("resized", model)
    shutil.copy(tokenizer.folder("legacy") / "tokenizer.json", MODELS / "resized")
    compute("resized", 61, only=["no_image", "one_image"])


def main():
    torch.set_num_threads(1)
    save("untied", fill(llava(), 10))
    compute("untied", 11)
    grouped = llava(
        text={"num_key_value_heads": 2, "head_dim": 12, "tie_word_embeddings": True, "rope_parameters":
              {"rope_type": "default", "rope_theta": 500.0}, "vocab_size": 88, "rms_norm_eps": 1e-6},
        vision={"image_size": 24, "patch_size": 12, "num_hidden_layers": 2, "hidden_size": 24, "layer_norm_eps": 1e-6},
        vision_feature_layer=-1, vision_feature_select_strategy="full",
    )
    save("grouped", fill(grouped, 20))
    compute("grouped", 21)
    save("sharded", fill(llava(text={"num_key_value_heads": 1}), 30).bfloat16(), max_shard_size="60KB")
    compute("sharded", 31)
    older()
    between()
    resized()
    save("text", fill(LlamaForCausalLM(text_config(num_key_value_heads=2)).float(), 70))
    compute("text", 71, LlamaForCausalLM)
    save("text_tied", fill(LlamaForCausalLM(text_config(num_hidden_layers=2, tie_word_embeddings=True)).float(), 80))
    compute("text_tied", 81, LlamaForCausalLM)


if __name__ == "__main__":
    main()
