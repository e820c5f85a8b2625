"""The operations an exit may use, one registry per kind of cell (LECO section 4 and appendix A).

To add one: write the class in a file of this folder and add its row here. The contract tests pick the row up.

- an activation is a parameter-free `nn.Module` applied element-wise;
- an encoder operation subclasses `exitnas.exits.operations.base.EncoderOperation`;
- a pooling subclasses `exitnas.exits.operations.base.Pooling`.
"""

from exitnas.registry import Registry

_HERE = "exitnas.exits.operations"

ACTIVATIONS = Registry(
    "activation",
    {
        "relu": "torch.nn:ReLU",
        "gelu": "torch.nn:GELU",
        "swish": "torch.nn:SiLU",
        "tanh": "torch.nn:Tanh",
        "null": "torch.nn:Identity",
        "leaky_relu": "torch.nn:LeakyReLU",
    },
)

ENCODERS = Registry(
    "encoder operation",
    {
        "conv_1": (f"{_HERE}.convolution:Convolution", {"kernel_size": 1}),
        "conv_3": (f"{_HERE}.convolution:Convolution", {"kernel_size": 3}),
        "conv_5": (f"{_HERE}.convolution:Convolution", {"kernel_size": 5}),
        "mha_2": (f"{_HERE}.attention:MultiHeadAttention", {"heads": 2}),
        "mha_4": (f"{_HERE}.attention:MultiHeadAttention", {"heads": 4}),
        "mha_8": (f"{_HERE}.attention:MultiHeadAttention", {"heads": 8}),
        "skip": f"{_HERE}.identity:Skip",
        "null": f"{_HERE}.identity:Null",
        "mha_pdot": (f"{_HERE}.projected_attention:ProjectedAttention", {"heads": 4}),
    },
)

POOLINGS = Registry(
    "pooling",
    {
        "cls": f"{_HERE}.pooling:ClsPooling",
        "max": f"{_HERE}.pooling:MaxPooling",
        "avg": f"{_HERE}.pooling:AveragePooling",
        "sa": f"{_HERE}.pooling:SelfAttentionPooling",
    },
)

#: The edges of an exit's graph in the order data flows, with the registry each edge draws from.
EDGES: dict[str, Registry] = {
    "activation_in": ACTIVATIONS,
    "encoder_1": ENCODERS,
    "encoder_2": ENCODERS,
    "pooling": POOLINGS,
    "activation_out": ACTIVATIONS,
}
