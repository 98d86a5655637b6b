"""The losses: the twelve of the lecture's table, and those of torch.nn that apply here.

The table (Janocha & Czarnecki, "On Loss Functions for Deep Neural Networks in Classification", 2017, arXiv
1702.05659, table 1) is for K classes: labels y one-hot, their signs y^ = +1 and -1, K outputs o, probabilities s(o) by
softmax. Here K = 2 and the model has one score z. o is the pair of two free outputs at the least loss: (1 - z, z) for
L1 and L2, (-z/2, z/2) for all others, so that s(o) = (1 - p, p) with p = sigmoid(z). q is the probability of the row's
own outcome, p or 1 - p, and t its sign, +1 or -1.

Some losses of torch.nn don't apply: MarginRanking, CosineEmbedding and TripletMargin compare two or three rows,
PoissonNLL counts events, and NLLLoss2d scores images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """A loss for each row, and whether it is proper.

    Attributes
    ----------
    rows : (z, y) -> the loss of each row; z float64 (n,) the score, y float64 (n,) of 0 and 1.
    proper : whether the mean is least if sigmoid(z) is the true probability (Gneiting & Raftery, JASA 102, 2007). If
        not, sigmoid(z) is not a probability, and train/solvers/gradient_descent.py calibrates the score.
    """

    rows: Callable[[Tensor, Tensor], Tensor]
    proper: bool = False


def _tanimoto(z: Tensor, y: Tensor) -> Tensor:
    """-s(o).y / (|s(o)|^2 + |y|^2 - s(o).y) = -q / (q^2 + (1 - q)^2 + 1 - q)."""
    q = torch.sigmoid(_margin(z, y))
    return -q / (q**2 + (1 - q) ** 2 + 1 - q)


def _margin(z: Tensor, y: Tensor) -> Tensor:
    """t z: the distance of the score from 0, positive on the row's own side."""
    return (2 * y - 1) * z


def _pair(z: Tensor) -> Tensor:
    """o = (-z/2, z/2), (n, 2), for torch's losses of several classes."""
    return torch.stack([-z / 2, z / 2], dim=1)


def _log_share(z: Tensor) -> Tensor:
    """log s(o), (n, 2)."""
    return F.log_softmax(_pair(z), dim=1)


def _label(y: Tensor) -> Tensor:
    return y.to(torch.int64)


def _labels(y: Tensor) -> Tensor:
    """The list of the correct classes, which -1 ends, (n, 2)."""
    return torch.stack([_label(y), torch.full_like(_label(y), -1)], dim=1)


def _one_hot(y: Tensor) -> Tensor:
    return torch.stack([1 - y, y], dim=1)


LOSSES = {
    # |y - o|_1 = 2 |y - z|, which the median minimises.
    "L1": Loss(lambda z, y: 2 * (y - z).abs()),
    # |y - o|_2^2 = 2 (y - z)^2: least squares; z itself estimates the share of positives.
    "L2": Loss(lambda z, y: 2 * (y - z) ** 2),
    # |y - s(o)|_1 = 2 (1 - q): twice the expected error of an answer drawn with probability p.
    "expectation": Loss(lambda z, y: 2 * torch.sigmoid(-_margin(z, y))),
    # |y - s(o)|_2^2 = 2 (1 - q)^2: twice the Brier score.
    "regularised-expectation": Loss(lambda z, y: 2 * torch.sigmoid(-_margin(z, y)) ** 2, proper=True),
    # max_j |s(o)_j - y_j| = 1 - q: with two classes, half the expectation loss.
    "chebyshev": Loss(lambda z, y: torch.sigmoid(-_margin(z, y))),
    # sum_j max(0, 1/2 - y^_j o_j) = max(0, 1 - t z): the support vector machine's loss.
    "hinge": Loss(lambda z, y: F.relu(1 - _margin(z, y))),
    # sum_j max(0, 1/2 - y^_j o_j)^2 = max(0, 1 - t z)^2 / 2.
    "hinge2": Loss(lambda z, y: F.relu(1 - _margin(z, y)) ** 2 / 2),
    # sum_j max(0, 1/2 - y^_j o_j)^3 = max(0, 1 - t z)^3 / 4.
    "hinge3": Loss(lambda z, y: F.relu(1 - _margin(z, y)) ** 3 / 4),
    # -sum_j y_j log s(o)_j = -log q: the lecture's cross entropy, from the score, so that log(0) can't happen.
    "log": Loss(lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none"), proper=True),
    # sum_j (y_j log s(o)_j)^2 = (log q)^2. The table's minus sign is a mistake: it would reward the worst answers.
    "log2": Loss(lambda z, y: F.logsigmoid(_margin(z, y)) ** 2),
    "tanimoto": Loss(_tanimoto),
    # -log(s(o).y / (|s(o)| |y|)) = log(1 + exp(-2 t z)) / 2, which also is -log q + log(q^2 + (1 - q)^2) / 2.
    "cauchy-schwarz": Loss(lambda z, y: F.softplus(-2 * _margin(z, y)) / 2),
    # The losses of torch.nn, by its names; each is torch.nn.functional's, of z, of p or of the two classes' outputs.
    # -y log p - (1 - y) log(1 - p); torch clips each log at -100, where its gradient is lost.
    "BCELoss": Loss(lambda z, y: F.binary_cross_entropy(torch.sigmoid(z), y, reduction="none"), proper=True),
    # The same loss, from z.
    "BCEWithLogitsLoss": Loss(lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none"), proper=True),
    # -log softmax(o) at the row's class, which is the same loss.
    "CrossEntropyLoss": Loss(lambda z, y: F.cross_entropy(_pair(z), _label(y), reduction="none"), proper=True),
    # -(log s(o)) at the row's class.
    "NLLLoss": Loss(lambda z, y: F.nll_loss(_log_share(z), _label(y), reduction="none"), proper=True),
    # sum_j y_j (log y_j - log s(o)_j), where 0 log 0 = 0.
    "KLDivLoss": Loss(lambda z, y: F.kl_div(_log_share(z), _one_hot(y), reduction="none").sum(1), proper=True),
    # log(1 + exp(-t z)).
    "SoftMarginLoss": Loss(lambda z, y: F.soft_margin_loss(z, 2 * y - 1, reduction="none"), proper=True),
    # The mean of the cross entropy over the labels; there is one label.
    "MultiLabelSoftMarginLoss": Loss(
        lambda z, y: F.multilabel_soft_margin_loss(z[:, None], y[:, None], reduction="none"), proper=True
    ),
    # (p - y)^2: the Brier score.
    "MSELoss": Loss(lambda z, y: F.mse_loss(torch.sigmoid(z), y, reduction="none"), proper=True),
    # (p - y)^2 / 2; the branch |p - y| - 1/2 needs |p - y| above 1, which can't happen.
    "SmoothL1Loss": Loss(lambda z, y: F.smooth_l1_loss(torch.sigmoid(z), y, reduction="none"), proper=True),
    "HuberLoss": Loss(lambda z, y: F.huber_loss(torch.sigmoid(z), y, reduction="none"), proper=True),
    # |p - y| = 1 - q.
    "L1Loss": Loss(lambda z, y: F.l1_loss(torch.sigmoid(z), y, reduction="none")),
    # On the distance 1 - p: 1 - p for a positive row, max(0, 1 - (1 - p)) = p for a negative one.
    "HingeEmbeddingLoss": Loss(lambda z, y: F.hinge_embedding_loss(torch.sigmoid(-z), 2 * y - 1, reduction="none")),
    # max(0, 1 - o_right + o_wrong) / 2 = max(0, 1 - t z) / 2.
    "MultiMarginLoss": Loss(lambda z, y: F.multi_margin_loss(_pair(z), _label(y), reduction="none")),
    # The same loss.
    "MultiLabelMarginLoss": Loss(lambda z, y: F.multilabel_margin_loss(_pair(z), _labels(y), reduction="none")),
}
