"""How far two programs may be apart, derived. Lengths of logits are meant by their root mean square,
after the mean of each position is taken away, which no probability depends on."""
import math

import numpy as np

from place import CTX, WINDOWS

FP32 = 2.0**-24
FP16 = 2.0**-11
BF16 = 2.0**-8
UNIFORM = 1 / math.sqrt(3)  # the root mean square of an error that is uniform up to 1


def centred(logits):
    logits = np.asarray(logits, np.float64)
    return logits - logits.mean(axis=1, keepdims=True)


def size(logits):
    return float(np.sqrt((centred(logits)**2).mean()))


def fp32_logits(config):
    """The largest difference over the size. A value passes one rounding an addition: in each block the
    sums of q k v, attention, o, gate and up, down, then the head. n roundings of random sign make
    u sqrt(n); the largest of a million is five to six of those; two programs, sqrt(2)."""
    h = config["hidden_size"]
    block = 3 * h + CTX + config["intermediate_size"]
    return 6 * math.sqrt(2) * FP32 * math.sqrt(config["num_hidden_layers"] * block + h)


def rounded_logits(config, unit):
    """The root mean square of the difference over the size, where one program rounds what each block
    reads, computes and keeps, 12 tensors: independent errors, amplified a few times."""
    return 5 * math.sqrt(12 * config["num_hidden_layers"]) * UNIFORM * unit


def perplexity(config, logits, error):
    """|ln| of the ratio of two perplexities, where one program rounds the inputs of every linear, with
    the relative error given. An error of s nats a token moves a mean of N of them by s / sqrt(N), five
    deviations of which are allowed, and, as a divergence does, by s^2 / 2."""
    s = size(logits) * error * math.sqrt(4 * config["num_hidden_layers"] + 1)
    return 5 * s / math.sqrt(WINDOWS * (CTX - 1)) + s * s / 2


# llama.cpp's int8 activations: steps of the largest of a block of 32 or 256 over 127; that largest is
# some 3 times the root mean square.
INT8 = 3 / 127 / math.sqrt(12)
