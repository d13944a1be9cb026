"""Clusters of tokens around density peaks, and their merging (arXiv 2508.16479).

Rodriguez and Laio 2014 with the density of Du, Ding and Jia 2016. The release breaks ties of the
density with noise; here the token that comes first is the denser one, so a graph is reproducible.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FLOOR = 1e-6  # added to the summed importance of a cluster
_SAME = 1e-5
"""Two tokens nearer than this share of their own squared lengths are the same. A short bag fills
its places with repeats; what rounding leaves of their distance would decide which token is denser,
and so differ from one runtime to the next."""


def cluster_count(tokens: int, ratio: float) -> int:
    """How many clusters `tokens` make: ratio of them, rounded up, at least one."""
    return max(math.ceil(tokens * ratio), 1)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not typed here
def density_peaks(tokens: Tensor, clusters: int, neighbors: int = 5) -> tuple[Tensor, Tensor]:
    """Centers int64 [B, K], best first, and the cluster of every token int64 [B, S].

    tokens [B, S, E]; distances are divided by sqrt(E). Density: exp of minus the mean squared
    distance to the nearest `neighbors`, the token itself among them. A center is dense and far
    from anything denser; every token goes to its nearest center.
    """
    squared = squared_distances(tokens)
    distance = squared.sqrt()
    nearest = squared.topk(min(neighbors, tokens.shape[1]), dim=-1, largest=False).values
    sparse = nearest.mean(dim=-1)  # of which the exponential is 1 for all that are close together
    density = torch.exp(-sparse)
    index = torch.arange(tokens.shape[1], device=tokens.device)
    ahead = sparse.unsqueeze(1) < sparse.unsqueeze(2)  # [B, i, j]: j is denser than i
    first = (sparse.unsqueeze(1) == sparse.unsqueeze(2)) & (index < index.unsqueeze(1))
    longest = distance.amax(dim=(1, 2)).unsqueeze(1)
    away = torch.where(ahead | first, distance, longest.unsqueeze(2)).amin(dim=-1)
    centers = _largest(away * density, clusters)
    reach = distance.gather(1, centers.unsqueeze(2).expand(-1, -1, tokens.shape[1]))
    own = centers.unsqueeze(2) == index  # a center is in its own cluster even among duplicates
    return centers, torch.where(own, -torch.ones_like(reach), reach).argmin(dim=1)


def squared_distances(tokens: Tensor) -> Tensor:
    """[B, S, S] squared Euclidean distances over E, of tokens [B, S, E]; 0 between repeats."""
    centered = tokens - tokens.mean(dim=1, keepdim=True)  # less cancellation below
    norms = centered.square().sum(dim=-1)
    products = centered @ centered.transpose(1, 2)
    both = norms.unsqueeze(2) + norms.unsqueeze(1)
    squared = both - 2 * products
    same = squared <= _SAME * both  # the diagonal among them
    return torch.where(same, torch.zeros_like(squared), squared) / tokens.shape[2]


def merge(
    tokens: Tensor, importance: Tensor, cluster: Tensor, clusters: int
) -> tuple[Tensor, Tensor]:
    """Merged tokens [B, K, E] and the weight [B, S] of every token within its cluster.

    tokens [B, S, E], importance [B, S] > 0, cluster int64 [B, S].
    """
    member = (cluster.unsqueeze(1) == torch.arange(clusters, device=cluster.device)[:, None]).to(
        tokens.dtype
    )  # [B, K, S]
    shares = member * importance.unsqueeze(1)
    shares = shares / (shares.sum(dim=-1, keepdim=True) + _FLOOR)
    return shares @ tokens, shares.sum(dim=1)


def _largest(score: Tensor, count: int) -> Tensor:
    """int64 [B, count] places of the largest scores [B, S]; of equal ones the first."""
    found = []
    taken = torch.zeros_like(score, dtype=torch.bool)
    places = torch.arange(score.shape[1], device=score.device)
    for _ in range(count):
        best = torch.where(taken, -torch.ones_like(score), score).argmax(dim=1, keepdim=True)
        found.append(best)
        taken = taken | (places == best)
    return torch.cat(found, dim=1)
