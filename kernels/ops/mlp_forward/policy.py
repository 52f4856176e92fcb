"""Policy: a network whose weights are packed once, for repeated calls and for native steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tailrace.kernels import _checks, _cpu
from tailrace.kernels.native import NativeOp, native_op
from tailrace.kernels.ops.mlp_forward import layers

__all__ = ["Policy"]

_NAME = "Policy"


class Policy(_cpu.Network):
    """A network of dense layers, packed once; called with rows, it returns their outputs.

    The weights are copied into the layout that the machine's registers want; the arrays given are not kept.
    Calls are single-threaded, may come from any number of threads, and let go of the GIL when they take over
    20 us.

    Args:
        weights: one a layer, each [in, out]: float32, float16, BFloat16Weight, Int8Weight or Int4Weight.
        biases: one a layer, float32 [out], or None.
        activation: after all but the last layer: "none", "relu", "tanh", "gelu" or "silu".
        input_scales: one a layer, or None: what a step of 1 in the int8 inputs of an Int8Weight is worth,
            from calibration; inputs beyond 127 of them are clipped. None takes each row's own, its largest
            magnitude / 127.

    Raises:
        TypeError, ValueError: for weights and biases that do not fit; the message says which are wanted.

    Source: as `mlp_forward`.

    >>> import numpy as np
    >>> from tailrace.kernels import Policy
    >>> policy = Policy([np.eye(2, 3, dtype=np.float32)], [np.ones(3, np.float32)])
    >>> policy(np.array([[1, 2]], np.float32))
    array([[2., 3., 1.]], dtype=float32)
    >>> policy
    Policy(2 -> 3, relu)
    """

    __slots__ = ("_activation", "_widths")
    _widths: tuple[int, ...]
    _activation: str

    def __new__(
        cls, weights: Any, biases: Any, *, activation: str = "relu", input_scales: Any = None
    ) -> Policy:
        """Check and pack."""
        code = layers.activation_code(_NAME, activation)
        good, shifts = layers.checked(_NAME, weights, biases, None)
        scales = layers.checked_scales(_NAME, good, input_scales)
        self = super().__new__(cls, layers.native(good, shifts, scales), code)
        self._widths = (int(good[0].shape[0]), *(int(w.shape[1]) for w in good))
        self._activation = activation
        return self

    if TYPE_CHECKING:

        def __call__(self, x: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
            """Return the outputs, float32 [batch, outputs], of rows x, float32 [batch, inputs]."""

    def _call(self, x: Any, *, out: Any = None) -> Any:
        # What the compiled call did not take: mostly an error, to be explained here.
        if _checks.is_device_array(x):
            raise ValueError(f"{_NAME}: x lies on a device, the packed weights on the host; call mlp_forward")
        plain = type(x) is np.ndarray and (out is None or type(out) is np.ndarray)
        x = _checks.host_array(_NAME, "x", x, ("float32",), ("batch", self.inputs), least=1)
        result = _checks.output(_NAME, out, (x.shape[0], self.outputs), apart_from=(x,))
        if plain:
            raise ValueError(f"{_NAME}: x or out is of a layout that the kernels do not take: pass x.copy()")
        self(np.asarray(x), out=np.asarray(result))  # a subclass of arrays
        return result

    @property
    def inputs(self) -> int:
        """Features of a row."""
        return self._widths[0]

    @property
    def outputs(self) -> int:
        """Outputs of a row."""
        return self._widths[-1]

    def native(self, batch: int) -> NativeOp:
        """Return this policy as a native step: `tr.native_step(policy.native(batch))`.

        A record holds x, float32 [batch, inputs], and y, float32 [batch, outputs].

        Args:
            batch: rows of one record, at least 1.

        Raises:
            ValueError: for a batch below 1.
            RuntimeError: if 256 native functions of bound ops are live.

        >>> import numpy as np
        >>> from tailrace.kernels import Policy
        >>> Policy([np.eye(2, dtype=np.float32)], [None]).native(4).payload.names
        ('x', 'y')
        """
        fields = [("x", "float32", (batch, self.inputs)), ("y", "float32", (batch, self.outputs))]
        return native_op("Policy", self._bound(), batch, fields)

    def __reduce__(self) -> Any:
        raise TypeError("a Policy is packed for this machine: send the weights and make it there")

    def __repr__(self) -> str:
        return f"Policy({' -> '.join(map(str, self._widths))}, {self._activation})"
