"""A workflow shows itself."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import tailrace as tr


@tr.step
def profile(user):
    return user


@tr.step
async def fetch(x):
    return x


@tr.step(blocking=True)
def look_up(x):
    return x


@tr.workflow
def recommend(user):
    found = [fetch(profile(user)), look_up(user)]
    return tr.after(profile(found), look_up(1))


def test_mermaid_draws_arguments_steps_by_kind_and_edges():
    lines = recommend.mermaid().splitlines()
    assert lines[0] == "flowchart TD"
    assert '    v0[/"user"/]' in lines
    assert '    v1["profile"]' in lines
    assert '    v2(["fetch"])' in lines
    assert '    v3[["look_up"]]' in lines
    assert "    v1 --> v2" in lines
    assert any("-.->" in line for line in lines)


def test_labels_cannot_break_out_of_the_picture():
    evil = tr.step(lambda x: x)
    evil.name = 'a"]; <b>&#x'
    wf = tr.workflow(lambda x: evil(x))
    assert "a#quot;]; #lt;b#gt;#amp;#35;x" in wf.mermaid()
    ET.fromstring(wf._repr_mimebundle_()["image/svg+xml"])


def test_jupyter_gets_a_picture_markdown_and_text():
    bundle = recommend._repr_mimebundle_(include=None, exclude=None)
    root = ET.fromstring(bundle["image/svg+xml"])
    assert sum(child.tag.endswith("rect") for child in root) == 1 + len(recommend._definition.nodes)
    assert bundle["text/markdown"].startswith("```mermaid\nflowchart TD")
    assert bundle["text/plain"] == repr(recommend)
