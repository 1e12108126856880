"""Token ids and label masks of conversations in LLaVA's template v1.

Two rules, both written from their description:

`right`     The text of the whole conversation is cut at its `<image>` marks and every piece is tokenised. A token is
            learnt if any of its characters lies in an answer: from the blank after `ASSISTANT:` to the end of `</s>`.
            A conversation that is too long is cut at its end, an image that would be cut in two before its start.
`original`  What LLaVA's training script does: rounds are split at `</s>`, a round at ` ASSISTANT: `, and both parts
            are tokenised again to count tokens; where the counts do not add up, nothing is learnt. Empty messages are
            left out with the blank before and the separator after them, and images are cut where the limit is.

Every row has the ids and the learnt positions of `right`. Where `original` differs, the row says how.
"""

import random
from itertools import groupby

from tokenizers import Tokenizer

import tokenizer
from common import FIXTURES, versions, write_rows

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
SYSTEMS = ["", SYSTEM]
MARK, END = "<image>", "</s>"
RUN = 4
BOS, UNKNOWN = 1, 0


class Rule:
    """What both rules need of a tokenizer."""

    def __init__(self, scheme):
        self.scheme = scheme
        self.inner = Tokenizer.from_file(str(tokenizer.folder(scheme) / "tokenizer.json"))
        self.image = self.inner.token_to_id(MARK)

    def piece(self, text):
        encoding = self.inner.encode(text, add_special_tokens=False)
        return list(zip(encoding.ids, encoding.offsets))


def right(rule, turns, system, most):
    """Ids, learnt positions, number of images, tokens cut off."""
    text, answers = f"{system} " if system else "", []
    for question, answer in turns:
        text += f"USER: {question} ASSISTANT:"
        start = len(text)
        text += f" {answer}{END}"
        answers.append((start, len(text)))
    ids, learnt, images, at = [BOS], [False], [], 0
    for number, piece in enumerate(text.split(MARK)):
        if number:
            images.append(len(ids))
            ids += [rule.image] * RUN
            learnt += [False] * RUN
            at += len(MARK)
        for id, (start, end) in rule.piece(piece):
            ids.append(id)
            learnt.append(any(at + start < last and first < at + end for first, last in answers))
        at += len(piece)
    kept = min([len(ids), most] + [start for start in images if start + RUN > most])
    where = [position for position in range(kept) if learnt[position]]
    return ids[:kept], where, sum(start < kept for start in images), len(ids) - kept


def original(rule, turns, system, most):
    """Ids and learnt positions, and whether the counts did not add up."""
    roles = [("USER", " "), ("ASSISTANT", END)]
    text = f"{system} " if system else ""
    for turn in turns:
        for (role, separator), message in zip(roles, turn):
            text += f"{role}: {message}{separator}" if message else f"{role}:"
    has_image = MARK in text

    def tokens(text):
        """With an image each piece between marks for itself, else as a whole; a start token first."""
        pieces = text.split(MARK) if has_image else [text]
        ids = [BOS]
        for number, piece in enumerate(pieces):
            ids += [rule.image] if number else []
            ids += [id for id, _ in rule.piece(piece)]
        return ids if has_image else ids[:most]

    ids = tokens(text)
    learnt = [True] * len(ids)

    def mask(start, end):
        for position in range(max(start, 0), min(end, len(ids))):
            learnt[position] = False

    total = sum(id != UNKNOWN for id in ids)
    at = 1
    mask(0, at)
    for number, part in enumerate(text.split(END)):
        sides = part.split(" ASSISTANT: ")
        if part == "" or len(sides) != 2:
            break
        length = len(tokens(part))
        instruction = len(tokens(sides[0] + " ASSISTANT: ")) - 2
        if number and rule.scheme == "first":
            length, instruction = length - 1, instruction - 1
        mask(at, at + instruction)
        at += length
    mask(at, len(ids))
    mismatch = at < most and at != total
    if mismatch:
        mask(0, len(ids))
    whole, where = [], []
    for id, is_learnt in zip(ids, learnt):
        where += [len(whole)] if is_learnt and id != rule.image else []
        whole += [id] * (RUN if id == rule.image else 1)
    return whole[:most], [position for position in where if position < most], mismatch


QUESTIONS = [
    "What is in the picture?", "How many people are there, and what are they doing?", "Describe the image in detail.",
    "图片里有什么？", "这个人在做什么？请用中文回答。", "Was ist auf dem Bild zu sehen?", "Une voiture rouge?",
    "Answer the question using a single word or phrase.", "Is it red 🙂?", "👩‍👩‍👧 who?", "a", "?", "1 + 2 = ",
    "two  blanks   and    more", " starts with a blank", "ends with a blank ", "ends with two  ", "\n", "line\nbreak\n\n",
    "\ttab", "print(x)\n    return x", "naïve façade — “quotes”…", "éé", "ＦＵＬＬ width", "the user's USER: question",
    "[0.12, 0.45, 0.78, 0.90]", "\u200bzero width", "عربى", "한국어 질문", "A. yes\nB. no\nAnswer with the letter.",
]
ANSWERS = [
    "Yes.", "No", "A man in a white shirt is riding a horse.", "有一只猫。", "猫", "🐈", "ein Hund", "3", "10, 12 and 15",
    "The colour of the ball is red,\nthe colour of the box is blue.", " leading blank", "  two leading blanks",
    "trailing blank ", "trailing blanks   ", "\n", "\nstarts with a line", "a\tb", "x" * 40, "[0.12, 0.45]", "…", "“Yes”",
    "1. red\n2. blue\n", "    return x", "é", "👍🏽 ok", "USER", "It says: ASSISTANT.", "the the the",
]
ODD = [
    [("say the end", "it is </s> indeed")], [("what does </s> mean?", "an end")], [("a</s>", "b")],
    [("repeat ASSISTANT: yes", "yes ASSISTANT: yes")], [("x ASSISTANT: y", "z")], [("x", "y ASSISTANT: z")],
    [("name the token", "<unk>")], [("<s> is what?", "a start")], [("<pad>", "<pad>")], [("q", "the mark <image> here")],
    [("q", "")], [("", "a")], [("", "")], [("q", ""), ("p", "b")], [("q", "a"), ("", "b")], [("q", "a"), ("p", "")],
    [("<image>", "")], [("<image>\n", "a")], [("<image>", "a"), ("<image>", "b")], [(" ", " ")],
    [("<image> <image>", "a")], [("<image><image>", "two")], [("a<image>b", "c")], [("<image>\n</s>", "a")],
    [("q", "a</s>")], [("q", "</s>")], [("q", "USER: p ASSISTANT: b")],
]


def drawn(count):
    """Conversations of one to four turns, with images in most ways that data sets have them."""
    generator = random.Random(9)
    for number in range(count):
        turns = [(generator.choice(QUESTIONS), generator.choice(ANSWERS))
                 for _ in range(generator.choice([1, 1, 2, 3, 4]))]
        first = turns[0]
        place = number % 6
        if place == 0:
            turns[0] = (f"{MARK}\n{first[0]}", first[1])
        elif place == 1:
            turns[0] = (f"{first[0]}\n{MARK}", first[1])
        elif place == 2:
            turns[0] = (f"{MARK} {MARK}\n{first[0]}", first[1])
        elif place == 3:
            turns[-1] = (f"{turns[-1][0]} {MARK} and {MARK}{MARK}?", turns[-1][1])
        yield turns


def conversations():
    """Scheme, system, turns and limit of every row."""
    generator = random.Random(3)
    for turns in ODD:
        for scheme in tokenizer.SCHEMES:
            yield scheme, 0, turns, 2048
    for number, turns in enumerate(drawn(200)):
        yield tokenizer.SCHEMES[number % 5 == 4], int(number % 4 == 3), turns, 2048
    for number, turns in enumerate(drawn(60)):
        rule = Rule("legacy")
        length = len(right(rule, turns, "", 10**6)[0])
        yield "legacy", 0, turns, generator.randint(8, max(9, length))


def runs(positions):
    """Ascending positions as pairs of first and behind the last."""
    groups = groupby(enumerate(positions), key=lambda pair: pair[1] - pair[0])
    starts = [[position for _, position in group] for _, group in groups]
    return [[group[0], group[-1] + 1] for group in starts]


def difference(ids, learnt, other_ids, other_learnt, mismatch):
    """How the original rule differs, or None."""
    if ids != other_ids:
        return "other tokens" + (", nothing learnt" if mismatch else "")
    if learnt == other_learnt:
        return None
    return "nothing learnt" if mismatch else "other mask"


def main():
    rules = {scheme: Rule(scheme) for scheme in tokenizer.SCHEMES}
    rows, counts = [], {}
    for scheme, system, turns, most in conversations():
        ids, learnt, images, cut = right(rules[scheme], turns, SYSTEMS[system], most)
        other_ids, other_learnt, mismatch = original(rules[scheme], turns, SYSTEMS[system], most)
        how = difference(ids, learnt, other_ids, other_learnt, mismatch)
        counts[how] = counts.get(how, 0) + 1
        row = {"tokenizer": scheme, "system": system, "max_length": most, "turns": turns, "ids": ids,
               "learnt": runs(learnt), "images": images, "cut": cut}
        if how:
            row["original"] = {"differs": how, "learnt": runs(other_learnt)}
            if ids != other_ids:
                row["original"]["ids"] = other_ids
        rows.append(row)
    head = {"made_with": versions("tokenizers"), "rule": "right", "systems": SYSTEMS, "image_tokens": RUN}
    write_rows(FIXTURES / "conversations.json", head, rows)
    print(len(rows), "conversations;", counts)


if __name__ == "__main__":
    main()
