"""What CPython does to native threads, and what they must not do to it: see docs/hazards.md."""

from __future__ import annotations

import gc
import struct
import sys
import threading
import time
import traceback
import weakref
from pathlib import Path

import pytest
import tailrace as tr
from tailrace import _core

WAIT_S = 20.0


def needed_libraries(path: Path) -> list[str]:
    """Return the names under DT_NEEDED of a 64-bit little-endian ELF file."""
    image = path.read_bytes()
    assert image[:6] == b"\x7fELF\x02\x01"
    table, entry_size, entries = (
        *struct.unpack_from("<Q", image, 0x20),
        *struct.unpack_from("<HH", image, 0x36),
    )
    segments = [struct.unpack_from("<IIQQQQQQ", image, table + i * entry_size) for i in range(entries)]

    def offset_of(address: int) -> int:
        for kind, _, offset, start, _, size, _, _ in segments:
            if kind == 1 and start <= address < start + size:  # PT_LOAD
                return offset + address - start
        raise AssertionError(f"no segment holds {address:#x}")

    (dynamic,) = [segment for segment in segments if segment[0] == 2]  # PT_DYNAMIC
    tags = list(struct.iter_unpack("<qQ", image[dynamic[2] : dynamic[2] + dynamic[5] // 16 * 16]))
    strings = offset_of(next(value for tag, value in tags if tag == 5))  # DT_STRTAB
    names = [strings + value for tag, value in tags if tag == 1]  # DT_NEEDED
    return [image[start : image.index(b"\0", start)].decode() for start in names]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads an ELF file")
def test_the_extension_needs_the_shared_runtime_libraries_of_cpp():
    needed = needed_libraries(Path(_core.__file__))
    assert "libstdc++.so.6" in needed, needed
    assert "libgcc_s.so.1" in needed, needed


def test_thread_locals_of_a_worker_live_as_long_as_the_worker(make_runtime):
    runtime = make_runtime(workers=1)
    local = threading.local()
    calls: list[int] = []

    def count():
        local.calls = getattr(local, "calls", 0) + 1
        calls.append(local.calls)

    done = threading.Event()
    for _ in range(3):
        runtime.submit(count)
    runtime.submit(done.set)  # nobody waits through a future, so nobody helps
    assert done.wait(WAIT_S)
    assert calls == [1, 2, 3]


def test_threading_knows_a_worker_once_however_often_it_is_asked(make_runtime):
    before = set(threading.enumerate())
    runtime = make_runtime(workers=2)
    done = threading.Semaphore(0)
    for _ in range(50):
        runtime.submit(lambda: (threading.current_thread(), done.release()))
    for _ in range(50):
        assert done.acquire(timeout=WAIT_S)
    assert len(set(threading.enumerate()) - before) <= 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_have_names_in_the_system(make_runtime):
    runtime = make_runtime(workers=1, name="shop")
    runtime.submit(int).result(WAIT_S)
    with tr.Executor(1, thread_name_prefix="books") as executor:
        executor.submit(int).result(WAIT_S)
        names = {task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}
    assert {name for name in names if name.startswith("shop")}, names
    assert {name for name in names if name.startswith("books")}, names


def test_the_frames_of_a_failed_task_go_when_its_error_goes(rt):
    class Local:
        pass

    gone = threading.Event()

    def fail():
        local = Local()
        weakref.finalize(local, gone.set)
        raise ValueError("no")

    future = rt.submit(fail)
    error = future.exception(WAIT_S)
    assert "fail" in "".join(traceback.format_tb(error.__traceback__))
    assert not gone.is_set()
    del future, error
    gc.collect()
    assert gone.wait(WAIT_S)


def test_a_thousand_errors_leave_nothing_behind(rt):
    def fail():
        raise ValueError("no")

    step = tr.step(fail)
    flow = tr.workflow(lambda: step()).options(runtime=rt)

    def once():
        for _ in range(250):
            assert isinstance(rt.submit(fail).exception(WAIT_S), ValueError)
            with pytest.raises(tr.StepFailed):
                flow()
        rt.drain(WAIT_S)
        gc.collect()

    once()
    before = sys.getallocatedblocks()
    once()
    once()
    assert sys.getallocatedblocks() - before < 400  # 1,000 errors


def test_system_exit_in_a_step_reaches_the_caller_and_ends_no_worker(make_runtime):
    runtime = make_runtime(workers=1)

    def leave():
        raise SystemExit(3)

    step = tr.step(leave)
    with pytest.raises(SystemExit):
        tr.workflow(lambda: step()).options(runtime=runtime)()
    assert runtime.submit(pow, 2, 3).result(WAIT_S) == 8


@pytest.mark.parametrize("kind", ["runtime", "executor"])
def test_the_last_reference_may_go_while_tasks_need_the_gil(kind):
    begun, ended = threading.Event(), threading.Semaphore(0)

    def work():
        begun.set()
        for _ in range(200):
            sum(range(50))
        ended.release()

    made = tr.Runtime(workers=2) if kind == "runtime" else tr.Executor(2)
    for _ in range(20):
        made.submit(work)
    assert begun.wait(WAIT_S)
    began_s = time.monotonic()
    del made
    assert time.monotonic() - began_s < WAIT_S
    for _ in range(20):
        assert ended.acquire(timeout=WAIT_S)


def test_a_runtime_may_be_dropped_by_its_own_last_task():
    gone = threading.Event()
    held = [tr.Runtime(workers=1)]
    weakref.finalize(held[0], gone.set)
    held[0].submit(held.clear)
    for _ in range(50):
        gc.collect()
        if gone.wait(WAIT_S / 50):
            break
    assert gone.is_set()


def test_collecting_garbage_all_the_time_harms_no_run(make_runtime):
    runtime = make_runtime(workers=2)
    add = tr.step(lambda a, b: (a, b))
    flow = tr.workflow(lambda x: add(add(x, 1), add(x, 2))).options(runtime=runtime)
    stop = threading.Event()

    def collect():
        while not stop.is_set():
            gc.collect()

    def ask(failures):
        try:
            for i in range(100):
                assert flow.start(i).result(WAIT_S) == ((i, 1), (i, 2))
                assert runtime.submit(pow, i, 2).result(WAIT_S) == i * i
        except BaseException as error:
            failures.append(error)

    failures: list[BaseException] = []
    collector = threading.Thread(target=collect)
    askers = [threading.Thread(target=ask, args=(failures,)) for _ in range(3)]
    for thread in (collector, *askers):
        thread.start()
    for thread in askers:
        thread.join(6 * WAIT_S)
    stop.set()
    collector.join(WAIT_S)
    assert not failures


def test_arguments_that_go_on_a_worker_go_with_the_gil(make_runtime):
    runtime = make_runtime(workers=2)
    gone = threading.Semaphore(0)

    class Loud:
        def __del__(self):
            gone.release()  # a Python call: it would crash without the GIL

    for _ in range(100):
        runtime.submit(id, Loud())
    for _ in range(100):
        assert gone.acquire(timeout=WAIT_S)


NO_THREADS_AT_EXIT = """
import atexit, threading, tailrace as tr
def check():
    def start(self): raise RuntimeError("can't create new thread at interpreter shutdown")
    threading.Thread.start = start
    rt.close(); executor.shutdown()
    print("closed")
rt, executor = tr.Runtime(workers=2), tr.Executor(2)
rt.submit(int).result(); executor.submit(int).result()
atexit.register(check)
"""


def test_closing_while_the_interpreter_ends_starts_no_thread(run_script):
    done = run_script(NO_THREADS_AT_EXIT)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "closed", "")


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import tailrace as tr
assert tr.Runtime(workers=1).submit(pow, 2, 3).result() == 8
ident = interpreters.create()
text = '''
try:
    from tailrace import _core
except ImportError as error:
    print("refused:", error, flush=True)
else:
    print("let in", flush=True)
'''
run = getattr(interpreters, "exec", None) or interpreters.run_string
run(ident, text)
interpreters.destroy(ident)
"""


def test_a_subinterpreter_is_refused_and_told_so(run_script):
    done = run_script(SUBINTERPRETER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused:"), done.stdout
    assert "interpreter" in done.stdout
