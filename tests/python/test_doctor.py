"""`tailrace doctor` says what is found, what is missing and what to do; its exit status tells scripts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import MappingProxyType

import pytest
from tailrace import _core, cli, doctor
from tailrace._host import Host


class Fake(Host):
    """A machine with nothing wrong; each test takes something away."""

    there = (8, 8, None)
    calls = True
    eventfd = True
    limits = MappingProxyType({})
    modules = frozenset({"rich", "uvloop", "numba", "cupy", "cmake"})

    def cpus(self):
        return self.there

    def available_cpus(self):
        machine, mask, quota = self.there
        return max(1, int(min(machine, mask, quota or machine)))

    def kernel_call(self, name):
        return self.calls

    def has_eventfd(self):
        return self.eventfd

    def max_threads(self):
        return self.limits

    def clock_source(self):
        return "tsc"

    def has_module(self, name):
        return name in self.modules


def fake(**attributes):
    kind = type("Fake", (Fake,), attributes)
    return kind(environ={"OMP_NUM_THREADS": "1"})


def of(findings, topic):
    (found,) = [entry for entry in findings if entry.topic == topic]
    return found


def test_a_good_machine_has_no_problem_and_exit_status_0():
    text, status = doctor.report(fake(), as_json=False)
    assert status == 0, text
    assert "no problem found" in text
    assert "PROBLEM" not in text


def test_this_machine_can_be_examined_as_text_and_as_json(capsys):
    status = cli.main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert status == (0 if told["ok"] else 1)
    topics = {row["topic"] for row in told["findings"]}
    assert {
        "python", "extension", "cpus", "workers", "switch interval", "blas", "futex", "membarrier", "eventfd",
        "threads", "clock", "extras",
    } <= topics  # fmt: skip
    assert {row["status"] for row in told["findings"]} <= {"ok", "note", "problem"}
    assert not [row for row in told["findings"] if "could not be looked at" in row["found"]]
    assert cli.main(["doctor"]) == status
    assert f"tailrace {told['version']}" in capsys.readouterr().out


def test_one_cpu_is_a_note_that_says_what_follows():
    entry = of(doctor.examine(fake(there=(8, 1, None))), "cpus")
    assert (entry.status, "1 by affinity" in entry.found) == ("note", True)
    assert "nothing runs in parallel" in entry.advice


def test_a_quota_below_the_mask_is_a_note():
    entry = of(doctor.examine(fake(there=(8, 8, 2.5))), "cpus")
    assert entry.status == "note"
    assert "2.5 by the cgroup's quota" in entry.found


def test_more_workers_than_cpus_and_a_variable_that_nobody_reads_are_notes():
    host = replace(fake(), environ={"TAILRACE_WORKERS": "64", "TAILRACE_WORKRES": "2"})
    found = doctor.examine(host)
    assert of(found, "workers").status == "note"
    notes = [entry for entry in found if entry.topic == "environment" and entry.status == "note"]
    assert ["TAILRACE_WORKRES" in entry.found for entry in notes] == [True]


def test_a_bad_worker_variable_is_a_problem_and_exit_status_1():
    text, status = doctor.report(replace(fake(), environ={"TAILRACE_WORKERS": "many"}), as_json=False)
    assert status == 1
    assert "TAILRACE_WORKERS must be a whole number" in text
    assert "1 problem" in text


@pytest.mark.parametrize(
    ("attributes", "topic", "status"),
    [
        ({"calls": False}, "futex", "problem"),
        ({"calls": False}, "membarrier", "note"),
        ({"calls": None}, "membarrier", "ok"),
        ({"eventfd": False}, "eventfd", "problem"),
        ({"limits": {"pids.max": 20, "ulimit -u": 4000}}, "threads", "problem"),
        ({"limits": {"pids.max": 200}}, "threads", "note"),
        ({"limits": {"pids.max": 20_000}}, "threads", "ok"),
        ({"clock_source": lambda _: "hpet"}, "clock", "note"),
        ({"gil_came_back": lambda _: True}, "free threading", "note"),
    ],
)
def test_what_is_missing_is_found_with_advice(attributes, topic, status):
    entry = of(doctor.examine(fake(**attributes)), topic)
    assert entry.status == status
    assert bool(entry.advice) == (status != "ok")


def test_a_missing_extra_is_a_note_that_says_how_to_get_it():
    found = doctor.examine(fake(modules=frozenset()))
    missing = [entry for entry in found if entry.topic == "extras" and entry.status == "note"]
    assert any("uvloop" in entry.found and entry.advice == "pip install uvloop" for entry in missing)
    assert of(found, "blas").found == "OMP_NUM_THREADS=1"


def test_an_extension_of_another_version_is_a_problem(monkeypatch):
    monkeypatch.setattr(_core, "__version__", "0.0.1")
    entry = of(doctor.examine(fake()), "extension")
    assert entry.status == "problem"
    assert "0.0.1" in entry.found
    assert "reinstall" in entry.advice


def test_a_look_that_fails_is_told_and_not_raised():
    def broken(_):
        raise OSError("no such thing")

    text, status = doctor.report(fake(clock_source=broken), as_json=False)
    assert status == 1
    assert "no such thing" in text


def test_the_host_reads_pids_max_at_every_level_and_takes_the_least(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    for folder, text in {"a/b": "max", "a": "77", "": "900"}.items():
        path = tmp_path / "sys/fs/cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "pids.max").write_text(text + "\n")
    assert Host(root=tmp_path).max_threads()["pids.max"] == 77


def test_an_unreadable_or_nonsensical_cgroup_limits_nothing(tmp_path):
    host = Host(root=tmp_path)
    assert "pids.max" not in host.max_threads()
    assert host.cpus()[2] is None
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/x\n\xff\xfe nonsense\n7:pids\n")
    (tmp_path / "sys/fs/cgroup/x").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/x/pids.max").write_text("many")
    (tmp_path / "sys/fs/cgroup/x/cpu.max").write_text("lots of it")
    assert "pids.max" not in host.max_threads()
    assert host.cpus()[2] is None
    assert host.available_cpus() >= 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's calls are Linux's")
def test_the_kernel_of_this_machine_answers():
    host = Host()
    assert host.kernel_call("futex") in (True, None)  # this process could not wait without
    assert host.kernel_call("membarrier") in (True, False, None)
    assert host.has_eventfd()
    assert host.kernel_call("no such call") is None
    assert not host.has_module("no_such_module_at_all")
    assert host.has_module("json")


def test_the_doctor_costs_the_import_nothing(run_script):
    done = run_script(
        "import sys, tailrace as tr; tr.Runtime; tr.step\n"
        "slow = 'tailrace.doctor', 'tailrace._host', 'ctypes', 'json', 'numpy'\n"
        "print([m for m in slow if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr
