"""`tr.each`: items of every kind, failures, bad calls, history and pictures."""

from __future__ import annotations

import asyncio
import contextvars
import itertools

import pytest
import tailrace as tr

WAIT_S = 20.0


log: list[tuple[str, int]] = []


here = contextvars.ContextVar("here", default="outside")


@tr.step
def square(x):
    return x * x


@tr.step
def same(x):
    return x


@tr.step
def total(xs):
    return sum(xs)


@tr.step
def count_to(n):
    return range(n)


@tr.step
async def square_later(x):
    await asyncio.sleep(0)
    return x * x


@tr.step(blocking=True)
def square_apart(x):
    return x * x


KINDS = {"sync": square, "async": square_later, "blocking": square_apart}


@tr.workflow
def squares(items):
    return tr.each(square, items)


def test_results_stand_in_the_order_of_the_items(rt):
    assert squares.options(runtime=rt)([3, 1, 2]) == [9, 1, 4]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 2, 257])
def test_every_kind_of_step_takes_any_number_of_items(rt, kind, size):
    wf = tr.workflow(lambda n: total(tr.each(KINDS[kind], count_to(n)))).options(runtime=rt)
    assert wf(size) == sum(x * x for x in range(size))
    assert wf.start(size).result(WAIT_S) == sum(x * x for x in range(size))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_on_a_loop_can_be_awaited(rt, kind):
    wf = tr.workflow(lambda n: tr.each(KINDS[kind], count_to(n))).options(runtime=rt)

    async def main():
        return await asyncio.gather(*[wf.start(size) for size in range(20)])

    assert asyncio.run(main()) == [[x * x for x in range(size)] for size in range(20)]


@pytest.mark.parametrize(
    "make",
    [list, tuple, iter, set, frozenset, dict.fromkeys, lambda xs: (x for x in xs), lambda xs: map(int, xs)],
    ids=["list", "tuple", "iterator", "set", "frozenset", "dict", "generator", "map"],
)
def test_any_iterable_will_do(rt, make):
    @tr.step
    def made(n):
        return make(range(n))

    wf = tr.workflow(lambda n: tr.each(square, made(n))).options(runtime=rt)
    assert sorted(wf(5)) == [0, 1, 4, 9, 16]


def test_an_item_that_is_a_tuple_is_one_argument(rt):
    wf = tr.workflow(lambda items: tr.each(same, items)).options(runtime=rt)
    assert wf([(1, 2), (), {"a": 1}, [3]]) == [(1, 2), (), {"a": 1}, [3]]


def test_items_may_be_constants_and_containers_of_placeholders(rt):
    @tr.workflow
    def wf(x):
        return [
            tr.each(square, [1, 2]),
            tr.each(square, [x, 2, square(x)]),
            tr.each(square, (square(n) for n in (1, 2))),
            tr.each(square, range(3)),
        ]

    for _ in range(2):  # a generator is read once, when the workflow is traced
        assert wf.options(runtime=rt)(3) == [[1, 4], [9, 4, 81], [1, 16], [0, 1, 4]]


def test_a_list_that_is_changed_while_it_is_worked_on_is_taken_as_it_was(rt):
    items = [1, 2, 3]

    @tr.step
    def grow(x):
        items.append(x)
        return x

    assert tr.workflow(lambda xs: tr.each(grow, xs)).options(runtime=rt)(items) == [1, 2, 3]
    assert items == [1, 2, 3, 1, 2, 3]


def test_keyword_arguments_go_to_every_call(rt):
    @tr.step
    def scale(x, *, by, plus=0):
        return x * by + plus

    wf = tr.workflow(lambda items, by: tr.each(scale, items, by=square(by), plus=1)).options(runtime=rt)
    assert wf([1, 2], 3) == [10, 19]


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_keyword_arguments_go_to_steps_of_every_kind(rt, kind):
    async def later(x, *, by):
        return x * by

    scale = tr.step(later) if kind == "async" else tr.step(blocking=True)(lambda x, *, by: x * by)
    assert tr.workflow(lambda xs: tr.each(scale, xs, by=3)).options(runtime=rt)([1, 2]) == [3, 6]


def test_outside_a_workflow_the_bare_body_is_called_in_order():
    assert tr.each(square, iter([2, 1])) == [4, 1]
    assert tr.each(tr.step(lambda x, y: x + y), [1, 2], y=10) == [11, 12]


def test_each_inside_nested_workflows_and_of_each_others_results(rt):
    @tr.workflow
    def inner(n):
        return tr.each(square, tr.each(same, count_to(n)))

    @tr.workflow
    def outer(n):
        return [total(inner(n)), inner(2), tr.each(total, [inner(n), inner(2)])]

    assert outer.options(runtime=rt)(4) == [14, [0, 1], [14, 1]]


def test_the_result_is_an_ordinary_value_of_the_graph(rt):
    @tr.workflow
    def wf(n):
        found = tr.each(square, count_to(n))
        return [found[1], total(found), tr.after(square(5), found)]

    assert wf.options(runtime=rt)(4) == [1, 14, 25]


def test_each_item_runs_in_its_own_copy_of_the_callers_context(rt):
    @tr.step
    def visit(x):
        seen = here.get()
        here.set(f"item {x}")
        return seen

    here.set("caller")
    wf = tr.workflow(lambda xs: tr.each(visit, xs)).options(runtime=rt)
    assert wf([1, 2, 3]) == ["caller"] * 3
    assert wf.start([1, 2, 3]).result(WAIT_S) == ["caller"] * 3
    assert here.get() == "caller"


def test_a_generator_runs_in_the_callers_context_too(rt):
    @tr.step
    def lazily(n):
        return (here.get() for _ in range(n))

    here.set("caller")
    assert tr.workflow(lambda n: tr.each(same, lazily(n))).options(runtime=rt)(2) == ["caller"] * 2


def test_the_first_failure_fails_the_run_names_the_item_and_no_more_items_start(rt):
    begun = []

    @tr.step
    def fail_at_three(x):
        begun.append(x)
        if x == 3:
            raise ValueError("three")
        return x

    wf = tr.workflow(lambda xs: total(tr.each(fail_at_three, xs))).options(runtime=rt)
    for _ in range(3):  # until the cost of the step is known, and nobody else is asked to help
        wf([0, 1])
    begun.clear()
    with pytest.raises(tr.StepFailed) as caught:
        wf(range(1000))
    assert caught.value.step == "fail_at_three[3]"
    assert caught.value.__cause__.args == ("three",)
    assert begun == [0, 1, 2, 3]


def test_an_iterable_that_raises_fails_the_node_and_not_an_item(rt):
    def broken():
        yield 1
        raise LookupError("no more")

    with pytest.raises(tr.StepFailed) as caught:
        squares.options(runtime=rt)(broken())
    assert caught.value.step == "each square"
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_value_that_is_not_iterable_is_a_type_error_with_the_call(rt):
    with pytest.raises(
        tr.StepFailed, match=r"TypeError: tr\.each\(square, items\): items must be iterable, got 7"
    ):
        squares.options(runtime=rt)(7)


@pytest.mark.parametrize("endless", [itertools.repeat(1), [1] * 100_001], ids=["iterator", "list"])
def test_more_than_a_hundred_thousand_items_are_refused_with_what_to_do(rt, endless):
    with pytest.raises(tr.StepFailed, match=r"at most 100000 items .* tr\.each\(step, chunks\)") as caught:
        squares.options(runtime=rt)(endless)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_hundred_thousand_items_are_allowed(rt):
    assert sum(squares.options(runtime=rt)([1] * 100_000)) == 100_000


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: tr.each(len, [1]),
            r"needs a step, got <built-in.*write @tr\.step above it.*tr\.step\(len\)",
        ),
        (lambda: tr.each(squares, [1]), r"call the workflow inside a step.*return squares\(item\)"),
        (lambda: tr.each([1], square), r"the step comes first: tr\.each\(step, items\)"),
        (lambda: tr.each(square, 7), r"tr\.each\(square, items\): items must be iterable, got int 7"),
    ],
)
def test_wrong_calls_say_what_was_given_and_the_right_call(call, text):
    with pytest.raises(TypeError, match=text):
        call()
    with pytest.raises(TypeError, match=text):
        tr.workflow(lambda: call()).compile()


def test_a_call_that_the_step_would_refuse_is_refused_while_it_is_traced():
    with pytest.raises(TypeError, match=r"step 'square' in workflow .*'by'; the step is square"):
        tr.workflow(lambda xs: tr.each(square, xs, by=1)).compile()


def test_history_shows_the_items_and_statistics_count_them(rt):
    step = tr.step(lambda x: x)
    wf = tr.workflow(lambda xs: total(tr.each(step, xs))).options(runtime=rt)
    run = wf.start([1, 2, 3])
    assert run.result(WAIT_S) == 6
    assert [record.step for record in run.history()] == ["<lambda>[0]", "<lambda>[1]", "<lambda>[2]", "total"]
    assert {record.state for record in run.history()} == {"ok"}
    assert step.statistics().calls == 3


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_history_shows_items_of_every_kind(rt, kind):
    run = tr.workflow(lambda xs: tr.each(KINDS[kind], xs)).options(runtime=rt).start([1, 2])
    assert run.result(WAIT_S) == [1, 4]
    assert rt.drain(WAIT_S)
    name = KINDS[kind].name
    assert [record.step for record in run.history()] == [f"{name}[0]", f"{name}[1]"]
    assert all(record.state == "ok" and record.duration_s >= 0 for record in run.history())


def test_history_of_a_node_that_got_nothing_to_iterate_shows_the_node(rt):
    run = squares.options(runtime=rt).start(7)
    assert isinstance(run.exception(WAIT_S), tr.StepFailed)
    [record] = run.history()
    assert (record.step, record.state) == ("each square", "failed")


def test_pictures_show_a_fan_out_node():
    wf = tr.workflow(lambda n: total(tr.each(square, count_to(n)))).compile()
    assert 'v2{{"each square"}}' in wf.mermaid()
    assert "each square" in wf._repr_mimebundle_()["image/svg+xml"]


@tr.step
def visit(x):
    log.append(("visit", x))
    if x % 11 == 10:
        raise LookupError(x)
    return x


tr.testing.cost(visit, 0.5)
