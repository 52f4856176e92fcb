"""The shim runs CUDA C++ as a device would, and finds what a device would do wrong in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

SEEDS = range(8)
BLOCKS = 8  # the one that reads may be the last of its block by chance

SUM = r"""
extern "C" __global__ void sum(const float* x, float* out, int n) {
  __shared__ float part[8];
  float v = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += 256) v += x[i];
  for (int bits = 16; bits > 0; bits /= 2) v += __shfl_xor_sync(0xffffffffu, v, bits);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x == 37) {
    float all = 0.0f;
    for (int i = 0; i < 8; ++i) all += part[i];
    out[blockIdx.x] = all;
  }
}
"""

# Neighbours swap within a warp through shared memory.
SWAP = r"""
extern "C" __global__ void swap(const int* x, int* out) {
  __shared__ int lanes[64];
  lanes[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  out[threadIdx.x] = lanes[threadIdx.x ^ 1u];
}
"""

Make = Callable[..., Any]


def summed(make: Make, text: str, seed: int, n: int = 1000) -> np.ndarray[Any, Any]:
    device = make(text, seed)
    x = device.to_device(np.arange(1000, dtype=np.float32))
    out = device.empty((BLOCKS,), np.float32)
    device.launch("op", "sum", (BLOCKS,), (256,), [x, out, np.int32(n)], 0, None)
    return np.asarray(out.get())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sum_over_a_block_does_not_depend_on_the_order(host_device_of: Make, seed: int) -> None:
    assert summed(host_device_of, SUM, seed).tolist() == [499500.0] * BLOCKS


@pytest.mark.parametrize("seed", SEEDS)
def test_a_removed_barrier_is_caught_with_every_seed(host_device_of: Make, seed: int) -> None:
    mutant = SUM.replace("__syncthreads();", "")
    assert mutant != SUM
    assert summed(host_device_of, mutant, seed).tolist() != [499500.0] * BLOCKS


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("barrier", ["__syncwarp();", ""])
def test_a_removed_barrier_of_a_warp_is_caught_with_every_seed(
    host_device_of: Make, seed: int, barrier: str
) -> None:
    device = host_device_of(SWAP.replace("__syncwarp();", barrier), seed)
    x = np.arange(64, dtype=np.int32)
    out = device.empty((64,), np.int32)
    device.launch("op", "swap", (1,), (64,), [device.to_device(x), out], 0, None)
    assert np.array_equal(out.get(), x ^ 1) == bool(barrier)


def test_reading_behind_an_array_names_the_argument_and_how_far(host_device_of: Make) -> None:
    with pytest.raises(
        RuntimeError, match=r"outside of every array \(\d+ bytes behind argument 0, float32 \[1000\]"
    ):
        summed(host_device_of, SUM, 0, n=1001)


def test_writing_into_the_last_bytes_before_a_page_ends_is_caught(host_device_of: Make) -> None:
    device = host_device_of('extern "C" __global__ void k(float* x) { x[3] = 1.0f; }', 0)
    with pytest.raises(RuntimeError, match="wrote behind the end of argument 0"):
        device.launch("op", "k", (1,), (1,), [device.empty((3,), np.float32)], 0, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__shared__ float t[4]; t[n] = 1.0f; x[0] = t[n];", "an index outside of an array"),
        ("x[0] = reinterpret_cast<float4*>(x + 1)->x;", "a misaligned pointer"),
        ("x[0] = static_cast<float>(7 / (n - 4));", "a division by zero"),
        ("if (threadIdx.x < 3) __syncthreads(); else __syncwarp();", "they never meet"),
        ("if (threadIdx.x < 3) { __syncthreads(); } else {\n __syncthreads(); }", "they never meet"),
        ("if (threadIdx.x < 3) __syncwarp();", "they never meet"),
        ("x[0] = __shfl_sync(1u << threadIdx.x, 1.0f, 9);", "reads lane 9, which is not in mask"),
    ],
)
def test_what_a_device_would_do_in_silence_is_said(host_device_of: Make, text: str, said: str) -> None:
    device = host_device_of(f'extern "C" __global__ void k(float* x, int n) {{ {text} }}', 0)
    with pytest.raises(RuntimeError, match=said):
        device.launch("op", "k", (1,), (32,), [device.empty((8,), np.float32), np.int32(4)], 0, None)


def test_shared_memory_is_poisoned_before_every_block(host_device_of: Make) -> None:
    text = """
    extern "C" __global__ void k(float* x) {
      __shared__ float own[1];
      extern __shared__ float more[];
      x[blockIdx.x] = own[0] + more[0];
      own[0] = more[0] = 1.0f;
    }""".replace(
        "extern __shared__ float more[];", "float* more = reinterpret_cast<float*>(shim::dynamic_begin);"
    )
    device = host_device_of(text, 0)
    out = device.empty((3,), np.float32)
    device.launch("op", "k", (3,), (1,), [out], 16, None)
    assert np.isnan(out.get()).all()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            lambda d: [d.empty((1000,), np.float64), d.empty((2,), np.float32), np.int32(1)],
            "argument 0 is Cf4 and was given Pf8",
        ),
        (
            lambda d: [d.empty((1000,), np.float32), d.empty((2,), np.float32), np.int64(1)],
            "argument 2 is i4 and was given i8",
        ),
        (lambda d: [d.empty((1000,), np.float32), d.empty((2,), np.float32)], "takes 3 arguments"),
        (
            lambda d: [np.int32(1), d.empty((2,), np.float32), np.int32(1)],
            "argument 0 is Cf4 and was given i4",
        ),
    ],
)
def test_arguments_of_the_wrong_type_or_in_the_wrong_order_are_refused(
    host_device_of: Make, args: Any, said: str
) -> None:
    device = host_device_of(SUM, 0)
    with pytest.raises(RuntimeError, match=said):
        device.launch("op", "sum", (1,), (256,), args(device), 0, None)


def test_a_block_that_no_device_has_is_refused(host_device_of: Make) -> None:
    device = host_device_of(SUM, 0)
    args = [device.empty((1000,), np.float32), device.empty((2,), np.float32), np.int32(1)]
    with pytest.raises(RuntimeError, match=r"1,024 are the most"):
        device.launch("op", "sum", (1,), (512, 4), args, 0, None)
    with pytest.raises(RuntimeError, match="beyond the device's limits"):
        device.launch("op", "sum", (1, 70000), (32,), args, 0, None)


WARP = r"""
extern "C" __global__ void warp(const int* x, int* out) {
  const int lane = static_cast<int>(threadIdx.x), v = x[lane];
  int* row = out + lane;
  row[0] = __shfl_sync(0xffffffffu, v, 5);
  row[32] = __shfl_down_sync(0xffffffffu, v, 3);
  row[64] = __shfl_up_sync(0xffffffffu, v, 3, 8);
  row[96] = __shfl_xor_sync(0xffffffffu, v, 6, 8);
  row[128] = static_cast<int>(__ballot_sync(0xffffffffu, v % 3 == 0));
  row[160] = __any_sync(0xffffffffu, v == 31) + 2 * __all_sync(0xffffffffu, v < 31);
  row[192] = static_cast<int>(__match_any_sync(0xffffffffu, v % 4));
  row[224] = lane < 16 ? __shfl_sync(0xffffu, v, 2) : __shfl_sync(0xffff0000u, v, 20);
  row[256] = __syncthreads_count(v > 9);
  row[288] = __dp4a(v * 0x01020304, 0x7f8001ff, 10);
}
"""


def test_warp_operations_are_those_of_the_programming_guide(host_device_of: Make) -> None:
    device = host_device_of(WARP, 3)
    v = np.arange(32)
    out = device.empty((10, 32), np.int32)
    device.launch("op", "warp", (1,), (32,), [device.to_device(v.astype(np.int32)), out], 0, None)
    rows = out.get()
    assert rows[0].tolist() == [5] * 32
    assert rows[1].tolist() == [i + 3 if i + 3 < 32 else i for i in v]
    assert rows[2].tolist() == [i - 3 if i % 8 >= 3 else i for i in v]
    assert rows[3].tolist() == [i ^ 6 for i in v]
    assert rows[4].view(np.uint32).tolist() == [sum(1 << i for i in range(0, 32, 3))] * 32
    assert rows[5].tolist() == [1] * 32
    assert rows[6].view(np.uint32).tolist() == [sum(1 << i for i in range(lane % 4, 32, 4)) for lane in v]
    assert rows[7].tolist() == [2] * 16 + [20] * 16
    assert rows[8].tolist() == [22] * 32
    parts = (np.int64(0x01020304) * v).astype(np.uint32).view(np.int8).reshape(32, 4).astype(np.int64)
    assert rows[9].tolist() == (parts @ np.array([-1, 1, -128, 127]) + 10).tolist()


HALVES = r"""
#include "device.cuh"
extern "C" __global__ void halves(const f16* x, const bf16* y, float* wide, f16* back, bf16* brain, int n) {
  for (int i = 0; i < n; ++i) {
    wide[i] = to_float(x[i]);
    wide[n + i] = to_float(y[i]);
    from_float(wide[i], back[i]);
    from_float(wide[n + i] * 1.001f, brain[i]);
  }
}
extern "C" __global__ void narrow(const float* x, f16* out, int n) {
  for (int i = 0; i < n; ++i) from_float(x[i], out[i]);
}
extern "C" __global__ void product(const u32* a, const u32* b, float* d) {
  const u32 lane = threadIdx.x;
  u32 left[4], right[2];
  float sum[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  const u32 group = lane / 4, place = lane % 4;
  for (u32 i = 0; i < 4; ++i) left[i] = a[(group + i % 2 * 8) * 8 + place + i / 2 * 4];
  for (u32 i = 0; i < 2; ++i) right[i] = b[group * 8 + place + i * 4];
  mma_m16n8k16(sum, left, right, f16{});
  for (u32 i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + place * 2 + i % 2] = sum[i];
}
"""


@pytest.fixture
def halves(host_device_of: Make, expanded: Callable[[str], str]) -> Any:
    return host_device_of(expanded(HALVES), 0)


def test_all_16_bit_floats_are_read_as_numpy_reads_them(halves: Any) -> None:
    n = 1 << 16
    bits = np.arange(n, dtype=np.uint16)
    wide, back, brain = (
        halves.empty((2 * n,), np.float32),
        halves.empty((n,), np.float16),
        halves.empty((n,), np.uint16),
    )
    args = [halves.to_device(bits.view(np.float16)), halves.to_device(bits), wide, back, brain, np.int32(n)]
    halves.launch("op", "halves", (1,), (1,), args, 0, None)
    as_half, as_brain = (
        bits.view(np.float16).astype(np.float32),
        (bits.astype(np.uint32) << 16).view(np.float32),
    )
    assert np.array_equal(wide.get()[:n], as_half, equal_nan=True)
    assert np.array_equal(wide.get()[n:], as_brain, equal_nan=True)
    assert np.array_equal(back.get(), bits.view(np.float16), equal_nan=True)
    finite = np.isfinite(as_brain) & (np.abs(as_brain) < 3e38)
    near = (brain.get().astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = as_brain * np.float32(1.001)
    assert np.all(np.abs(near[finite] - scaled[finite]) <= np.abs(scaled[finite]) / 256 + 1e-40)


def test_floats_are_rounded_to_half_as_numpy_rounds_them(halves: Any, rng: np.random.Generator) -> None:
    x = np.concatenate(
        [
            rng.normal(size=5000) * 10.0 ** rng.integers(-9, 6, 5000),
            [
                0.0,
                -0.0,
                65504,
                65519.99,
                65520,
                -1e9,
                np.inf,
                -np.inf,
                np.nan,
                2**-24,
                2**-25,
                1.5 * 2**-25,
                3 * 2**-25,
            ],
            np.arange(1, 4096, dtype=np.float64) * 2.0**-26,
        ]
    ).astype(np.float32)
    out = halves.empty(x.shape, np.float16)
    halves.launch("op", "narrow", (1,), (1,), [halves.to_device(x), out, np.int32(x.size)], 0, None)
    with np.errstate(over="ignore"):
        assert np.array_equal(out.get(), x.astype(np.float16), equal_nan=True)


def test_the_tensor_cores_product_is_numpys(halves: Any, rng: np.random.Generator) -> None:
    a, b = (rng.normal(size=shape).astype(np.float16) for shape in ((16, 16), (16, 8)))
    d = halves.empty((16, 8), np.float32)
    columns = np.ascontiguousarray(b.T)  # .col: a column's elements lie side by side
    args = [halves.to_device(a.view(np.uint32)), halves.to_device(columns.view(np.uint32)), d]
    halves.launch("op", "product", (1,), (32,), args, 0, None)
    np.testing.assert_allclose(
        d.get(), 1.0 + a.astype(np.float64) @ b.astype(np.float64), rtol=1e-5, atol=1e-5
    )
