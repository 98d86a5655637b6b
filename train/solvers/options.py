"""The options of the solvers, and their valid combinations."""

from dataclasses import dataclass

from train.errors import FitError

# The names of the command line are here, without PyTorch: --help and errors need not wait for its import.
LOSSES = (
    "L1", "L2", "expectation", "regularised-expectation", "chebyshev", "hinge", "hinge2", "hinge3", "log", "log2",
    "tanimoto", "cauchy-schwarz", "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "NLLLoss", "KLDivLoss",
    "SoftMarginLoss", "MultiLabelSoftMarginLoss", "MSELoss", "SmoothL1Loss", "HuberLoss", "L1Loss",
    "HingeEmbeddingLoss", "MultiMarginLoss", "MultiLabelMarginLoss",
)  # fmt: skip
# The optimizers' default learning rates: 1000 steps on standardised columns get near the optimum. SGD's is the
# lecture's; lbfgs is not in the lecture.
RATES = {"sgd": 0.01, "asgd": 1.0, "adadelta": 3.0, "adagrad": 1.0, "adam": 0.1, "adamax": 0.1, "rmsprop": 0.003,
         "rprop": 0.01, "lbfgs": 1.0}  # fmt: skip
SOLVERS = ("newton", *RATES)


@dataclass(frozen=True)
class Options:
    """The options of a fit.

    Attributes
    ----------
    solver : "newton", for the log loss without a hidden layer, or a key of RATES.
    l1, l2 : the weights of the penalties, >= 0: l1 * sum(|weight|) + l2 / 2 * sum(weight^2) over the scaled columns,
        without the intercept, is added to the log loss summed over the rows.
    standardize : whether to scale the numeric columns first.
    loss : one of LOSSES.
    hidden : the number of units of the hidden layer, 0 for none.
    activation : the hidden layer's activation, a key of ACTIVATIONS.
    lr : the optimizers' learning rate.
    epochs : the optimizers' number of steps, each over all rows.
    seed : of the optimizers' start and of the choice of held-out rows.
    link : a key of LINKS.
    intercept : whether the model has an intercept.
    firth : whether to add Firth's penalty, log(det(information)) / 2, for the logit link.
    class_weight : "" for none; "balanced" for rows / (2 * rows of that outcome); or "NO,YES", two factors for the
        weights of the rows of each outcome.
    robust : whether standard errors are from the sandwich estimator.
    cluster : the column of the groups of dependent rows, for standard errors.
    intervals : "wald", "profile", or "" for the default: profile with firth, else wald.
    """

    solver: str = "newton"
    l1: float = 0.0
    l2: float = 0.0
    standardize: bool = True
    loss: str = "log"
    hidden: int = 0
    activation: str = "ReLU"
    lr: float = 0.01
    epochs: int = 1000
    seed: int = 0
    link: str = "logit"
    intercept: bool = True
    firth: bool = False
    class_weight: str = ""
    robust: bool = False
    cluster: str = ""
    intervals: str = ""

    @property
    def linear(self) -> bool:
        """Whether the model has the log loss and no hidden layer, so that newton can fit it."""
        return not self.hidden and self.loss == "log"

    @property
    def penalty(self) -> str:
        """The options of the penalties in use, "" for none."""
        return " and ".join(name for name, weight in (("--l1", self.l1), ("--l2", self.l2)) if weight)

    @property
    def profile(self) -> bool:
        """Whether intervals and tests are those of the profile likelihood."""
        return self.intervals == "profile" or (not self.intervals and self.firth and not self.reweighted)

    @property
    def reweighted(self) -> bool:
        """Whether standard errors are robust, so that they do not use the likelihood."""
        return self.robust or bool(self.class_weight or self.cluster)

    def check(self) -> None:
        """Raise FitError if the options contradict one another."""
        if self.firth and (self.link != "logit" or self.penalty):
            raise FitError("--firth needs the logit link without --l1 and --l2: remove one of these options")
        if self.intervals == "profile" and (self.reweighted or self.penalty):
            without = "remove --l1, --l2, --robust, --cluster and --class-weight"
            raise FitError(f"--intervals profile needs a likelihood: {without}")
        if self.solver == "newton":
            if not self.linear:
                raise FitError("newton fits the log loss without a hidden layer: choose another --solver")
            return
        from train import distributed  # imports PyTorch

        if distributed.ranks() > 1:
            raise FitError(f"only newton can use several processes: run --solver {self.solver} without torchrun")
        needs_newton = {"--link": self.link != "logit", "--no-intercept": not self.intercept}
        needs_newton |= {f"--{name}": getattr(self, name) for name in ("firth", "l1", "robust", "cluster", "intervals")}
        for option in (option for option, given in needs_newton.items() if given):
            other = f"remove {option}, since newton takes the log loss without a hidden layer"
            remedy = "use --solver newton" if self.linear else other
            raise FitError(f"{option} needs the solver newton, not {self.solver}: {remedy}")
