"""Two tokenizers that behave as LLaMA's fast one: BPE with byte fallback, a blank is `▁`.

`legacy` puts a `▁` in front of every piece between special tokens (the normalizer of most published LLaMA-2
tokenizer.json files); `first` only in front of the text (what transformers makes of `"legacy": false`).

The real vocabulary is not free to be shipped, so a small one is learnt from the text below. Like the real one it
has runs of blanks, `USER` as one token and `▁USER` as two, so that the number of tokens of a part depends on what is
around it.
"""

import json

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from common import FIXTURES, write_json

TEXT = """
A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and
polite answers to the user's questions. USER: What is in the picture? ASSISTANT: The picture shows two small dogs on a
green lawn. USER: How many people are there, and what are they doing? ASSISTANT: There are three people. They are
walking along the river. Describe the image in detail. Answer the question using a single word or phrase. Yes. No.
The colour of the ball is red, the colour of the box is blue; one of them is to the left of the other. Which of the
two answers is right, and why? It is hard to say because the light comes from behind. Provide a short caption for
this image. A man in a white shirt is riding a horse. The numbers are 1, 2, 3, 4, 5 and 10. Reference: region
[0.12, 0.45, 0.78, 0.90]. Please read the text on the sign and translate it into Chinese. 图片里有什么？ 图片里有一只猫。
这个人在做什么？ 他在走路。 Une voiture rouge est garée devant la maison. Was ist auf dem Bild zu sehen?
def answer(question): return model.generate(question)  # the model gives an answer
"""

FIRST = ["▁ ▁", "▁▁ ▁▁", "U S", "E R", "▁ US", "US ER", "A SS", "S S", "▁ A", "▁A SS"]
SPECIAL = ["<unk>", "<s>", "</s>"]
SCHEMES = ["legacy", "first"]
ADDED = ["<image>", "<pad>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def learn(size):
    """The merges of a BPE of `TEXT` with at most `size` tokens, and its alphabet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False)
    tokenizer.train_from_iterator([line for line in TEXT.strip().splitlines()], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [" ".join(merge) for merge in model["merges"]]
    alphabet = sorted(token for token in model["vocab"] if len(token) == 1)
    return merges, alphabet


def build():
    """Vocabulary and merges: special tokens, bytes, merged tokens, characters, as in LLaMA's."""
    learnt, alphabet = learn(420)
    merges = list(dict.fromkeys(FIRST + learnt))
    tokens = SPECIAL + BYTES
    tokens += [merge.replace(" ", "") for merge in merges] + alphabet + list("▁USERA")
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return vocabulary, merges


def tokenizer_json(vocabulary, merges, scheme):
    special = [(vocabulary[token], token) for token in SPECIAL]
    special += [(len(vocabulary) + number, token) for number, token in enumerate(ADDED)]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    normalizer, pre_tokenizer = {
        "legacy": ({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}, None),
        "first": (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}),
    }[scheme]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": token} | flags for number, token in special],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, bos, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [vocabulary["<s>"]], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": vocabulary, "merges": merges,
        },
    }


def folder(scheme):
    """Where the tokenizer of a scheme is."""
    return FIXTURES / "tokenizers" / scheme


def main():
    vocabulary, merges = build()
    for scheme in SCHEMES:
        write_json(folder(scheme) / "tokenizer.json", tokenizer_json(vocabulary, merges, scheme))
        tokenizer = Tokenizer.from_file(str(folder(scheme) / "tokenizer.json"))
        parts = [tokenizer.encode(text, add_special_tokens=False).tokens for text in ["USER:", "</s>USER: a"]]
        print(scheme, tokenizer.get_vocab_size(), parts)


if __name__ == "__main__":
    main()
