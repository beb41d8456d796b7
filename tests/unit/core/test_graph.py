# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cycles are named, layers are in a fixed order."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core import graph
from hypothesis import given
from hypothesis import strategies as st

CYCLES = [
    # edges                                    cycle
    ({}, None),
    ({"a": ["b"], "b": []}, None),
    ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, None),
    ({"a": ["a"]}, ("a", "a")),
    ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
    ({"z": ["y"], "y": ["x"], "x": ["z"]}, ("x", "z", "y", "x")),
    ({"a": ["b"], "b": ["c"], "c": ["b"]}, ("b", "c", "b")),
    ({"a": ["missing"]}, None),
]


@pytest.mark.parametrize(("edges", "expected"), CYCLES)
def test_a_cycle_is_named_from_its_smallest_service(
    edges: dict[str, list[str]], expected: tuple[str, ...] | None
) -> None:
    assert graph.cycle(edges) == expected


LAYERS = [
    ({}, []),
    ({"b": [], "a": []}, [["a", "b"]]),
    ({"app": ["db", "cache"], "db": [], "cache": ["db"]}, [["db"], ["cache"], ["app"]]),
    ({"a": ["elsewhere"]}, [["elsewhere"], ["a"]]),
]


@pytest.mark.parametrize(("edges", "expected"), LAYERS)
def test_layers_wait_only_for_earlier_ones(edges: dict[str, list[str]], expected: list[list[str]]) -> None:
    assert graph.layers(edges) == expected


def test_layers_of_a_cycle_say_which() -> None:
    with pytest.raises(ValueError, match="a -> b -> a"):
        graph.layers({"a": ["b"], "b": ["a"]})


HEIGHTS = [
    ({}, {}),
    ({"app": ["db", "cache"], "db": [], "cache": ["db"]}, {"db": 3, "cache": 2, "app": 1}),
    ({"web": ["db"], "job": ["db"], "page": ["web"], "db": [], "mail": []},
     {"db": 3, "web": 2, "job": 1, "page": 1, "mail": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("edges", "expected"), HEIGHTS)
def test_heights_count_the_longest_chain_that_waits(edges: dict[str, list[str]], expected: dict[str, int]) -> None:
    assert graph.heights(edges) == expected


NAMES = st.sampled_from("abcdefgh")


@given(st.dictionaries(NAMES, st.sets(NAMES)))
def test_a_graph_has_a_cycle_or_layers_and_never_both(edges: dict[str, set[str]]) -> None:
    ring = graph.cycle(edges)
    if ring:
        assert ring[0] == ring[-1]
        assert all(after in edges[before] for before, after in itertools.pairwise(ring))
        with pytest.raises(ValueError, match="cycle"):
            graph.layers(edges)
        return
    layer = {name: depth for depth, names in enumerate(graph.layers(edges)) for name in names}
    assert all(layer[on] < layer[name] for name, waits in edges.items() for on in waits)


def test_a_long_chain_is_no_problem() -> None:
    chain = {f"s{n:05}": [f"s{n + 1:05}"] for n in range(5000)}
    assert graph.cycle(chain) is None
