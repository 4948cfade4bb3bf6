"""Rows: AutoAWQ unpacks our gemm files, and packs gemv and gemv_fast byte for byte as we do.

Single files of AutoAWQ are loaded: its start asks for models of an older transformers. For gemv and
gemv_fast it has no unpacking outside its GPU kernels.
"""
import importlib.util
import pathlib
import sys
import types

import torch

import dense
import rows as table

GROUP = 64


def load(path):
    root = pathlib.Path(importlib.util.find_spec("awq").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(f"autoawq_{path.stem}", root / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_layer(name):
    """A layer's file needs nothing for packing of what it imports for its kernels."""
    stub = types.ModuleType("awq.utils.module")
    stub.try_import = lambda _: (None, "")
    sys.modules["awq.utils.module"] = stub
    return load(pathlib.Path(f"modules/linear/{name}.py"))


def unpacked(packed):
    """module -> weights [out, in] in fp32 of a gemm directory."""
    packing = load(pathlib.Path("utils/packing_utils.py"))
    return {module: packing.dequantize_gemm(p["qweight"], p["qzeros"], p["scales"].float(), 4, GROUP).T
            for module, p in dense.packed_modules(packed).items()}


def gemm(what, rows, packed):
    rows.weights(what, packed, dense.write(packed, rows.place.work / "autoawq", unpacked(packed)))


def repacked(packed, layer):
    """module -> the parts that their packer makes of the weights, scales and zeros of a gemm file."""
    packing, made = load(pathlib.Path("utils/packing_utils.py")), {}
    weights = unpacked(packed)
    for module, parts in dense.packed_modules(packed).items():
        _, zeros = packing.reverse_awq_order(
            *packing.unpack_awq(parts["qweight"], parts["qzeros"], 4), 4)
        out_features, in_features = weights[module].shape
        linear = torch.nn.Linear(in_features, out_features, bias=False)
        linear.weight.data = weights[module]
        made[module] = layer.from_linear(linear, 4, GROUP, scales=parts["scales"].T.contiguous(),
                                         zeros=(zeros & 15).T.to(torch.int32).contiguous())
    return made


def bytes_equal(what, rows, packed, name, file, layer):
    ours = dense.packed_modules(rows.place.converted(packed, name, "--format", name))
    theirs = repacked(packed, getattr(load_layer(file), layer))
    count = sum(len(parts) for parts in ours.values())
    different = [f"{module}.{part}" for module, parts in ours.items() for part, tensor in parts.items()
                 if not torch.equal(tensor, getattr(theirs[module], part))]
    rows.add(what, f"{count} tensors", f"{count - len(different)} equal {different[:1] or ''}".strip(),
             "equal bytes", not different and count > 0)


def make(rows):
    packed = rows.place.quantized("autoawq_gemm", "--format", "awq-gemm", "--group-size", GROUP)
    rows.attempt("ours, awq-gemm, unpacked by it", gemm, rows, packed)
    for name, file, layer in (("awq-gemv", "gemv", "WQLinear_GEMV"),
                              ("awq-gemv-fast", "gemv_fast", "WQLinear_GEMVFast")):
        rows.attempt(f"ours, {name}, beside what it packs", bytes_equal, rows, packed, name, file, layer)


if __name__ == "__main__":
    table.main(make, "autoawq")
