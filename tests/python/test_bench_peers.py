"""Rivals that have to be installed: named, refused, and giving the same answers."""

import importlib.util

import pytest
from tailrace import bench_cli
from tailrace._bench import peers, timing

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that are not ours


@pytest.mark.parametrize("name", [name for name in peers.PEERS if name != "ray"])  # Ray starts daemons
def test_every_engine_of_a_peer_gives_the_answer_of_its_work(name):
    pytest.importorskip(peers.PEERS[name])
    before = {work.id: set(work.engines) for work in timing.all_works()}
    added = 0
    for work in peers.add(timing.all_works(), [name]):
        for engine in set(work.engines) - before[work.id]:
            with work.engines[engine]() as op:
                timing.check(work, engine, op.call())
            added += 1
    assert added > 0


def test_a_peer_that_is_not_installed_is_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit):
        bench_cli.main(["--quick", "--peers", "dask"])
    assert "dask is not installed here" in capsys.readouterr().err


def test_an_unknown_peer_is_answered_with_those_there_are(capsys):
    with pytest.raises(SystemExit):
        bench_cli.main(["--quick", "--peers", "dusk"])
    assert "no peer is called 'dusk'; there are dask, joblib" in capsys.readouterr().err


def test_without_peers_the_works_stay_as_they_are():
    works = timing.all_works()
    assert [set(work.engines) for work in peers.add(works, ())] == [set(work.engines) for work in works]
