"""Per-sample LoRA gradients of one decoder layer, projected: three ways, same checkpoint, samples and threads.

loop   as the authors of the method do it: one sample at a time, a backward pass through the whole model, and a
       product with a dense matrix of signs (which is kept in memory here, though theirs is drawn again each time)
vmap   torch.func: vmap of grad over a batch, with respect to the chosen layer's adapter only, same product. Images
       are embedded outside, as they have no adapter
ours   the library's extraction and projection

    python gradients.py [--samples N] [--micro-batch N] [--dimensions N] [--layer N] …
"""

import time

from peers import IGNORE, median, model, ours, padded, parser, report, samples, with_adapter


def batches(rows, size):
    """Groups of like length, longest first, as our side forms them."""
    order = sorted(rows, key=lambda row: -len(row["ids"]))
    return [order[at:at + size] for at in range(0, len(order), size)]


def of_layer(network, layer):
    return {name: value for name, value in network.named_parameters()
            if f"language_model.layers.{layer}." in name and "lora_" in name}


class Loop:
    def __init__(self, given, rows, matrix_of):
        self.rows, self.network = rows, with_adapter(model(given), given.rank)
        self.adapters = list(of_layer(self.network, given.layer).values())
        self.parameters = sum(value.numel() for value in self.adapters)
        self.matrix = matrix_of(self.parameters)

    def run(self, most):
        """Samples and seconds."""
        import torch

        start, rows = time.perf_counter(), self.rows[:most]
        for row in rows:
            ids, labels, _, pixels = padded([row], 0)
            self.network.zero_grad()
            self.network(input_ids=ids, labels=labels, pixel_values=pixels if len(pixels) else None).loss.backward()
            torch.cat([value.grad.reshape(-1) for value in self.adapters]) @ self.matrix
        return len(rows), time.perf_counter() - start


class Vmap:
    def __init__(self, given, rows, matrix_of):
        import torch

        network = model(given)
        network.config.text_config._attn_implementation = "eager"
        network.model.language_model.config._attn_implementation = "eager"
        self.network = with_adapter(network, given.rank).eval()
        self.inner = self.network.base_model.model
        for value in self.network.parameters():
            value.requires_grad_(False)
        self.pad = network.config.pad_token_id
        prefix = "model.language_model."
        inner = dict(self.inner.named_parameters())
        self.adapters = {name.removeprefix(prefix): value for name, value in inner.items()
                         if name.startswith(f"{prefix}layers.{given.layer}.") and "lora_" in name}
        self.parameters = sum(value.numel() for value in self.adapters.values())
        self.matrix = matrix_of(self.parameters)
        self.batches = batches(rows, given.micro_batch)
        self.gradient = torch.func.vmap(torch.func.grad(self.loss), in_dims=(None, 0, 0, None, None))

    def loss(self, adapters, embedded, labels, mask, positions):
        """The mean over one sample's answer tokens."""
        import torch

        language = self.inner.model.language_model
        arguments = dict(inputs_embeds=embedded[None], attention_mask=mask, position_ids=positions, use_cache=False)
        hidden = torch.func.functional_call(language, adapters, (), arguments).last_hidden_state[0]
        logits = self.inner.lm_head(hidden[:-1])
        losses = torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=IGNORE, reduction="none")
        return losses.sum() / (labels[1:] != IGNORE).sum()

    def run(self, most):
        import torch

        done, start = 0, time.perf_counter()
        for rows in self.batches:
            if done >= most:
                break
            ids, labels, _, pixels = padded(rows, self.pad)
            with torch.no_grad():
                embedded = self.inner.get_input_embeddings()(ids)
                if len(pixels):
                    seen = self.inner.model.get_image_features(pixels)
                    seen = getattr(seen, "pooler_output", seen)
                    seen = torch.cat([part.reshape(-1, embedded.shape[-1]) for part in seen])
                    image = self.inner.config.image_token_index
                    embedded = embedded.masked_scatter((ids == image)[..., None].expand_as(embedded), seen)
            length = ids.shape[1]
            mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
            gradients = self.gradient(self.adapters, embedded, labels, mask, torch.arange(length)[None])
            torch.cat([value.reshape(len(rows), -1) for value in gradients.values()], 1) @ self.matrix
            done += len(rows)
        return done, time.perf_counter() - start


def agree(loop, vmap):
    """Fails if the two ways do not give the same gradients: then there is nothing to compare."""
    import torch

    # A fresh B is zero: give both models the same trained-looking adapter first.
    generator = torch.Generator().manual_seed(1)
    for name, value in of_layer(loop.network, ARGUMENTS.layer).items():
        noise = 0.05 * torch.randn(value.shape, generator=generator)
        value.data.copy_(noise)
        key = name.split("language_model.")[1]
        vmap.adapters[key].data.copy_(noise)
    row = vmap.batches[0][0]
    ids, labels, _, pixels = padded([row], 0)
    loop.network.zero_grad()
    loop.network(input_ids=ids, labels=labels, pixel_values=pixels if len(pixels) else None).loss.backward()
    theirs = torch.cat([value.grad.reshape(-1) for value in loop.adapters])
    kept, own = vmap.matrix, []
    vmap.matrix, gradient = torch.zeros(vmap.parameters, 1), vmap.gradient
    vmap.gradient = lambda *arguments: own.append(gradient(*arguments)) or own[0]
    vmap.run(1)
    vmap.matrix, vmap.gradient = kept, gradient
    ours = torch.cat([own[0][name.split("language_model.")[1]][0].reshape(-1)
                      for name in of_layer(loop.network, ARGUMENTS.layer)])
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    assert error < 1e-3, f"vmap and the loop differ by {error}"
    return error


def main():
    import torch

    given = ARGUMENTS
    torch.set_num_threads(given.threads)
    size = model(given).config.vision_config.image_size
    rows = samples(given, size)
    matrices = {}

    def matrix_of(parameters):
        if parameters not in matrices:
            generator = torch.Generator().manual_seed(0)
            signs = torch.randint(0, 2, (parameters, given.dimensions), generator=generator)
            matrices[parameters] = (2 * signs - 1).float() / given.dimensions ** 0.5
        return matrices[parameters]

    loop, vmap = Loop(given, rows, matrix_of), Vmap(given, rows, matrix_of)
    print(f"vmap and the loop agree to {agree(loop, vmap):.1e}")
    loop.run(8), vmap.run(2 * given.micro_batch)
    rates = {"loop of single samples (PyTorch)": [], "vmap of grad (torch.func)": [], "ours": []}
    for _ in range(given.rounds):
        for side, most, name in [(loop, given.loop_samples, "loop of single samples (PyTorch)"),
                                 (vmap, given.samples, "vmap of grad (torch.func)")]:
            done, seconds = side.run(most)
            rates[name].append(done / seconds)
        found = ours(given, "gradients", "--micro-batch", given.micro_batch, "--dimensions", given.dimensions,
                     "--layers", given.layer, "--rank", given.rank, "--rounds", 3)
        assert found["parameters"] == loop.parameters == vmap.parameters
        rates["ours"].append(median([found["samples"] / seconds for seconds in found["seconds"]]))
    title = (f"{given.samples} samples, {loop.parameters} parameters of layer {given.layer} to {given.dimensions} dimensions,"
             f" batches of {given.micro_batch}, {given.threads} thread(s), median of {given.rounds}")
    report(title, rates)


ARGUMENTS = None

if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--micro-batch", type=int, default=32)
    arguments.add_argument("--dimensions", type=int, default=256)
    arguments.add_argument("--layer", type=int, default=1)
    arguments.add_argument("--loop-samples", type=int, default=128, help="samples that the loop is timed on")
    ARGUMENTS = arguments.parse_args()
    main()
