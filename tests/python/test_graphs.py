"""What a workflow may be made of, and what makes it a bad graph."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import tailrace as tr


@tr.step
def double(x):
    return 2 * x


@tr.step
def total(items):
    return sum(items)


@tr.step
def echo(*args, **kwargs):
    return args, kwargs


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Request:
    user: int
    limit: int = 3


def test_a_workflow_is_traced_once_at_the_first_call(rt):
    traces = []

    @tr.workflow
    def wf(x):
        traces.append(1)
        return double(x)

    assert traces == []
    assert [wf.options(runtime=rt)(i) for i in range(3)] == [0, 2, 4]
    assert len(traces) == 1


def test_compile_traces_now_and_returns_the_workflow():
    wf = tr.workflow(lambda x: double(x))
    assert "not traced yet" in repr(wf)
    assert wf.compile() is wf
    assert "1 nodes" in repr(wf)


def test_threads_that_call_first_at_once_trace_once(rt):
    traces, barrier, results = [], threading.Barrier(4), []

    @tr.workflow
    def wf(x):
        traces.append(1)
        return double(x)

    def call(i):
        barrier.wait(20)
        results.append(wf.options(runtime=rt)(i))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 2, 4, 6]
    assert len(traces) == 1


def test_steps_may_be_defined_later_in_the_file(rt):
    @tr.workflow
    def wf(x):
        return later(x)

    @tr.step
    def later(x):
        return x + 1

    assert wf.options(runtime=rt)(1) == 2


def test_a_failed_trace_can_be_retried(rt):
    broken = [True]

    @tr.workflow
    def wf(x):
        return double(undefined if broken else x)  # noqa: F821

    with pytest.raises(NameError):
        wf(1)
    broken.clear()
    assert wf.options(runtime=rt)(1) == 2


def test_a_workflow_without_steps_is_a_workflow_error():
    @tr.workflow
    def empty(x):
        return x

    with pytest.raises(tr.WorkflowError, match=r"workflow 'empty' has no steps.*@tr\.step"):
        empty(1)


def test_a_workflow_that_calls_itself_while_traced_is_a_workflow_error():
    @tr.workflow
    def forever(x):
        return forever(double(x))

    with pytest.raises(tr.WorkflowError, match="'forever' calls itself while traced: forever -> forever"):
        forever(1)


def test_workflows_that_call_each_other_are_a_workflow_error_that_shows_the_path():
    @tr.workflow
    def ping(x):
        return pong(double(x))

    @tr.workflow
    def pong(x):
        return ping(double(x))

    with pytest.raises(tr.WorkflowError, match="ping -> pong -> ping"):
        ping(1)


def test_a_workflow_that_compiles_itself_while_traced_is_a_workflow_error():
    @tr.workflow
    def wf(x):
        wf.compile()
        return double(x)

    with pytest.raises(tr.WorkflowError, match="calls itself while traced"):
        wf(1)


@pytest.mark.parametrize("parameter", ["*args", "**kwargs"])
def test_a_variable_parameter_is_a_workflow_error_that_explains(parameter):
    fn = eval(f"lambda {parameter}: None")
    with pytest.raises(tr.WorkflowError, match=r"any number of arguments.*take one list or dict"):
        tr.workflow(fn)


@pytest.mark.parametrize("what", [42, "name", len, print])
def test_something_that_is_no_function_is_a_type_error(what):
    with pytest.raises(TypeError, match=r"write @tr\.workflow above a `def`"):
        tr.workflow(what)


def test_async_and_generator_functions_are_no_workflows():
    async def wait():
        pass

    def generate():
        yield

    for fn in (wait, generate):
        with pytest.raises(TypeError, match="must be a plain `def`"):
            tr.workflow(fn)


def test_steps_and_workflows_are_not_decorated_twice():
    with pytest.raises(TypeError, match="is a step"):
        tr.workflow(double)
    with pytest.raises(TypeError, match="workflow already"):
        tr.workflow(tr.workflow(lambda x: double(x)))


def test_a_missing_step_argument_is_a_type_error_naming_step_workflow_and_signature():
    @tr.workflow
    def wf(x):
        return total()

    with pytest.raises(TypeError, match=r"step 'total' in workflow 'wf': missing.*'items'; .*total\(items\)"):
        wf(1)


def test_an_unknown_step_argument_is_a_type_error_naming_step_and_workflow():
    @tr.workflow
    def wf(x):
        return double(x, factor=3)

    with pytest.raises(TypeError, match=r"step 'double' in workflow 'wf': .*'factor'"):
        wf(1)


def test_positional_and_keyword_arguments_of_a_step_arrive_as_given(rt):
    @tr.workflow
    def wf(x):
        return echo(1, x, double(x), key=double(x), const="c")

    assert wf.options(runtime=rt)(5) == ((1, 5, 10), {"key": 10, "const": "c"})


def test_results_in_containers_are_gathered_for_a_step(rt):
    @tr.workflow
    def wf(x):
        a, b = double(x), double(3)
        return echo([a, 1], (b,), {"a": a, "n": [b, {"deep": a}]}, Point(a, 2), [1, 2])

    args, _ = wf.options(runtime=rt)(5)
    assert args == ([10, 1], (6,), {"a": 10, "n": [6, {"deep": 10}]}, Point(10, 2), [1, 2])
    assert [type(a) for a in args] == [list, tuple, dict, Point, list]


def test_dict_subclasses_and_dataclasses_are_gathered_too(rt):
    @tr.workflow
    def wf(x):
        counts = defaultdict(list, a=double(x))
        return echo(counts, OrderedDict(b=double(x)), Request(double(x)), [slice(x, double(x))])

    (counts, ordered, request, (piece,)), _ = wf.options(runtime=rt)(5)
    assert (counts["a"], counts["other"]) == (10, [])
    assert ordered == OrderedDict(b=10)
    assert request == Request(10, 3)
    assert piece == slice(5, 10)


def test_the_result_may_be_a_container_a_constant_an_argument_or_nothing(rt):
    def returning(fn):
        @tr.workflow
        def wf(x):
            return fn(x, double(x))

        return wf.options(runtime=rt)(5)

    assert returning(lambda x, y: [x, y, {"y": (y,)}]) == [5, 10, {"y": (10,)}]
    assert returning(lambda x, y: "done") == "done"
    assert returning(lambda x, y: x) == 5
    assert returning(lambda x, y: None) is None


def test_every_run_gets_containers_of_its_own(rt):
    wf = tr.workflow(lambda x: [double(x), double(x)]).options(runtime=rt)
    first, second = wf(1), wf(1)
    assert first == second
    assert first is not second


@pytest.mark.parametrize("width", [2, 255, 256, 1000, 5000])
def test_a_fan_in_of_any_width_arrives_in_order(rt, width):
    @tr.workflow
    def wide(x):
        return echo([double(i) for i in range(width)])

    (items,), _ = wide.options(runtime=rt)(0)
    assert items == [2 * i for i in range(width)]


def test_more_than_255_arguments_of_a_step_are_a_workflow_error():
    ok = tr.workflow(lambda x: echo(*[x] * 255))
    ok.compile()
    bad = tr.workflow(lambda x: echo(*[x] * 256))
    with pytest.raises(
        tr.WorkflowError, match=r"step 'echo' is called with 256 arguments.*255.*pass one list"
    ):
        bad.compile()


def _chain(length):
    @tr.workflow
    def chain(x):
        for _ in range(length):
            x = double(x)
        return x

    return chain


def test_ten_thousand_steps_are_allowed_and_one_more_is_a_workflow_error():
    _chain(10_000).compile()
    with pytest.raises(tr.WorkflowError, match=r"workflow 'chain': more than 10,000 steps.*'double'"):
        _chain(10_001).compile()


def test_containers_nested_more_than_64_deep_are_a_workflow_error():
    def nest(depth):
        @tr.workflow
        def wf(x):
            packed = double(x)
            for _ in range(depth):
                packed = [packed]
            return total(packed)

        return wf

    nest(64).compile()
    with pytest.raises(tr.WorkflowError, match="nested more than 64 deep"):
        nest(66).compile()


def test_a_container_that_holds_itself_is_a_constant(rt):
    loop = [1]
    loop.append(loop)
    wf = tr.workflow(lambda x: echo(x, loop))
    (_, seen), _ = wf.options(runtime=rt)(1)
    assert seen is loop


def test_after_orders_steps_that_share_no_data(rt):
    log = []
    note = tr.step(log.append)

    @tr.workflow
    def wf(x):
        late = note("late")
        early = note("early")
        tr.after(late, early)

    wf.options(runtime=rt)(1)
    assert log == ["early", "late"]


def test_after_takes_containers_and_whole_nested_workflows(rt):
    log = []
    note = tr.step(log.append)

    @tr.workflow
    def inner(name):
        note([name, 1])
        note([name, 2])

    @tr.workflow
    def wf():
        b = inner("b")
        a = inner("a")
        c = note("c")
        tr.after(b, [a, {"c": c}])

    wf.options(runtime=rt)()
    assert sorted(map(str, log[:3])) == ["['a', 1]", "['a', 2]", "c"]
    assert sorted(log[3:]) == [["b", 1], ["b", 2]]


def test_a_cycle_made_with_after_is_a_workflow_error_that_shows_it():
    @tr.workflow
    def wf(x):
        a = double(x)
        b = total([a])
        tr.after(a, b)
        return b

    with pytest.raises(tr.WorkflowError, match=r"workflow 'wf': cycle: .*double.*total"):
        wf.compile()


def test_after_outside_a_workflow_is_a_workflow_error():
    with pytest.raises(tr.WorkflowError, match=r"write tr\.after\(b\(x\), a_result\)"):
        tr.after(1, 2)


def test_after_of_an_argument_is_a_workflow_error():
    @tr.workflow
    def wf(x):
        tr.after(x, double(x))
        return double(x)

    with pytest.raises(tr.WorkflowError, match="the argument 'x' is no call"):
        wf.compile()
