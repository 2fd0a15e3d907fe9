"""Which nodes of a graph hang together by its strongest edges, and what adds up along these: on any device.

Borůvka's algorithm (Nešetřil et al. 2001, doi:10.1016/S0012-365X(00)00224-7): all pieces at once join their neighbour
over their strongest edge, and are at most half as many after each round; pointers are followed to the end by jumping.
"""

from __future__ import annotations

from .._lazy import torch


def connected(
    count: int, one: torch.Tensor, two: torch.Tensor, step: torch.Tensor, strength: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The piece (count,) that each of `count` nodes belongs to, numbered from 0, and its value against the root's.

    Edges (edge,) lead from node `one` to node `two`, whose value is `step` more. Values add up along the spanning tree
    of greatest `strength`; without one, along some spanning tree.
    """
    nodes = torch.arange(count, device=one.device)
    rank = torch.arange(len(one), device=one.device)
    if strength is not None:
        rank[strength.argsort(descending=True, stable=True)] = rank.clone()
    root, value = nodes, torch.zeros(count, dtype=step.dtype, device=one.device)
    tail, head = torch.cat([one, two]).long(), torch.cat([two, one]).long()
    step, rank = torch.cat([step, -step]), rank.repeat(2)
    while True:
        apart = tail != head
        tail, head, step, rank = tail[apart], head[apart], step[apart], rank[apart]
        if not len(tail):
            break
        best = torch.full_like(nodes, len(one)).scatter_reduce_(0, tail, rank, "amin")
        chosen = (best[tail] == rank).nonzero().squeeze(1)
        parent, climb = nodes.clone(), torch.zeros_like(value)
        parent[tail[chosen]], climb[tail[chosen]] = head[chosen], -step[chosen]
        # Where two chose each other, the first is the root.
        first = (parent[parent] == nodes) & (nodes < parent)
        parent, climb = torch.where(first, nodes, parent), climb * ~first
        while not torch.equal(above := parent[parent], parent):
            climb, parent = climb + climb[parent], above
        root, value = parent[root], value + climb[root]
        step = step + climb[tail] - climb[head]
        tail, head = parent[tail], parent[head]
    return ((root == nodes).cumsum(0) - 1)[root], value
