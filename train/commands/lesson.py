"""The command lesson: the lecture's own code in today's PyTorch, then train.solvers.fit.

PyTorch has changed since the slides: there is no Variable, torch.sigmoid replaces F.sigmoid, BCELoss averages, and
loss.item() replaces loss.data[0].
"""

from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from train.arguments import LECTURE, LECTURE_DATA
from train.model.logistic import LogisticModel
from train.report import plots
from train.solvers.fit import fit, silent
from train.solvers.gradient_descent import initialize
from train.table.table import read_table

x_data = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
y_data = torch.tensor([[0.0], [0.0], [1.0], [1.0]])

# The slide's log comes from two runs (data/README.md): no start gives both parts. Each part has a state (w, b) here.
HEAD = (-0.76751917, -0.31732264)  # at epoch 0
TAIL = (0.86932323, -1.71036386)  # at epoch 988


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)  # one in and one out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y_pred = torch.sigmoid(self.linear(x))
        return y_pred


def train(model: Model, epochs: Iterable[int], log: Callable[[int, float], object] = print) -> None:
    """Run the lecture's training cycle, and log each epoch with the loss before its step."""
    criterion = torch.nn.BCELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    for epoch in epochs:
        # Forward pass: compute predicted y by passing x to the model
        y_pred = model(x_data)

        # Compute and print loss
        loss = criterion(y_pred, y_data)
        log(epoch, loss.item())

        # Zero gradients, perform a backward pass, and update the weights
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def predict(model: Model) -> None:
    """Print the slide's two predictions, in its format."""
    print("predict 1 hour", 1.0, model(torch.tensor([[1.0]])).item() > 0.5)
    print("predict 7 hours", 7.0, model(torch.tensor([[7.0]])).item() > 0.5)


def starting_at(w: float, b: float) -> Model:
    """The lecture's model with these parameters."""
    model = Model()
    with torch.no_grad():
        model.linear.weight.fill_(w)
        model.linear.bias.fill_(b)
    return model


def run(args: Namespace) -> None:
    """Print the lecture from its model to its predictions, and draw the fitted model.

    Raises TrainError if the picture can't be written.
    """
    path = args.picture
    plots.check(path)

    print("The model: hours of study -> Linear -> Sigmoid -> y_pred = sigmoid(x * w + b), the probability of passing")
    print(Model())

    print("\nThe sigmoid, 1 / (1 + exp(-z)), maps every score to (0, 1); above 0.5 is a pass")
    for z in (-6.0, -2.0, 0.0, 2.0, 6.0):
        print(f"  z = {z:4}   sigmoid(z) = {torch.sigmoid(torch.tensor(z)).item():.4f}")

    print("\nThe loss, binary cross entropy: -(y log(y_pred) + (1 - y) log(1 - y_pred)); the slide's table, filled in")
    print("  y  y_pred  loss")
    for y, y_pred in [(1, 0.2), (1, 0.8), (0, 0.1), (0, 0.9)]:
        loss = torch.nn.BCELoss()(torch.tensor(y_pred), torch.tensor(float(y)))
        print(f"  {y}  {y_pred:<6}  {loss.item():.4f}")

    print("\nThe training. The slide's log is of two runs: no start gives both of its parts (data/README.md).")
    print(f"Epochs 0 to 10 of a run that starts at w = {HEAD[0]}, b = {HEAD[1]}:")
    train(starting_at(*HEAD), range(0, 11))
    print(f"Epochs 988 to 999 of another run, which is at w = {TAIL[0]}, b = {TAIL[1]} before them:")
    model = starting_at(*TAIL)
    train(model, range(988, 1000))
    predict(model)
    draw(model, path)

    compare()
    print(f"wrote {path}")


def compare() -> None:
    """Train with the lecture's code and with ours from the same start, and print the difference."""
    table, epochs, seed = read_table(LECTURE_DATA), LECTURE.epochs, LECTURE.seed
    fitted = fit(table.data, LECTURE, silent)
    start = LogisticModel(table.features)
    initialize(start, seed)
    model = starting_at(start.weight.item(), start.bias.item())
    losses: list[float] = []
    train(model, range(epochs), log=lambda epoch, loss: losses.append(loss))
    furthest = max(abs(ours - theirs) for ours, theirs in zip(fitted.losses, losses, strict=True))
    w, b = model.linear.weight.item(), model.linear.bias.item()

    print(f"\nThe same by train.solvers.fit, {epochs} epochs from its own start (seed {seed}):")
    print(f"  the lecture's code  w = {w:.6f}  b = {b:.6f}  loss at the last epoch {losses[-1]:.6f}")
    w, b = fitted.model.weight.item(), fitted.model.bias.item()
    print(f"  train.solvers.fit           w = {w:.6f}  b = {b:.6f}  loss at the last epoch {fitted.losses[-1]:.6f}")
    print(f"  largest difference of the {len(losses)} losses: {furthest:.1e}; the lecture's are in float32")


def draw(model: Model, path: Path) -> None:
    """Draw the four points, the fitted curve, and the boundary at a probability of 1/2."""
    w, b = model.linear.weight.item(), model.linear.bias.item()
    hours = torch.linspace(0, 8, 200)[:, None]
    with torch.no_grad():
        curve = model(hours)

    ax = plots.axes()
    ax.plot(hours, curve, color="black", label=f"sigmoid({w:.3f} x {'-' if b < 0 else '+'} {abs(b):.3f})")
    ax.axvline(-b / w, color="tab:gray", linestyle="--", label=f"boundary at {-b / w:.2f} hours")
    for outcome, name, color in [(0, "failed", "tab:orange"), (1, "passed", "tab:blue")]:
        ax.scatter(x_data[y_data == outcome], y_data[y_data == outcome], color=color, zorder=3, label=name)
    ax.set(xlabel="hours of study", ylabel="probability of passing")
    ax.set_title("The lecture's model after 1000 epochs.\nmake train starts elsewhere, so its numbers differ a little")
    ax.legend(loc="lower right")
    plots.save(ax, path)
