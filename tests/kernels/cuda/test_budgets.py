"""Every CUDA kernel compiles for every architecture and stays within its budget; no device is needed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tailrace.kernels.cuda import sources

BUDGETS: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(
    (sources.HEADERS / "budgets.toml").read_text(encoding="utf-8")
)
ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]  # as in offline.py
KNOWN = {"registers", "shared_bytes", "opcodes"}


@pytest.fixture(scope="module")
def offline(load_beside: Any) -> ModuleType:
    module: ModuleType = load_beside(Path(__file__).with_name("offline.py"))
    if module.nvrtc() is None:
        pytest.skip('no NVRTC: pip install ".[kernels-check]" compiles the CUDA kernels without a device')
    return module


def excess(offline: ModuleType, kernel: str, one: Any, budget: dict[str, Any]) -> list[str]:
    """What of a compiled kernel is beyond its budget."""
    said = []
    if one.registers > budget["registers"]:
        said.append(f"{one.registers} registers, the budget is {budget['registers']}")
    if one.shared_bytes > budget.get("shared_bytes", 0):
        said.append(
            f"{one.shared_bytes} bytes of shared memory, the budget is {budget.get('shared_bytes', 0)}"
        )
    if one.stack_bytes or one.spill_bytes:
        said.append(f"a stack of {one.stack_bytes} bytes and {one.spill_bytes} bytes of spills")
    if offline.nvdisasm() is not None:
        said += [f"no {wanted}" for wanted in budget.get("opcodes", ()) if not one.has(wanted)]
        said += [f"{opcode}, which is forbidden" for opcode in offline.FORBIDDEN if one.has(opcode)]
    return [f"{kernel}: {what}" for what in said]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("op", sources.ops())
def test_every_kernel_compiles_within_its_budget(offline: ModuleType, op: str, architecture: str) -> None:
    print(offline.version(), "nvdisasm" if offline.nvdisasm() else "no nvdisasm: opcodes are not looked at")
    found = offline.compile_text(sources.source(op), architecture, sources.OPTIONS)
    budgets = BUDGETS.get(op, {})
    assert set(found) == set(budgets), "each kernel has a budget and each budget a kernel"
    wrong = [line for kernel, one in found.items() for line in excess(offline, kernel, one, budgets[kernel])]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("op", sources.ops())
def test_every_kernel_compiles_for_the_oldest_device_that_is_supported(offline: ModuleType, op: str) -> None:
    assert offline.compile_text(sources.source(op), "sm_75", sources.OPTIONS)


def test_budgets_name_ops_and_limits_that_exist() -> None:
    assert set(BUDGETS) <= set(sources.ops())
    for op, kernels in BUDGETS.items():
        for kernel, budget in kernels.items():
            assert set(budget) <= KNOWN, f"{op}.{kernel}"
            assert 0 < budget["registers"] <= 255, f"{op}.{kernel}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_array_that_leaves_the_registers_and_missing_opcodes_are_found(
    offline: ModuleType, architecture: str
) -> None:
    text = """
    extern "C" __global__ void k(const float* x, float* out, int n) {
      float own[64];
      for (int i = 0; i < 64; ++i) own[i] = x[i];
      for (int i = 0; i < n; ++i) own[(i * 7) & 63] += own[(i * n) & 63];
      out[0] = own[n & 63];
    }"""
    one = offline.compile_text(text, architecture, sources.OPTIONS)["k"]
    said = "\n".join(excess(offline, "k", one, {"registers": 4, "opcodes": ["HMMA"]}))
    assert "registers, the budget is 4" in said
    assert "a stack of" in said
    if offline.nvdisasm() is not None:
        assert "no HMMA" in said
        assert "LDL, which is forbidden" in said
        assert one.has("LDG")


def test_a_source_that_does_not_compile_says_where(offline: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r'identifier "y" is undefined'):
        offline.compile_text('extern "C" __global__ void k(float* x) { x[0] = y; }', "sm_90", sources.OPTIONS)
