# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which stacks a run is about, and what is wrong with a list of stacks."""

from __future__ import annotations

import pytest
from ansible_collections.quaylock.stacks.plugins.lookup import selected_stacks

ROLE = {"name": "calminer", "role": "calminer"}
SHOP = {"name": "shop", "compose": "shop.yaml", "variables": {"TAG": "1"}, "profiles": ["db"]}

REFUSED = [
    # name                          stacks                                          what is said
    ("not a list", "calminer", ["stacks: a list is wanted, this is 'calminer'"]),
    (
        "not a mapping",
        ["calminer"],
        ["stacks[0]: a mapping with name and role or compose is wanted, this is 'calminer'"],
    ),
    (
        "no name",
        [{"role": "x"}],
        ["stacks[0].name: None is no stack name (small letters, digits, _ and -; not _ or - first)"],
    ),
    ("bad name", [{"name": "Shop", "role": "x"}], ["stacks[0].name: 'Shop' is no stack name"]),
    ("name twice", [ROLE, ROLE], ["stacks[1].name: calminer is already the name of stacks[0]"]),
    ("neither", [{"name": "a"}], ["stacks[0] (a): exactly one of role and compose is wanted"]),
    (
        "both",
        [{"name": "a", "role": "r", "compose": "c"}],
        ["stacks[0] (a): exactly one of role and compose is wanted"],
    ),
    ("unknown key", [{**ROLE, "rolle": 1}], ["stacks[0] (calminer): unknown key 'rolle'; known: name, role, compose"]),
    ("wrong type", [{**SHOP, "profiles": "db"}], ["stacks[0] (shop).profiles: a list is wanted, this is 'db'"]),
    ("role with a file's key", [{**ROLE, "secrets": {}}], ["stacks[0] (calminer).secrets: belongs to compose"]),
    (
        "wanted is no word",
        [{**ROLE, "wanted": "no"}],
        ["stacks[0] (calminer).wanted: true or false is wanted, this is"],
    ),
    ("bad role", [{"name": "a", "role": "../x"}], ["stacks[0] (a).role: '../x' is not the name of a role"]),
    (
        "everything at once",
        [{"name": "A", "rol": 1}, 7],
        ["stacks[0].name", "stacks[0]: unknown key", "stacks[0]: exactly one", "stacks[1]: a mapping"],
    ),
]


@pytest.mark.parametrize(("stacks", "said"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_bad_list_is_refused_with_all_findings(stacks, said):
    found = selected_stacks.findings(stacks)
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True)), found


@pytest.mark.parametrize("stacks", [[], [ROLE], [ROLE, SHOP], [{"name": "a-1_b", "role": "acme.apps.shop"}]])
def test_a_good_list_has_no_findings(stacks):
    assert selected_stacks.findings(stacks) == []


@pytest.mark.parametrize(
    ("wanted", "names", "absent"),
    [
        (["shop"], ["shop"], []),
        (["shop", "calminer"], ["calminer", "shop"], []),  # the inventory's order, not the selection's
        (["shop", "nope"], ["shop"], ["nope"]),
        ([], [], []),
    ],
)
def test_a_selection_is_by_name(wanted, names, absent):
    chosen, missing = selected_stacks.select([ROLE, SHOP], wanted)
    assert ([entry["name"] for entry in chosen], missing) == (names, absent)


def test_an_optional_stack_runs_only_where_it_is_named():
    stacks = [ROLE, {"name": "lakehouse", "role": "lakehouse", "wanted": False}]
    assert [entry["name"] for entry in selected_stacks.always(stacks)] == ["calminer"]
    assert [entry["name"] for entry in selected_stacks.always(stacks, optional=True)] == ["calminer", "lakehouse"]
    assert [entry["name"] for entry in selected_stacks.select(stacks, ["lakehouse"])[0]] == ["lakehouse"]


@pytest.mark.parametrize(("text", "names"), [("a,b", ["a", "b"]), (" a , b,", ["a", "b"]), (",", []), ("", [])])
def test_a_selection_is_written_with_commas(text, names):
    assert selected_stacks.names_of(text) == names


def test_compose_files_are_looked_for_here_and_beside_the_inventory(tmp_path):
    work, inventory = tmp_path / "work", tmp_path / "inventory"
    work.mkdir()
    inventory.mkdir()
    (work / "shop.yaml").write_text("")
    (inventory / "more.yaml").write_text("")
    entry = {"name": "shop", "compose": "shop.yaml", "overrides": ["more.yaml", {"services": {}}, "gone.yaml"]}
    chosen, found = selected_stacks.located([entry, ROLE], [str(work), str(inventory)])
    assert chosen[0]["compose"] == [str(work / "shop.yaml")]
    assert chosen[0]["overrides"][:2] == [str(inventory / "more.yaml"), {"services": {}}]
    assert chosen[1] == ROLE
    assert found == [
        f"shop.overrides: there is no file gone.yaml; looked for {work}/gone.yaml and {inventory}/gone.yaml"
    ]
