"""A training step in PyTorch (transformers, PEFT, AdamW) against ours: same model, samples, batches and threads.

    python train.py [--batch N] [--rank N | --rank 0 to train everything] [--samples N] [--threads N] …
"""

import time

import torch

from peers import IGNORE, median, model, ours, padded, parser, report, samples, with_adapter


class Theirs:
    """The same steps as ours: the given order, clipping, AdamW; rates that move nothing of note."""

    def __init__(self, given, rows, network):
        self.pad = network.config.pad_token_id
        self.llava, self.head = network.model, network.get_output_embeddings()
        self.network = with_adapter(network, given.rank) if given.rank else network
        projector = [value for name, value in self.network.named_parameters() if "multi_modal_projector" in name]
        for value in projector:
            value.requires_grad_(True)
        self.trained = [value for value in self.network.parameters() if value.requires_grad]
        kept = {id(value) for value in projector}
        groups = [{"params": [value for value in self.trained if id(value) not in kept], "lr": 2e-4},
                  {"params": projector, "lr": 2e-5}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=given.fused)
        # Padded once: ours does it again at every step.
        self.batches = [padded(rows[at:at + given.batch], self.pad) for at in range(0, len(rows), given.batch)]

    def run(self):
        """Samples and seconds of one pass."""
        start, done = time.perf_counter(), 0
        for ids, labels, mask, pixels in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            hidden = self.llava(input_ids=ids, attention_mask=mask, pixel_values=pixels if len(pixels) else None)
            # Logits where something is learnt, as ours: all of them would only be slower.
            learnt = labels[:, 1:] != IGNORE
            logits = self.head(hidden.last_hidden_state[:, :-1][learnt])
            losses = torch.nn.functional.cross_entropy(logits, labels[:, 1:][learnt], reduction="none")
            weights = (learnt / learnt.sum(1, keepdim=True))[learnt]
            ((losses * weights).sum() / len(ids)).backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            done += len(ids)
        return done, time.perf_counter() - start


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--fused", action="store_true", help="PyTorch's fused AdamW instead of its default")
    given = arguments.parse_args()
    network = model(given)
    theirs = Theirs(given, samples(given, network.config.vision_config.image_size), network)
    theirs.run()
    rates = {"PyTorch": [], "ours": []}
    for _ in range(given.rounds):
        done, seconds = theirs.run()
        rates["PyTorch"].append(done / seconds)
        found = ours(given, "train", "--batch", given.batch, "--rank", given.rank, "--rounds", 3)
        rates["ours"].append(median([found["samples"] / seconds for seconds in found["seconds"]]))
    what = f"LoRA of rank {given.rank} and projector" if given.rank else "everything"
    report(f"training {what}, batches of {given.batch}, {given.threads} thread(s), median of {given.rounds}", rates)


if __name__ == "__main__":
    main()
