"""A layer of vLLM's to whose output the chosen experts of each token add their updates."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fletch_vllm.mixture import mixture

Exchange = Callable[[Tensor], Tensor]


class RoutedLayer(nn.Module):
    """base_layer(x) + the mixture, in whatever part of the output the base layer makes."""

    def __init__(self, name: str, base_layer: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.base_layer = base_layer

    @property
    def weight(self) -> Tensor:
        """The base layer's weight: some architectures look at its dtype."""
        return self.base_layer.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        """The base layer's bias."""
        return self.base_layer.bias  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        """[*, d_in] -> [*, d_out], or the columns of d_out that the base layer makes here."""
        output: Tensor = self.base_layer(x)
        return output + self.mixed(x, x, output)

    def mixed(self, hidden: Tensor, judged: Tensor, output: Tensor) -> Tensor:
        """The mixture, in the shape of the output."""
        rows: Tensor = mixture(_rows(hidden), _rows(judged), self.name, output.shape[-1])
        return rows.view(output.shape)


class SplitInputLayer(RoutedLayer):
    """A layer of which each process reads a part of the input and makes a part of the sum (row-parallel).

    Scores need the whole input, which `gather` fetches from all processes; the mixture is, like the layer's
    own product, a sum over the input's parts, and both are added up by `reduce` at once. So the base layer
    must not add up by itself.
    """

    def __init__(self, name: str, base_layer: nn.Module, *, gather: Exchange, reduce: Exchange) -> None:
        super().__init__(name, base_layer)
        self.gather, self.reduce = gather, reduce

    def forward(self, x: Tensor) -> Tensor:
        """[*, d_in / processes] -> [*, d_out]."""
        output: Tensor = self.base_layer(x)
        return self.reduce(output + self.mixed(x, self.gather(x), output))


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])
