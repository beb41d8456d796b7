# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files on the controller. How they read next to Compose itself: tests/integration/test_compose_conformance.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quaylock.stacks.plugins.module_utils.core.model import Invalid
from ansible_collections.quaylock.stacks.plugins.plugin_utils import compose_files, compose_yaml
from ansible_collections.quaylock.stacks.plugins.plugin_utils.compose_files import Loaded


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes files into the stack's folder."""

    def files(**texts: str) -> Path:
        for name, text in texts.items():
            path = tmp_path / name.replace("__", "/").replace("_yaml", ".yaml").replace("_env", ".env")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return files


def load(folder: Path, *names: str, profiles: tuple[str, ...] = (), **variables: Any) -> Loaded:
    return compose_files.load([str(folder / name) for name in names or ("compose.yaml",)], variables, profiles)


def refused(folder: Path, *names: str, profiles: tuple[str, ...] = (), **variables: Any) -> list[str]:
    with pytest.raises(Invalid) as refusal:
        load(folder, *names, profiles=profiles, **variables)
    return [str(finding).replace(str(folder) + "/", "") for finding in refusal.value.findings]


MERGES = [
    # name, one file's service, the next one's, what comes out
    ("scalars are replaced", "image: a", "image: b", {"image": "b"}),
    ("null changes nothing", "image: a", "image:", {"image": "a"}),
    ("commands are replaced", "command: [a, b]", "command: c d", {"command": "c d"}),
    (
        "tests are replaced",
        "healthcheck: {test: a, retries: 2}",
        "healthcheck: {test: b}",
        {"healthcheck": {"test": "b", "retries": 2}},
    ),
    (
        "environment by name",
        "environment: [A=1, B=1]",
        "environment: {B: 2, C: }",
        {"environment": {"A": "1", "B": 2, "C": None}},
    ),
    ("labels by name", "labels: {a: 1}", "labels: [a=2, b]", {"labels": {"a": "2", "b": None}}),
    ("ports are added", "ports: ['80:80']", "ports: ['80:80', '81:81']", {"ports": ["80:80", "81:81"]}),
    ("volumes by target", "volumes: ['a:/a', './b:/b']", "volumes: ['c:/a:ro']", {"volumes": ["c:/a:ro", "./b:/b"]}),
    (
        "secrets by target",
        "secrets: [a]",
        "secrets: [{source: b, target: /run/secrets/a}, c]",
        {"secrets": [{"source": "b", "target": "/run/secrets/a"}, "c"]},
    ),
    ("single texts and lists", "dns: a", "dns: [b, a]", {"dns": ["a", "b"]}),
    ("hosts", "extra_hosts: {a: 1}", "extra_hosts: [b=2]", {"extra_hosts": ["a=1", "b=2"]}),
    (
        "dependencies become a mapping",
        "depends_on: [x]",
        "depends_on: {y: {condition: service_healthy}}",
        {
            "depends_on": {
                "x": {"condition": "service_started", "required": True},
                "y": {"condition": "service_healthy"},
            }
        },
    ),
    (
        "networks become a mapping",
        "networks: [x]",
        "networks: {y: {aliases: [z]}}",
        {"networks": {"x": None, "y": {"aliases": ["z"]}}},
    ),
    ("a short build", "build: ./a", "build: {target: t}", {"build": {"context": "./a", "target": "t"}}),
    (
        "ulimits",
        "ulimits: {n: {soft: 1, hard: 2}, m: 1}",
        "ulimits: {n: 3, m: {soft: 1, hard: 1}}",
        {"ulimits": {"n": 3, "m": {"soft": 1, "hard": 1}}},
    ),
    (
        "the same log driver",
        "logging: {driver: a, options: {x: 1}}",
        "logging: {options: {y: 2}}",
        {"logging": {"driver": "a", "options": {"x": 1, "y": 2}}},
    ),
    (
        "another log driver",
        "logging: {driver: a, options: {x: 1}}",
        "logging: {driver: b}",
        {"logging": {"driver": "b"}},
    ),
    (
        "mappings deep down",
        "deploy: {resources: {limits: {cpus: 1}}}",
        "deploy: {resources: {limits: {memory: 1g}}}",
        {"deploy": {"resources": {"limits": {"cpus": 1, "memory": "1g"}}}},
    ),
    ("reset", "image: a\nports: ['80:80']", "ports: !reset []", {"image": "a"}),
    ("reset a variable", "environment: {A: 1, B: 2}", "environment: {A: !reset null}", {"environment": {"B": 2}}),
    (
        "reset a variable of a list",
        "environment: [A=1, B=2]",
        "environment: {A: !reset null}",
        {"environment": {"B": "2"}},
    ),
    ("override", "ports: ['80:80']", "ports: !override ['81:81']", {"ports": ["81:81"]}),
    ("override a mapping", "environment: {A: 1}", "environment: !override {B: 2}", {"environment": {"B": 2}}),
    ("override a text", "image: a", "image: !override b", {"image": "b"}),
    ("reset of nothing", "image: a", "ports: !reset null", {"image": "a"}),
]


@pytest.mark.parametrize(("one", "other", "expected"), [case[1:] for case in MERGES], ids=[case[0] for case in MERGES])
def test_files_merge_as_compose_merges_them(write: Any, one: str, other: str, expected: dict[str, Any]) -> None:
    indented = ["services:\n  a:\n" + "".join(f"    {line}\n" for line in text.splitlines()) for text in (one, other)]
    folder = write(compose_yaml=indented[0], more_yaml=indented[1])
    assert load(folder, "compose.yaml", "more.yaml").definition == {"services": {"a": expected}}


def test_three_files_in_a_row(write: Any) -> None:
    folder = write(
        compose_yaml="services: {a: {image: a, environment: {A: 1, B: 1}}, b: {image: b}}",
        two_yaml="services: {a: {environment: {B: 2}}}",
        three_yaml="services: {a: {environment: {A: !reset null}}, b: !reset null}",
    )
    made = load(folder, "compose.yaml", "two.yaml", "three.yaml")
    assert made.definition == {"services": {"a": {"image": "a", "environment": {"B": 2}}}}
    assert [Path(file).name for file in made.files] == ["compose.yaml", "two.yaml", "three.yaml"]


def test_a_mapping_counts_as_a_file(write: Any) -> None:
    folder = write(compose_yaml="services: {a: {image: 'a:${TAG}'}}")
    made = compose_files.load(
        [str(folder / "compose.yaml"), {"services": {"a": {"command": "x $TAG $$1"}}}], {"TAG": 1}
    )
    assert made.definition == {"services": {"a": {"image": "a:1", "command": "x 1 $1"}}}


def test_a_mapping_alone(write: Any) -> None:
    folder = write(value_txt="content")
    made = compose_files.load(
        [{"services": {"a": {"image": "a", "secrets": ["s"]}}, "secrets": {"s": {"file": "./value_txt"}}}],
        {},
        folder=str(folder),
    )
    assert made.secrets == {"s": b"content"}


def test_dot_env_gives_what_nobody_else_gives(write: Any) -> None:
    folder = write(compose_yaml="services: {a: {image: '${ONE}:${TWO}'}}", _env="ONE=file\nTWO=file\n")
    assert load(folder, TWO="inventory").definition["services"]["a"]["image"] == "file:inventory"


MISSING = """
services:
  a: {image: "a:${TAG}", environment: {X: "${X:?give X}"}, ports: ["${P}:1"]}
  off: {image: "${NOT_ASKED_FOR}", profiles: [p], env_file: absent.env, extends: {file: absent.yaml, service: x}}
volumes: {v: {name: "${V}"}}
"""


def test_all_missing_variables_are_said_at_once_and_only_those_in_use(write: Any) -> None:
    folder = write(compose_yaml=MISSING)
    assert sorted(refused(folder)) == [
        "compose.yaml: services.a.environment.X: variable X is required: give X (set X)",
        "compose.yaml: services.a.image: variable TAG is not set (set TAG, or give it a default: ${TAG:-default})",
        "compose.yaml: services.a.ports[0]: variable P is not set (set P, or give it a default: ${P:-default})",
        "compose.yaml: volumes.v.name: variable V is not set (set V, or give it a default: ${V:-default})",
    ]
    said = "\n".join(refused(folder, profiles=("p",), TAG=1, X=1, P=1, V=1))
    assert "variable NOT_ASKED_FOR is not set" in said
    assert "absent.env cannot be read" in said
    assert "absent.yaml cannot be read" in said


REFUSED = [
    ("services: {a: {image: a}", "compose.yaml: line 1, column 25: expected ',' or '}'"),
    ("services:\n  a: {image: a}\n  a: {image: b}", "compose.yaml: line 3, column 3: the key 'a' is already in line 2"),
    ("", "compose.yaml: is empty"),
    ("- a", "compose.yaml: must be a mapping, not a list"),
    ("include: x\nservices: {a: {image: a}}", "compose.yaml: include: must be a list, not text (write - other/"),
    ("include: [x.yaml]\nservices: {a: {image: a}}", "compose.yaml: include[0]: x.yaml cannot be read: No such file"),
    ("include: [{file: x}]\nservices: {a: {image: a}}", "compose.yaml: include[0]: must name a file"),
    (
        "include: [{path: '.env', pth: x}]\nservices: {a: {image: a}}",
        "compose.yaml: include[0].pth: is not a known key",
    ),
    (
        "include: [compose.yaml]\nservices: {a: {image: a}}",
        "compose.yaml: include[0]: files include each other: compose.yaml -> compose.yaml (break the circle)",
    ),
    (
        "include: [{path: none.yaml, env_file: none.env}]\nservices: {a: {image: a}}",
        "compose.yaml: include[0].env_file: none.env cannot be read: No such file",
    ),
    (
        "services: {a: {extends: b}}",
        "compose.yaml: services.a.extends: there is no service 'b' in compose.yaml (there are: a)",
    ),
    (
        "services: {a: {extends: b}, b: {extends: a}}",
        "compose.yaml: services.b.extends: services extend each other: a -> b -> a",
    ),
    ("services: {a: {extends: {services: b}}}", "compose.yaml: services.a.extends: must name a service"),
    (
        "services: {a: {extends: {service: b, fil: x}}, b: {}}",
        "compose.yaml: services.a.extends.fil: is not a known key",
    ),
    ("services: {a: {env_file: none.env}}", "services.a.env_file: none.env cannot be read: No such file"),
    ("services: {a: {env_file: [{pth: x}]}}", "services.a.env_file[0]: must name a file"),
    (
        "services: {a: {env_file: [{path: x, format: y, required: false}]}}",
        "services.a.env_file[0].format: 'y' is not a format",
    ),
    (
        "services: {a: {secrets: [s]}}\nsecrets: {s: {file: ./none}}",
        "secrets.s.file: there is no none on the controller (write it there, or set stack_secrets.s)",
    ),
    (
        "services: {a: {secrets: [s]}}\nsecrets: {s: {environment: S}}",
        "secrets.s.environment: variable S is not set (set it, or stack_secrets.s)",
    ),
    ("x: &x [*x]", "is nested without end"),
    (
        "services: {a: {image: 'a${'}}",
        "compose.yaml: services.a.image: 'a${' has a ${ that is never closed (end the variable with }, or write $$",
    ),
    (
        "services: {a: {environment: !!python/object:os.system {}}}",
        "line 1, column 29: the tag tag:yaml.org,2002:python/object:os.system is not known",
    ),
    ("services: {a: {command: !rest x}}", "the tag !rest is not known; Compose has !reset and !override"),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED)
def test_broken_files_are_refused_with_their_place(write: Any, text: str, expected: str) -> None:
    assert expected in "\n".join(refused(write(compose_yaml=text)))


def test_files_that_do_not_merge_are_refused(write: Any) -> None:
    folder = write(
        compose_yaml="services: {a: {deploy: {replicas: 1}, ports: ['1']}}",
        b_yaml="services: {a: {deploy: x, ports: {a: b}}}",
    )
    said = refused(folder, "compose.yaml", "b.yaml")
    assert said == [
        f"b.yaml: services.a.{key}: is {what} in an earlier file and cannot be merged with something else "
        "(write it alike, or !override to replace it)"
        for key, what in (("deploy", "a mapping"), ("ports", "a list"))
    ]


def test_extends_takes_paths_of_the_other_folder_along(write: Any) -> None:
    folder = write(
        compose_yaml="services: {a: {extends: {file: parts/base.yaml, service: b}, command: x}}",
        parts__base_yaml="""
services:
  b: {extends: c, build: ., volumes: ["./d:/d", "v:/v", "../e:/e"]}
  c: {env_file: c.env, image: c}
""",
        parts__c_env="FROM=parts\n",
    )
    made = load(folder)
    assert made.definition["services"]["a"] == {
        "build": "./parts",
        "volumes": ["./parts/d:/d", "v:/v", "./e:/e"],
        "image": "c",
        "command": "x",
        "environment": {"FROM": "parts"},
    }
    assert [Path(file).name for file in made.files] == ["compose.yaml", "base.yaml", "c.env"]


def test_contents_are_apart_from_the_definition(write: Any) -> None:
    folder = write(
        compose_yaml="""
services: {a: {image: a, secrets: [one, two, {source: host}, given], configs: [three]}}
secrets:
  one: {file: one.txt}
  two: {environment: TWO}
  host: {file: /nowhere/on/this/machine}
  given:
  unused: {file: never.txt}
configs:
  three: {content: "hello ${NAME}"}
""",
        one_txt="first",
    )
    (folder / "one.txt").write_bytes(b"fi\xffst\n")
    made = load(folder, TWO="second", NAME="world")
    assert made.secrets == {"one": b"fi\xffst\n", "two": b"second"}
    assert made.configs == {"three": b"hello world"}
    assert made.definition["secrets"] == {
        "one": {},
        "two": {},
        "host": {"file": "/nowhere/on/this/machine"},
        "given": None,
        "unused": {"file": "never.txt"},
    }
    assert made.definition["configs"] == {"three": {}}


def test_contents_that_somebody_else_hands_over_are_not_looked_for(write: Any) -> None:
    folder = write(
        compose_yaml="""
services: {a: {image: a, secrets: [one, two], configs: [three]}}
secrets: {one: {file: ./none}, two: {environment: NOT_SET}}
configs: {three: {content: from the file}}
"""
    )
    path = str(folder / "compose.yaml")
    made = compose_files.load([path], {}, secrets=["one", "two"], configs=["three"])
    assert (made.secrets, made.configs) == ({}, {})
    assert made.definition["secrets"] == {"one": {}, "two": {}}
    assert made.definition["configs"] == {"three": {}}


ENV_FILES = [
    ("A=1", {"A": "1"}),
    ("A=1\nB=$A-2", {"A": "1", "B": "1-2"}),
    ("# c\n\n  A=1  # c\nB=a#b", {"A": "1", "B": "a#b"}),
    ("export A=1\nB: 2", {"A": "1", "B": "2"}),
    ("A=\nB= ", {"A": "", "B": ""}),
    ("A='$x \\n'\nB=\"x\\ny\"", {"A": "$x \\n", "B": "x\ny"}),
    ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
    ('A="say \\"hi\\""', {"A": 'say "hi"'}),
    ('A="\\$x"', {"A": "$x"}),
    ("A=pa$1word$", {"A": "pa$1word$"}),
    ("OUTER\r\nA=1\r\n", {"OUTER": "o", "A": "1"}),
    ("word=W\nA=p$!$word\\$", {"word": "W", "A": "p$!W\\$"}),
    ("A='one\\\\'\nB=2", {"A": "one\\\\", "B": "2"}),
    ('A="\\0101\\\\0101"', {"A": "A\\0101"}),
    ("A=${NO:-d}", {"A": "d"}),
    ("OUTER\nNOT_THERE", {"OUTER": "o"}),
    ("A=x\r\nB=y\r\n", {"A": "x", "B": "y"}),
]


@pytest.mark.parametrize(("text", "expected"), ENV_FILES)
def test_env_files(write: Any, text: str, expected: dict[str, str]) -> None:
    folder = write(compose_yaml="services: {a: {env_file: a.env}}")
    (folder / "a.env").write_bytes(text.encode())
    assert load(folder, OUTER="o").definition["services"]["a"]["environment"] == expected


def test_environment_wins_over_env_files_and_later_files_over_earlier(write: Any) -> None:
    folder = write(
        compose_yaml="""
services: {a: {env_file: [a.env, {path: b.env}, {path: c.env, required: false}], environment: {C: 3, D: }}}
""",
        a_env="A=1\nB=1\nC=1\n",
        b_env="B=2\n",
    )
    assert load(folder, D="outer").definition["services"]["a"]["environment"] == {
        "A": "1",
        "B": "2",
        "C": 3,
        "D": "outer",
    }


RAW = [
    ("A='$x' # c\n", {"A": "'$x' # c"}),
    ("# c\n\n  A=  two  \nB==\n", {"A": "  two  ", "B": "="}),
    ("OUTER\r\nNOT_THERE\r\nC=\r\n", {"OUTER": "o", "C": ""}),
]


@pytest.mark.parametrize(("text", "expected"), RAW)
def test_raw_env_files_are_taken_as_they_are(write: Any, text: str, expected: dict[str, str]) -> None:
    folder = write(compose_yaml="services: {a: {env_file: [{path: a.env, format: raw}]}}")
    (folder / "a.env").write_bytes(text.encode())
    assert load(folder, OUTER="o").definition["services"]["a"]["environment"] == expected


def test_raw_env_files_have_no_spaces_in_names(write: Any) -> None:
    folder = write(
        compose_yaml="services: {a: {env_file: [{path: a.env, format: raw}]}}", a_env="A = 1\nexport B=2\n=3\n"
    )
    assert [line.split(": ", 1)[1].split(" (")[0] for line in refused(folder)] == [
        "line 1 is not KEY=VALUE: 'A = 1'",
        "line 2 is not KEY=VALUE: 'export B=2'",
        "line 3 is not KEY=VALUE: '=3'",
    ]


def test_env_files_say_which_line_is_wrong(write: Any) -> None:
    folder = write(compose_yaml="services: {a: {env_file: a.env}}", a_env='A=1\nwhat is this\nB=$MISSING\nC="open\n')
    said = refused(folder)
    assert [line.split(": ", 1)[1].split(" (")[0] for line in said] == [
        "line 2 is not KEY=VALUE: 'what is this'",
        "line 3: variable MISSING is not set",
        "line 4: the quote of line 4 never closes",
    ]


YAML = [
    ("yes", "yes"),
    ("on", "on"),
    ("true", True),
    ("~", None),
    ("", None),
    ("22:30", "22:30"),
    ("2026-11-21", "2026-11-21"),
    ("0440", 0o440),
    ("0o440", 0o440),
    ("0x10", 16),
    ("-5", -5),
    ("1.5", 1.5),
    ("1e3", 1000.0),
    ("1.2.3", "1.2.3"),
    ("09", 9.0),
    ("=", "="),
    ("'1'", "1"),
]


@pytest.mark.parametrize(("text", "expected"), YAML)
def test_plain_words_are_what_compose_takes_them_for(text: str, expected: object) -> None:
    [value] = compose_yaml.documents(f"a: {text}")
    assert value == {"a": expected}
    assert type(value["a"]) is type(expected)


def test_anchors_and_merge_keys() -> None:
    [value] = compose_yaml.documents("x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}\nz: {<<: [{c: 3}, *x]}")
    assert value["y"] == {"a": 1, "b": 2}
    assert value["z"] == {"a": 1, "b": 1, "c": 3}
