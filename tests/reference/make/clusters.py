"""Sets of vectors with the best inertia of ten starts of scikit-learn's k-means.

Which optimum ten starts find is a matter of luck, theirs and ours: the best of ten is stored for several seeds.
"""

import numpy as np
import torch
from sklearn.cluster import KMeans

from common import FIXTURES, versions, write_json, write_tensors

SEEDS = 7


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sets():
    """Name → vectors and number of clusters."""
    random = np.random.default_rng(5)
    normal = random.standard_normal
    centres = 6 * normal((8, 16))
    yield "blobs", 8, centres[random.integers(8, size=600)] + normal((600, 16))
    yield "overlapping", 10, 1.2 * normal((10, 12))[random.integers(10, size=500)] + normal((500, 12))
    stretch = normal((8, 8)) * np.geomspace(0.1, 5, 8)
    yield "anisotropic", 6, 4 * normal((6, 8))[random.integers(6, size=500)] + normal((500, 8)) @ stretch
    sizes = np.repeat(np.arange(5), [300, 60, 20, 8, 2])
    yield "uneven", 5, 8 * normal((5, 6))[sizes] + normal((390, 6))
    few = normal((40, 5))
    yield "duplicates", 12, few[random.integers(40, size=400)]
    # Like gradients after projection: a common direction, some task directions, noise, of unit length.
    tasks = normal((7, 96))
    gradients = 1.5 * normal(96) + 2 * tasks[random.integers(7, size=300)] + 1.5 * normal((300, 96))
    yield "gradients", 10, unit(gradients)
    yield "structureless", 10, normal((300, 24))


def main():
    facts, tensors = {}, {}
    for name, clusters, vectors in sets():
        vectors = vectors.astype(np.float32)
        # In f64: its sum is then exact enough to compare with.
        best = [KMeans(clusters, n_init=10, random_state=seed, max_iter=300).fit(vectors.astype(np.float64)).inertia_
                for seed in range(SEEDS)]
        facts[name] = {"clusters": clusters, "inertia": best}
        tensors[name] = torch.from_numpy(vectors)
    write_tensors(FIXTURES / "clusters" / "vectors.safetensors", tensors)
    head = {"made_with": versions("numpy", "scikit-learn"), "sets": facts}
    write_json(FIXTURES / "clusters" / "inertia.json", head, indent=1)
    print(facts)


if __name__ == "__main__":
    main()
