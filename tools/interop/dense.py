"""A model directory of plain floats, from the weights that another program unpacked."""
import json
import pathlib

import torch
from safetensors import safe_open
from safetensors.torch import save_file

PARTS = ("qweight", "qzeros", "scaled_zeros", "scales", "g_idx", "weight_packed", "weight_scale",
         "weight_zero_point", "weight_shape", "weight_g_idx")


def tensors_of(directory):
    found = {}
    for path in sorted(pathlib.Path(directory).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}
    return found


def packed_modules(directory):
    """module -> {part: tensor} of every packed linear."""
    modules = {}
    for name, tensor in tensors_of(directory).items():
        module, _, part = name.rpartition(".")
        if part in PARTS:
            modules.setdefault(module, {})[part] = tensor
    return modules


def write(packed, out, weights):
    """`packed` with each module's weights [out, in], given as fp32, for its parts."""
    out.mkdir()
    config = json.loads((packed / "config.json").read_text())
    del config["quantization_config"]
    config.pop("dtype", None)
    config["torch_dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config))
    for path in packed.glob("tokenizer*.json"):
        (out / path.name).write_bytes(path.read_bytes())
    tensors = {name: tensor.float() for name, tensor in tensors_of(packed).items()
               if name.rpartition(".")[2] not in PARTS}
    tensors |= {f"{module}.weight": weight.float().contiguous() for module, weight in weights.items()}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out
