"""How architecture parameters become the weights of candidates, one file per rule.

To add one: subclass `exitnas.supernet.relaxations.base.Relaxation` in a file of this folder and add its row here.
"""

from exitnas.registry import Registry

DEFAULT_RELAXATION = "softmax"

RELAXATIONS = Registry(
    "relaxation",
    {
        "softmax": "exitnas.supernet.relaxations.softmax:Softmax",
        "gumbel_softmax": "exitnas.supernet.relaxations.gumbel_softmax:GumbelSoftmax",
        "sigmoid": "exitnas.supernet.relaxations.sigmoid:Sigmoid",
        "sparsemax": "exitnas.supernet.relaxations.sparsemax:Sparsemax",
    },
)
