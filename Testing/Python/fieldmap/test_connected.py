from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, csgraph

from QSMReconLib.fieldmap.connected import connected


def graph(nodes: int, edges: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(nodes)
    one, two = torch.randint(0, nodes, (2, edges), generator=generator)
    return one, two, generator


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (10, 5), (1000, 900), (1000, 3000), (3000, 20000)])
def test_pieces_are_those_of_scipy_and_values_follow_every_edge(nodes: int, edges: int) -> None:
    one, two, generator = graph(nodes, edges)
    value = torch.randint(-5, 6, (nodes,), generator=generator, dtype=torch.int32)
    piece, found = connected(nodes, one, two, value[two] - value[one])
    table = coo_array((np.ones(edges), (one.numpy(), two.numpy())), shape=(nodes, nodes)).tocsr()
    count, expected = csgraph.connected_components(table, directed=False)
    assert sorted(set(piece.tolist())) == list(range(count))
    assert len(set(zip(piece.tolist(), expected.tolist(), strict=True))) == count
    assert torch.equal(found[two] - found[one], value[two] - value[one])


def test_the_strongest_edges_decide() -> None:
    """Steps that agree on no loop: only those of the maximum spanning tree may be kept, and all of those are."""
    nodes = 400
    one, two, generator = graph(nodes, 3000)
    one, two = torch.minimum(one, two), torch.maximum(one, two)
    apart = torch.unique(torch.stack([one, two])[:, one != two], dim=1)
    one, two = apart
    step = torch.randint(-3, 4, one.shape, generator=generator, dtype=torch.int32)
    strength = torch.rand(one.shape, generator=generator)
    piece, found = connected(nodes, one, two, step, strength)
    table = coo_array((2 - strength.numpy(), (one.numpy(), two.numpy())), shape=(nodes, nodes)).tocsr()
    tree = csgraph.minimum_spanning_tree(table).tocoo()
    number = {(int(a), int(b)): index for index, (a, b) in enumerate(apart.T)}
    kept = [number[(min(a, b), max(a, b))] for a, b in zip(tree.row.tolist(), tree.col.tolist(), strict=True)]
    assert len(kept) == nodes - int(piece.max()) - 1
    assert torch.equal((found[two] - found[one])[kept], step[kept])


def test_a_long_way_is_walked_to_its_end() -> None:
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    piece, found = connected(5000, order[:-1], order[1:], torch.ones(4999, dtype=torch.int32))
    assert not piece.any()
    assert torch.equal(found[order] - found[order[0]], torch.arange(5000, dtype=torch.int32))
