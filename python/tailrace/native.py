"""`tr.native_step`: a step whose body is a C function on a NumPy record, run without the GIL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tailrace import _core, _trace
from tailrace._checks import check_choice
from tailrace._native_functions import Target, resolve
from tailrace.step import Step

__all__ = ["NativeStep", "native_step"]

_GIL = ("auto", "holds", "releases")
_MAX_NAMES = 8  # field names that an error lists


def native_step(
    function: Any,
    payload: Any = None,
    *,
    name: str | None = None,
    gil: str = "auto",
) -> NativeStep:
    """Make a C function `int64 step(void* payload)` a step.

    It is given one record to read and to write, and returns 1 for success, or any other number but 0, which
    means that it failed. In a workflow, the step takes a record (or a dict, a tuple, or the fields by
    name; fields that are left out are zero) and its result is the record as the function left it.

    Args:
        function: A `numba.cfunc`, what `native(batch)` of a bound kernel returns, a PyCapsule whose name is
            the C signature ("int64_t (void *)"), or a ctypes or cffi function pointer. It is kept alive.
        payload: The structured NumPy dtype of the record, aligned (`align=True`), without objects. May be
            left out for a cfunc whose signature names it.
        name: The step's name; by default the function's.
        gil: "releases" the GIL around it, "holds" it, or "auto": releases it once the function, with those
            that follow it in a chain, is known to take longer than 20 microseconds, or is unknown.

    Raises:
        TypeError: for a wrong signature or payload; the message says the right one.
        ValueError: for a null pointer.

    >>> import ctypes
    >>> import numpy as np
    >>> import tailrace as tr
    >>> draw = ctypes.CDLL(None).nrand48  # long nrand48(unsigned short state[3]), as good as any
    >>> draw.restype, draw.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    >>> random = tr.native_step(draw, np.dtype([("state", np.uint16, 3)], align=True))
    >>> @tr.workflow
    ... def twice(seed):
    ...     return random(random(state=seed))
    >>> [int(word) for word in twice([1, 2, 3])["state"]]
    [61731, 23903, 17244]
    """
    return NativeStep(resolve(function), payload, name, gil)


class NativeStep(Step[..., Any]):
    """A C function under the eye of the scheduler; made by `tr.native_step`.

    Called inside a workflow it becomes a node of the graph; called anywhere else it runs its function here,
    and returns the record. What the result stands on is a block of its own, freed with its last view.

    Attributes:
        name: The step's name, as errors, history and pictures show it.
        kind: "native", or "sync" for a callback into Python.
        payload: The dtype of the record.
        fn: The same as a plain Python callable.
    """

    def __init__(self, target: Target, payload: Any, name: str | None, gil: str) -> None:
        check_choice("native_step", "gil", gil, _GIL)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"native_step: name must be a text, got {name!r}")
        self.name = name or target.name or "native"
        self.__name__ = self.__qualname__ = self.name
        self.__doc__ = getattr(target.owner, "__doc__", None)
        self.payload = _checked(self.name, payload, target)
        if target.needs_gil and gil == "releases":
            raise TypeError(
                f"native step {self.name!r}: a function of ctypes.PyDLL needs the GIL; load it with "
                "ctypes.CDLL if it does not, or drop gil='releases'"
            )
        self._target = target
        self._record = np.dtype((np.record, self.payload))
        self.fn: Callable[..., Any] = self._call
        self._core = _core.Step(self.fn, self.name, _core.SYNC)
        self._signature = None
        self.kind = "sync"
        if target.python is None:
            self.kind = "native"
            mode = "holds" if target.needs_gil else gil
            _core.set_native(self._core, target.address, self.payload.itemsize, _GIL.index(mode))
        self._pack_step = _core.Step(self._pack, f"payload of {self.name}", _core.SYNC)
        view = _core.Step(self._view, f"result of {self.name}", _core.SYNC)
        self._payload = _trace.Payload(self.payload, view)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Inside a workflow, add a node and return its placeholder; elsewhere, call the function."""
        trace = _trace.state.trace
        if trace is None:
            return self._call(*args, **kwargs)
        self._check_fields(args, kwargs)
        if self.kind == "sync":
            return trace.add(self._core, self.name, args, kwargs)
        first = len(trace.nodes)
        given = args[0] if args else None
        handed_on = trace.payload_of(given)
        if handed_on is None:
            given = trace.helper(self._pack_step, args, kwargs)
        elif not _same(handed_on.dtype, self.payload):
            raise TypeError(
                f"native step {self.name!r} in workflow {trace.workflow!r}: it works on {self.payload}, but "
                f"{given!r} is a record of {handed_on.dtype}; write a step between them that "
                "returns the fields"
            )
        node = trace.add(self._core, self.name, (given,), {}, payload=self._payload)
        return trace.span(node, first)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if (
            len(args) == 1 and type(args[0]) is _core.Payload
        ):  # a plan's, where the core wants Python to do it
            payload = args[0].copy()
            self._invoke(payload)
            return payload
        payload = self._pack(*args, **kwargs)
        self._invoke(payload)
        return self._view(payload)

    def _invoke(self, payload: _core.Payload) -> None:
        python = self._target.python
        if python is None:
            _core.call_native(self._core, payload)
        elif not python(payload.address):
            raise RuntimeError(
                f"step {self.name!r} returned 0, which means that it failed; return 1 for success"
            )

    def _pack(self, *args: Any, **fields: Any) -> _core.Payload:
        self._check_fields(args, fields)
        payload = _core.Payload(self.payload.itemsize)
        record = np.frombuffer(payload, dtype=self.payload)  # type: ignore[call-overload, unused-ignore]
        if args and isinstance(args[0], Mapping):
            fields = dict(args[0])
            self._check_fields((), fields)
        elif args:
            record[0] = self._one_record(args[0])
        for field, value in fields.items():
            record[field][0] = value
        return payload

    def _view(self, payload: Any) -> Any:
        if type(payload) is not _core.Payload:
            return payload
        return np.frombuffer(payload, dtype=self._record)[0]  # type: ignore[call-overload, unused-ignore]

    def _one_record(self, given: Any) -> Any:
        dtype = getattr(given, "dtype", None)
        if dtype is None:
            if isinstance(given, tuple):
                return given
            raise TypeError(
                f"native step {self.name!r} takes a record of {self.payload}, a dict or a tuple of its "
                f"fields, got {type(given).__name__} {given!r}; by name: {self._example()}"
            )
        if not _same(dtype, self.payload) or getattr(given, "size", 1) != 1:
            raise TypeError(
                f"native step {self.name!r} takes one record of {self.payload}, got {dtype} of shape "
                f"{getattr(given, 'shape', ())}; by name: {self._example()}"
            )
        return given if getattr(given, "ndim", 0) == 0 else given.reshape(())[()]

    def _check_fields(self, args: tuple[Any, ...], fields: Mapping[str, Any]) -> None:
        if len(args) > 1 or (args and fields):
            raise TypeError(
                f"native step {self.name!r} takes one record or fields by name, got {len(args)} positional "
                f"and {len(fields)} named; write {self._example()}"
            )
        unknown = [field for field in fields if field not in (self.payload.names or ())]
        if unknown:
            raise TypeError(
                f"native step {self.name!r}: its payload has no field {unknown[0]!r}; it has {self._names()}"
            )

    def _names(self) -> str:
        names = self.payload.names or ()
        more = ", ..." if len(names) > _MAX_NAMES else ""
        return ", ".join(repr(name) for name in names[:_MAX_NAMES]) + more

    def _example(self) -> str:
        return f"{self.name}({', '.join(f'{name}=...' for name in (self.payload.names or ())[:_MAX_NAMES])})"


def _checked(name: str, payload: Any, target: Target) -> np.dtype[Any]:
    where = f"native step {name!r}"
    if payload is None:
        payload = target.dtype
    if payload is None:
        raise TypeError(
            f"{where}: its signature does not say what the payload is; give the dtype of the record: "
            "tr.native_step(f, np.dtype([('x', np.float64)], align=True))"
        )
    try:
        dtype: np.dtype[Any] = np.dtype(payload)
    except TypeError as error:
        raise TypeError(f"{where}: payload must be a NumPy dtype, got {payload!r} ({error})") from None
    if dtype.names is None or dtype.itemsize == 0:
        raise TypeError(
            f"{where}: payload must be a structured dtype with named fields, got {dtype}; write "
            f"np.dtype([('value', {dtype.str!r})], align=True), with a shape for an array"
        )
    if dtype.hasobject:
        raise TypeError(
            f"{where}: payload {dtype} has fields that are Python objects, which C code without the GIL must "
            "not touch; use numbers and fixed-size arrays"
        )
    if not dtype.isnative:
        raise TypeError(f"{where}: payload {dtype} is of the other byte order; use payload.newbyteorder('=')")
    if not _is_aligned(dtype):
        raise TypeError(
            f"{where}: payload {dtype} is not aligned as a C struct is; make it with align=True: "
            "np.dtype([...], align=True)"
        )
    if target.dtype is not None and not _same(np.dtype(target.dtype), dtype):
        raise TypeError(f"{where}: its signature takes a record of {target.dtype}, but payload is {dtype}")
    if target.nbytes not in (None, dtype.itemsize):
        raise TypeError(
            f"{where}: its signature takes a struct of {target.nbytes} bytes, "
            f"but payload has {dtype.itemsize}"
        )
    return dtype


def _alignment(dtype: np.dtype[Any]) -> int:
    base = dtype.base
    if base.names is None:
        return base.alignment
    return max((_alignment(base[name]) for name in base.names), default=1)


def _is_aligned(dtype: np.dtype[Any]) -> bool:
    base = dtype.base
    if base.fields is None:
        return True
    return base.itemsize % _alignment(base) == 0 and all(
        field[1] % _alignment(field[0]) == 0 and _is_aligned(field[0]) for field in base.fields.values()
    )


def _same(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    return a.itemsize == b.itemsize and a.names == b.names and a.fields == b.fields
