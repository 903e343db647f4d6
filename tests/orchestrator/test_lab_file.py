"""Lab files: all problems at once, each with file, line and remedy; a good one becomes exactly the lab it describes."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition, Extent, TagWitnessKind
from hvcluster.model.toml_lines import Lines
from hvcluster.orchestrator import lab_file
from hvcluster.orchestrator.lab import parse_size, size_text, votes_at_start
from hvcluster.orchestrator.lab_file import LabInvalid
from hvcluster.orchestrator.lab_template import render

GOOD = """[cluster]
name = "C1"
[[node]]
name = "A"
[[node]]
name = "B"
[[lun]]
id = 1
size = "1 MiB"
[[lun]]
id = 2
size = "64 MiB"
[witness]
lun = 1
[[vm]]
name = "D1"
lun = 2
"""


def problems(text: str) -> list[tuple[int, str]]:
    """What is wrong with a lab file, as (line, text and remedy)."""
    with pytest.raises(LabInvalid) as raised:
        lab_file.parse(text, "x.toml")
    for problem in raised.value.problems:
        assert problem.file == "x.toml"
        assert problem.remedy, f"no remedy for: {problem.text}"
    return [(problem.line, f"{problem.text}; {problem.remedy}") for problem in raised.value.problems]


def test_the_template_is_the_scene() -> None:
    """The scene: `hvc new lab` writes HyperV-1..3, the witness on LUN 1, D1 on LUN 2."""
    lab = lab_file.parse(render("HVCLUSTER", "lab.toml"))
    assert [(node.id, node.name, node.weight) for node in lab.nodes] == [
        (1, "HyperV-1", 1), (2, "HyperV-2", 1), (3, "HyperV-3", 1),
    ]  # fmt: skip
    assert [(vm.name, vm.lun, vm.owner) for vm in lab.vms] == [("D1", 2, 1)]
    assert lab.witness_lun == 1
    assert lab.properties.time_scale == 0.1
    assert lab.properties.connection_loss_detection


def test_the_definition_survives_its_json() -> None:
    """What is handed to nodes is what was described."""
    made = lab_file.parse(render("HVCLUSTER", "lab.toml")).definition("abc")
    assert codec.load(ClusterDefinition, codec.dump(made)) == made


def test_the_compose_lab_is_good() -> None:
    """The lab file that compose.yaml mounts is one."""
    assert lab_file.load(Path(__file__).parents[2] / "compose" / "lab.toml").name == "HVCLUSTER"


@pytest.mark.parametrize("kind", list(TagWitnessKind))
def test_a_witness_may_be_a_file(kind: TagWitnessKind) -> None:
    """wsfc.md 3.1: Node and File Share Majority, Node and Cloud Witness; a file without `kind` has a disk as before."""
    newer = GOOD.replace("[cluster]\n", '[cluster]\nprofile = "ws2016"\n')
    lab = lab_file.parse(newer.replace("lun = 1\n[[vm]]", f'kind = "{kind.value}"\nport = 7300\n[[vm]]'))
    assert (lab.witness_lun, lab.tag_witness, lab.witness_port) == (None, kind, 7300)
    definition = lab.definition("c1")
    assert definition.tag_witness is kind
    assert codec.load(ClusterDefinition, codec.dump(definition)) == definition
    assert votes_at_start(lab) == (3, 1)
    assert lab_file.parse(GOOD).tag_witness is None


def test_a_file_share_witness_may_lie_in_a_directory(tmp_path: Path) -> None:
    """On a share that is mounted already; the lab starts no witness of its own then."""
    text = GOOD.replace("lun = 1\n[[vm]]", 'kind = "file-share"\ndirectory = "share"\n[[vm]]')
    (tmp_path / "lab.toml").write_text(text)
    with pytest.raises(lab_file.LabInvalid, match="there is no directory"):
        lab_file.load(tmp_path / "lab.toml")
    (tmp_path / "share").mkdir()
    lab = lab_file.load(tmp_path / "lab.toml")
    assert (lab.witness_directory, lab.own_witness) == ((tmp_path / "share").resolve(), None)
    with pytest.raises(lab_file.LabInvalid, match="only a file share witness"):
        lab_file.parse(_cloud('directory = "share"'))


def _cloud(lines: str, profile: str = "ws2016") -> str:
    newer = GOOD.replace("[cluster]\n", f'[cluster]\nprofile = "{profile}"\n')
    return newer.replace("lun = 1\n[[vm]]", f'kind = "cloud"\n{lines}\n[[vm]]')


def test_a_cloud_witness_may_be_an_account_of_a_blob_service(tmp_path: Path) -> None:
    """Set-ClusterQuorum -CloudWitness -AccountName -AccessKey: the lab then starts no witness of its own."""
    (tmp_path / "account").write_text("AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:10000/a\n")
    (tmp_path / "lab.toml").write_text(_cloud('account = "account"'))
    lab = lab_file.load(tmp_path / "lab.toml")
    assert (lab.tag_witness, lab.own_witness) == (TagWitnessKind.CLOUD, None)
    assert lab.witness_account == (tmp_path / "account").resolve()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_cloud("port = 1", "ws2012r2"), "ws2012r2 has no cloud witness"),
        (_cloud('account = "nowhere"'), "cannot be read"),
        (_cloud('account = "nowhere"\nport = 7300'), "says itself where it is"),
        (_cloud("").replace('"cloud"', '"file-share"\naccount = "a"'), "only a cloud witness has an account"),
    ],
)
def test_an_account_that_cannot_be_meant_is_named(text: str, said: str) -> None:
    """Before 2016 there was no cloud witness; a file that is not there holds no key."""
    with pytest.raises(lab_file.LabInvalid, match=said):
        lab_file.parse(text)


VOLUME = """\
[[lun]]
id = 5
size = "1 MiB"
[[volume]]
name = "Volume1"
lun = 5
"""


def test_vms_lie_on_a_volume_one_behind_the_other() -> None:
    """Cluster Shared Volumes: several VMs on one LUN, each in blocks of its own."""
    vms = '[[vm]]\nname = "S1"\nvolume = "Volume1"\nsize = "256 KiB"\n[[vm]]\nname = "S2"\nvolume = "Volume1"\n'
    lab = lab_file.parse((GOOD + VOLUME + vms).replace('id = 5\nsize = "1 MiB"', 'id = 5\nsize = "2 MiB"'))
    definition = lab.definition("c1")
    assert [(v.name, v.lun) for v in definition.volumes] == [("Volume1", 5)]
    assert {g.name: (g.lun, g.extent) for g in definition.groups} == {
        "D1": (2, None),
        "S1": (5, Extent(1, 513)),
        "S2": (5, Extent(514, 2049)),
    }
    assert codec.load(ClusterDefinition, codec.dump(definition)) == definition


ON = VOLUME + '[[vm]]\nname = "S1"\nvolume = "Volume1"\n'

BAD = {
    "a volume that is not there": (GOOD + ON.replace('volume = "Volume1"', 'volume = "Volum1"'), 26, "did you mean"),
    "a volume that is full": (GOOD + ON, 26, "does not fit"),
    "a volume and a LUN": (GOOD + ON + "lun = 2\n", 27, "write either volume or lun"),
    "a VM on the LUN of a volume": (GOOD + VOLUME + '[[vm]]\nname = "S1"\nlun = 5\n', 26, "instead"),
    "a volume on no LUN": (GOOD + VOLUME.replace("lun = 5", "lun = 6"), 23, "does not exist"),
    "a volume on the witness": (GOOD + VOLUME.replace("lun = 5", "lun = 1"), 23, "cannot be a witness"),
    "two volumes of one name": (GOOD + VOLUME + VOLUME[VOLUME.index("[[volume]]") :], 25, "two volumes"),
    "a role on a volume": (GOOD + VOLUME + '[[group]]\nname = "R"\nlun = 5\n', 26, "in use by a shared volume"),
    "a size without a volume": (GOOD + 'size = "1 MiB"\n', 18, "leave size out"),
    "a size that is none": (GOOD + ON + 'size = "1 MB"\n', 27, "is no size"),
    "wrong type": (GOOD.replace('name = "C1"', "name = 3"), 2, "name must be a text in quotes, not a whole number"),
    "unknown key": (GOOD.replace('name = "C1"', 'name = "C1"\nprofil = "x"'), 3, "did you mean 'profile'"),
    "unknown table": (GOOD + "[widness]\n", 18, "did you mean 'witness'"),
    "duplicate node": (GOOD.replace('"B"', '"a"'), 6, "stands on line 4 already"),
    "duplicate LUN": (GOOD.replace("id = 2", "id = 1"), 11, "LUN 1 stands on line 8 already"),
    "missing LUN": (GOOD + '[[vm]]\nname = "D2"\nlun = 9\n', 20, "LUN 9, which does not exist"),
    "two VMs on one LUN": (GOOD + '[[vm]]\nname = "D2"\nlun = 2\n', 20, "and so is 'D1' (line 17)"),
    "witness in use": (GOOD.replace("[witness]\nlun = 1", "[witness]\nlun = 2"), 14, "in use by VM 'D1'"),
    "witness of no kind": (GOOD.replace("lun = 1\n[[vm]]", 'kind = "floppy"\n[[vm]]'), 14, "file-share"),
    "share on a LUN": (GOOD.replace("lun = 1\n[[vm]]", 'kind = "file-share"\nlun = 1\n[[vm]]'), 15, "is on no LUN"),
    "disk with a port": (GOOD.replace("lun = 1\n[[vm]]", "lun = 1\nport = 5\n[[vm]]"), 15, "has no port"),
    "disk without a LUN": (GOOD.replace("lun = 1\n[[vm]]", 'kind = "disk"\n[[vm]]'), 14, "needs a LUN"),
    "witness missing": (GOOD.replace("[witness]\nlun = 1", "[witness]\nlun = 7"), 14, "does not exist"),
    "bad size": (GOOD.replace('"64 MiB"', '"64 MB"'), 12, "is no size"),
    "tiny size": (GOOD.replace('"64 MiB"', '"1 KiB"'), 12, "out of range"),
    "unknown owner": (GOOD + 'preferred = ["A", "C"]\n', 18, "preferred names no node: 'C'"),
    "near owner": (GOOD.replace('"A"', '"Node-A"') + 'owner = "node-b"\n', 18, "did you mean 'Node-A'"),
    "owner not possible": (GOOD + 'possible = ["A"]\nowner = "B"\n', 19, "add it to possible"),
    "bad property": (GOOD + "[properties]\nsame_subnet_delay_ms = 5\n", 19, "choose a value from 250 to 2000"),
    "unknown property": (GOOD + "[properties]\nsame_subnet_delay = 5\n", 19, "did you mean 'same_subnet_delay_ms'"),
    "two ports alike": (GOOD + "port = 5000\n[san]\nports = [5000]\n", 18, "is taken by the array"),
    "three buses": (GOOD + "[buses]\nports = [1, 2, 3]\n", 19, "3 ports for 2 buses"),
    "no vote": (GOOD.replace('"A"', '"A"\nweight = 0').replace('"B"', '"B"\nweight = 0'), 5, "no node has a vote"),
    "syntax": (GOOD + "lun = \n", 18, "not TOML"),
    "a table of nodes that is empty": ("node = []\n" + GOOD[: GOOD.index("[[node]]")], 1, "the lab has no node"),
    "no truth": (GOOD + '[properties]\ndynamic_quorum = "no"\n', 19, "must be true or false, not a text"),
    "a scale beyond all numbers": (GOOD.replace('"C1"', '"C1"\ntime_scale = 1' + "0" * 400), 3, "a smaller number"),
    "a time beyond all numbers": (GOOD + "[properties]\nregroup_delay_ms = 1" + "0" * 400, 19, "a smaller number"),
    "thousands of digits": (GOOD + "port = " + "9" * 5000, 18, "thousands of digits"),
    "bad VM name": (GOOD.replace('"D1"', '"a/b"'), 16, "is no VM name"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_problem_has_its_line_and_its_remedy(case: str) -> None:
    """Bad input: each problem with file, line and remedy."""
    text, line, words = BAD[case]
    found = problems(text)
    assert any(at == line and words in said for at, said in found), found


def test_all_problems_are_told_at_once() -> None:
    """Bad input: all problems at once."""
    text = GOOD.replace("id = 2", "id = 1").replace('"B"', '"A"') + 'x = 1\n[[vm]]\nname = "D1"\nlun = 5\n'
    assert len(problems(text)) >= 4


def test_an_empty_file_lacks_a_name_and_a_node() -> None:
    """Bad input: what is missing is told at once as well."""
    assert [said.partition(";")[0] for _, said in problems("")] == ["name is missing", "the lab has no node"]


def test_a_file_of_a_windows_editor_is_read() -> None:
    """Notepad puts a mark before the first letter and ends lines its own way."""
    assert lab_file.parse(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()) == lab_file.parse(GOOD)


def test_sixty_five_nodes_are_too_many() -> None:
    """Bad input: more nodes than 64."""
    text = GOOD + "".join(f'[[node]]\nname = "N{number}"\n' for number in range(63))
    assert any("65 nodes" in said for _, said in problems(text))
    lab_file.parse(text.removesuffix('[[node]]\nname = "N62"\n'))


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever is in the file, the answer is a lab or problems."""
    with contextlib.suppress(LabInvalid):
        lab_file.parse(text)


_VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=4) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(st.sampled_from(["cluster", "node", "lun", "vm", "witness", "buses", "san", "properties", "network"]), _VALUES)
def test_any_value_anywhere_is_judged_not_raised(key: str, value: object) -> None:
    """A table may hold anything of any type."""
    text = f"{key} = {_toml(value)}\n"
    with contextlib.suppress(LabInvalid, tomllib.TOMLDecodeError):
        tomllib.loads(text)
        lab_file.parse(text)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return (
            '"'
            + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 and not 0xD800 <= ord(c) < 0xE000 else "?" for c in value)
            + '"'
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return str(value)


def test_lines_are_found_through_every_kind_of_value() -> None:
    """Strings, arrays and comments that look like keys do not lead the locator astray."""
    text = 'a = """\nb = 1\n"""\n[t] # [x]\nc = [\n  "[[y]]",\n  { d = 1 },\n]\ne.f = "#"\n'
    lines = Lines(text + "[[g]]\n[[g]]\nh = 1\n[g.i]\nj = 2\n")
    wanted = {("a",): 1, ("t", "c"): 5, ("t", "c", 1): 7, ("t", "e", "f"): 9, ("g", 1, "h"): 12, ("g", 1, "i", "j"): 14}
    assert {path: lines.of(path) for path in wanted} == wanted


@given(st.integers(0, 1 << 30).map(lambda count: count * 512))
def test_sizes_read_as_they_are_written(size: int) -> None:
    """size_text and parse_size are inverses."""
    assert parse_size(size_text(size)) == size
