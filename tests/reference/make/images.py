"""Image files of many kinds, and what Pillow and CLIPImageProcessor make of them.

Each image is prepared twice: padded to a square with LLaVA's mean colour first, and not padded (the longer edge is
cropped). What is stored are the bytes after resizing and cropping, recovered from the normalised pixel values.

To be run with Pillow before 13, with which the published models were trained: since 13 it resizes columns first where
that is cheaper, and differs by some levels where it overshoots. As LLaVA does, and transformers no longer, transparency
is dropped and not put on white.
"""

import shutil
import struct
import zlib

import numpy as np
import PIL
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from common import FIXTURES, versions, write_json, write_tensors

FOLDER = FIXTURES / "images"
MEAN_COLOUR = (122, 116, 104)


def picture(width, height, seed, channels=3):
    """Smooth areas, edges and some noise: what bicubic filters over- and undershoot at."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(channels):
        wave = np.sin(x * random.uniform(0.05, 0.9) + random.uniform(0, 6)) * np.cos(y * random.uniform(0.05, 0.9))
        steps = ((x // random.integers(2, 9) + y // random.integers(2, 9)) % 2) * random.uniform(40, 160)
        planes.append(90 + 60 * wave + steps + random.normal(0, 8, (height, width)))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def rgb(width, height, seed):
    return Image.fromarray(picture(width, height, seed))


def png_of_16_bits(path, values):
    """A PNG of 16-bit colours, which Pillow can read but not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + values[row].astype(">u2").tobytes() for row in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def files():
    """Writes the images; yields file, size to prepare for, and how its decoding may differ."""
    sizes = [(1, 1), (2, 3), (5, 5), (29, 29), (28, 28), (40, 13), (13, 40), (61, 60), (60, 61), (97, 31), (31, 97),
             (200, 7), (7, 200), (64, 48), (161, 203), (28, 56), (27, 28)]
    for number, (width, height) in enumerate(sizes):
        name = f"rgb-{width}x{height}.png"
        rgb(width, height, number).save(FOLDER / name, optimize=True)
        yield name, 28, "exact"
    for width, height in [(75, 50), (50, 75), (20, 33), (336, 190)]:
        name = f"to112-{width}x{height}.png"
        rgb(width, height, width).save(FOLDER / name, optimize=True)
        yield name, 112, "exact"

    Image.fromarray(picture(45, 33, 50, 4), "RGBA").save(FOLDER / "rgba.png")
    grey = Image.fromarray(picture(45, 33, 51, 1)[..., 0])
    grey.save(FOLDER / "grey.png")
    Image.fromarray(picture(45, 33, 52, 2), "LA").save(FOLDER / "grey-alpha.png")
    grey.convert("1").save(FOLDER / "two-colours.png")
    palette = rgb(45, 33, 53).quantize(32)
    palette.save(FOLDER / "palette.png")
    palette.save(FOLDER / "palette.gif")
    rgb(33, 45, 54).quantize(17).save(FOLDER / "gif-named.jpg", format="GIF")
    frames = [rgb(30, 20, seed).quantize(16) for seed in (55, 56)]
    frames[0].save(FOLDER / "animated.gif", save_all=True, append_images=frames[1:], duration=50)
    rgb(31, 18, 57).save(FOLDER / "colours.bmp")
    rgb(31, 18, 58).save(FOLDER / "lossless.webp", lossless=True)
    for name in ["rgba.png", "grey.png", "grey-alpha.png", "two-colours.png", "palette.png", "palette.gif",
                 "gif-named.jpg", "animated.gif", "colours.bmp", "lossless.webp"]:
        yield name, 28, "exact"

    palette.save(FOLDER / "palette-transparent.png", transparency=3)
    palette.save(FOLDER / "palette-transparent.gif", transparency=3)
    yield "palette-transparent.png", 28, "exact"
    yield "palette-transparent.gif", 28, "exact"

    png_of_16_bits(FOLDER / "deep.png", picture(40, 30, 59).astype(np.uint16) * 257 + 100)
    yield "deep.png", 28, "exact"

    # Decoders of lossy formats are free in their last bit, and in how they bring colours to full size.
    rgb(64, 48, 60).save(FOLDER / "whole.jpg", quality=92, subsampling=0)
    rgb(160, 120, 61).save(FOLDER / "halved.jpg", quality=90, subsampling=2)
    rgb(160, 120, 61).save(FOLDER / "progressive.jpg", quality=85, subsampling=2, progressive=True)
    grey.save(FOLDER / "grey.jpg", quality=90)
    rgb(60, 41, 62).convert("CMYK").save(FOLDER / "cmyk.jpg", quality=92)
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb(64, 48, 63).save(FOLDER / "turned.jpg", quality=92, subsampling=0, exif=turned)
    rgb(160, 120, 64).save(FOLDER / "lossy.webp", quality=90)
    for name in ["whole.jpg", "halved.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "turned.jpg", "lossy.webp"]:
        yield name, 28, "lossy"


def square(image):
    """The image in the middle of a square of the mean colour; the odd pixel goes below or to the right."""
    side = max(image.size)
    canvas = Image.new("RGB", (side, side), MEAN_COLOUR)
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def prepared(processor, image):
    """The bytes `[3, size, size]` before normalising."""
    values = processor(image, return_tensors="np")["pixel_values"][0]
    mean, deviation = (np.array(numbers).reshape(3, 1, 1) for numbers in (processor.image_mean, processor.image_std))
    levels = (values.astype(np.float64) * deviation + mean) * 255
    assert np.abs(levels - levels.round()).max() < 1e-3
    return torch.from_numpy(levels.round().astype(np.uint8))


def main():
    assert int(PIL.__version__.split(".")[0]) < 13, "Pillow before 13 is needed"
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    tensors, facts = {}, {}
    for name, size, decoding in files():
        processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
        image = Image.open(FOLDER / name).convert("RGB")
        image.info.clear()
        tensors[f"{name}.padded"] = prepared(processor, square(image))
        tensors[f"{name}.cropped"] = prepared(processor, image)
        facts[name] = {"size": size, "decoding": decoding}
    write_tensors(FIXTURES / "images.safetensors", tensors)
    head = {"made_with": versions("pillow", "numpy", "transformers"), "images": facts}
    write_json(FIXTURES / "images.json", head, indent=1)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor.save_pretrained(FIXTURES / "images")
    print(len(facts), "images")


if __name__ == "__main__":
    main()
