"""What `tr.native_step` takes for a C function, and what it finds out about it before it is ever called.

Everything here ends in a `Target` or in an error that says what to write. None of the packages is imported:
an object of theirs can only come from one that is.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Target", "resolve"]

_WANTED = "int64 step(void* payload)"
_CAPSULE_NAME = re.compile(
    r"(?:signed )?(?:int64_t|npy_int64|long long(?: int)?|long(?: int)?) ?"
    r"(?:\( ?\* ?\w* ?\) ?|\w+ ?)?\( ?void ?\* ?\w* ?\)"
)
_FUNCTION = ctypes.CFUNCTYPE(None).__mro__[1]  # what all of ctypes' functions are
_HOLDS_GIL = 0x4  # ctypes: the flag of PyDLL's functions


@dataclass(frozen=True, slots=True)
class Target:
    """A C function that has the right signature, as far as its object tells.

    Attributes:
        address: Where it is; 0 if only `python` is to be called.
        name: What it is called, "" if its object does not say.
        owner: The object that keeps the code alive.
        dtype: What its signature says the payload is, or None.
        nbytes: How large its signature says the payload is, or None.
        needs_gil: It may only be called with the GIL held.
        python: The Python function behind a callback: it is a Python step.
    """

    address: int
    name: str
    owner: object
    dtype: Any = None
    nbytes: int | None = None
    needs_gil: bool = False
    python: Callable[[int], Any] | None = None


def resolve(function: Any) -> Target:
    """Return what is behind `function`.

    Raises:
        TypeError: if it is no C function, has another signature, or cannot be checked.
        ValueError: if it is null.
    """
    if hasattr(function, "native_name") and hasattr(function, "address"):
        target = _numba(function)
    elif hasattr(function, "__native_step__"):
        capsule, dtype, name = function.__native_step__()
        target = replace(_capsule(capsule), owner=function, dtype=dtype, name=name)
    elif type(function).__name__ == "PyCapsule":
        target = _capsule(function)
    elif isinstance(function, _FUNCTION):
        target = _ctypes(function)
    elif type(function).__module__ == "_cffi_backend":
        target = _cffi(function)
    elif isinstance(function, int):
        raise TypeError(
            f"native_step: a bare address ({function:#x}) has no signature to be checked; give it one: "
            "ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(address)"
        )
    else:
        raise TypeError(
            f"native_step needs a C function {_WANTED}: a numba.cfunc, a bound kernel's native(batch), a "
            f"PyCapsule, a ctypes or a cffi function pointer; got {type(function).__name__} {function!r}"
            f"{_hint(function)}"
        )
    if target.address == 0 and target.python is None:
        raise ValueError(f"native_step: {function!r} is a null pointer; there is nothing to call")
    return target


def _hint(function: Any) -> str:
    if hasattr(function, "py_func"):
        return "; compile it with @numba.cfunc('int64(voidptr)') instead of @numba.njit"
    if callable(function):
        return "; a Python function is a step already with @tr.step"
    return ""


def _numba(function: Any) -> Target:
    signature = function._sig
    name = function.__name__
    if getattr(getattr(function, "_targetoptions", None), "get", lambda _key: False)("forceobj"):
        raise TypeError(
            f"native_step: cfunc {name!r} is compiled in object mode, which needs the interpreter; drop "
            "forceobj=True, so that Numba refuses what it cannot compile"
        )
    wanted = (
        f"native_step: cfunc {name!r} has the signature {signature}, it must be {_WANTED}: write "
        "@numba.cfunc('int64(voidptr)'), or "
        "@numba.cfunc(types.int64(types.CPointer(numba.from_dtype(payload)))), and return 1"
    )
    if str(signature.return_type) != "int64" or len(signature.args) != 1:
        raise TypeError(wanted)
    argument = signature.args[0]
    dtype = None
    if str(argument) != "void*":
        dtype = getattr(getattr(argument, "dtype", None), "dtype", None)
        if type(argument).__name__ != "CPointer" or dtype is None:
            raise TypeError(wanted)
    return Target(function.address, name, function, dtype)


def _capsule(capsule: Any) -> Target:
    api = ctypes.pythonapi
    get_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )
    name: bytes | None = get_name(capsule)
    text = " ".join((name or b"").decode("utf-8", "replace").split())
    if not _CAPSULE_NAME.fullmatch(text):
        raise TypeError(
            "native_step: the capsule's name must be its function's C signature, 'int64_t (void *)', as "
            f"with scipy.LowLevelCallable; got {text!r}"
        )
    return Target(get_pointer(capsule, name) or 0, "", capsule)


def _thunks(objects: Any, depth: int = 0) -> Iterator[Any]:
    for thing in (objects or {}).values():
        if type(thing).__name__ == "CThunkObject":
            yield thing
        elif depth < 4 and isinstance(thing, _FUNCTION):
            yield from _thunks(getattr(thing, "_objects", None), depth + 1)


def _ctypes(function: Any) -> Target:
    name = getattr(function, "__name__", "")
    called = name or "the ctypes function"
    kept: Any = function
    for thunk in _thunks(kept._objects):
        return Target(0, name, function, python=_behind(gc.get_referents(thunk), called))
    signed_64 = {ctypes.c_int64, ctypes.c_longlong} | (
        {ctypes.c_long} if ctypes.sizeof(ctypes.c_long) == 8 else set()
    )
    if function.restype not in signed_64:
        raise TypeError(
            f"native_step: {called} returns {function.restype!r}, it must be {_WANTED}; if it is, say so: "
            "f.restype = ctypes.c_int64"
        )
    arguments = function.argtypes
    if arguments is None or len(arguments) != 1 or not _is_pointer(arguments[0]):
        raise TypeError(
            f"native_step: {called} takes {arguments!r}, it must be {_WANTED}; if it is, say so: "
            "f.argtypes = [ctypes.c_void_p]"
        )
    if getattr(function, "errcheck", None) is not None:
        raise TypeError(
            f"native_step: {called} has an errcheck, which is Python and would not be called; del f.errcheck"
        )
    pointed: Any = getattr(arguments[0], "_type_", None)
    is_struct = isinstance(pointed, type) and issubclass(pointed, ctypes.Structure | ctypes.Union)
    return Target(
        ctypes.cast(function, ctypes.c_void_p).value or 0,
        name,
        function,
        nbytes=ctypes.sizeof(pointed) if is_struct else None,
        needs_gil=bool(type(function)._flags_ & _HOLDS_GIL),
    )


def _is_pointer(kind: Any) -> bool:
    return kind is ctypes.c_void_p or (isinstance(kind, type) and issubclass(kind, ctypes._Pointer))


def _behind(referents: list[Any], called: str) -> Callable[[int], Any]:
    functions = [thing for thing in referents if callable(thing) and not isinstance(thing, type)]
    if len(functions) == 1:
        found: Callable[[int], Any] = functions[0]
        return found
    raise TypeError(
        f"native_step: {called} is a callback into Python, not a C function, and the Python function behind "
        "it could not be told; decorate that function itself with @tr.step"
    )


def _cffi(function: Any) -> Target:
    cffi: Any = importlib.import_module("_cffi_backend")

    if not isinstance(function, cffi._CDataBase):
        raise TypeError(
            f"native_step: {function!r} is cffi's wrapper of a function; take its pointer: "
            "ffi.addressof(lib, 'step')"
        )
    kind = cffi.typeof(function)
    pointer = (
        kind.kind == "function"
        and kind.result.kind == "primitive"
        and kind.result.cname in ("int64_t", "long", "long long", "ssize_t", "intptr_t")
        and cffi.sizeof(kind.result) == 8
        and len(kind.args) == 1
        and not kind.ellipsis
        and kind.args[0].kind == "pointer"
    )
    if not pointer:
        raise TypeError(
            f"native_step: the cffi object has the type {kind.cname!r}, it must be {_WANTED}: "
            "ffi.cdef('int64_t step(void *payload);')"
        )
    if " calling " in repr(function):
        infos = [thing for thing in gc.get_referents(function) if isinstance(thing, tuple)]
        return Target(0, "", function, python=_behind([*infos[0][1:2]] if infos else [], repr(function)))
    address = int(cffi.cast(cffi.new_primitive_type("intptr_t"), function))
    pointed = kind.args[0].item
    nbytes = cffi.sizeof(pointed) if pointed.kind in ("struct", "union") else None
    return Target(address, "", function, nbytes=nbytes)
