"""Compile the kernels for GPUs, each in the forms that a training takes, on a machine that has none.

    PYTHONPATH=. python tests/support/compiled_kernels.py

Triton's interpreter takes what its compiler refuses. By its path, for as a module of the tests it would be interpreted.
"""

from typing import Any

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from shared.model import fused_conv, fused_norm

HOPPER = GPUTarget("cuda", 90, 32)

HALF, SINGLE = "*bf16", "*fp32"

TYPES = {
    **dict.fromkeys(("x", "residual", "y", "gradient", "back", "beside", "to"), HALF),
    **dict.fromkeys(("partial", "slope", "shift", "stats", "bias", "kernel", "other", "image", "scores"), SINGLE),
    **dict.fromkeys(("voxels", "rows", "channels", "od", "oh", "ow", "D", "H", "W"), "i32"),
    "epsilon": "fp32",
}
"""Of the arguments, by their names; scores' gradients are float32."""

NORM = {"C": 32, "CP": 32, "SP": 64, "ROWS": 128, "TILES": 4}
FIRST = {"F": 32, "FP": 32, "ROWS": 128, "TILES": 4, "PRECISION": "tf32"}
LAST = {"C": 4, "LYING": 8, "ROWS": 256, "TILES": 16}
PLAIN, WHOLE = {"ADDS": False, "SHIFTS": False}, {"ADDS": True, "SHIFTS": True}

FORMS: tuple[tuple[Any, dict[str, Any], dict[str, str]], ...] = (
    (fused_norm._sums, NORM, {}),
    (fused_norm._instance_forward, NORM | PLAIN, {}),
    (fused_norm._instance_forward, NORM | WHOLE, {}),
    (fused_norm._instance_back_sums, NORM, {}),
    (fused_norm._instance_backward, NORM, {}),
    (fused_norm._channel_forward, NORM | PLAIN, {}),
    (fused_norm._channel_forward, NORM | WHOLE, {}),
    (fused_norm._channel_backward, NORM, {}),
    (fused_conv._first_forward, FIRST, {}),
    (fused_conv._first_backward, FIRST, {}),
    (fused_conv._last_forward, LAST, {}),
    (fused_conv._last_backward, LAST, {"gradient": SINGLE}),
    (fused_conv._last_kernel, LAST, {"gradient": SINGLE}),
)


def main() -> None:
    """Print the name of each kernel that was compiled, and the bytes of its machine code."""
    for kernel, constants, others in FORMS:
        names = kernel.arg_names
        fixed = {name: value for name, value in constants.items() if name in names}
        signature = {name: "constexpr" if name in fixed else (TYPES | others)[name] for name in names}
        source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in fixed.items()})
        print(kernel.__name__, len(compile(source, target=HOPPER).asm["cubin"]))


if __name__ == "__main__":
    main()
