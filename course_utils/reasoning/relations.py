"""Relational reasoners: relation networks, FiLM, and the CNN with an MLP that they are held against.

The modules of the first part are called as ``align`` of :class:`course_utils.reasoning.reasoners.GridVQA`: with an encoded
question, of ``pooled`` (pictures, questions, dim), and regions (pictures, regions, dim); they give (pictures,
questions, out). :class:`CodedVQA` puts them to questions that come as bits, those of Sort-of-CLEVR.
"""

from __future__ import annotations

import torch
from torch import nn

from course_utils.alignment.attention import dot_product_attention
from course_utils.encoders import Encoded
from course_utils.encoders.image import halving
from course_utils.reasoning.reasoners import PlacedRegions

# --- parts that differ ---------------------------------------------------------------------------------------------


class RelationNetwork(nn.Module):
    """Look at every pair of regions with the question in mind, and add up what was seen (Santoro et al., 2017).

    The sum over i and j of g(o_i, o_j, q), g an MLP. Its first layer is a sum of three products, W_1 o_i + W_2 o_j +
    W_q q, so each is computed once: the first two for a picture and all its questions, the third for a question and
    all pairs. The mean stands in for the sum (the next layer's weights take up the difference) and a LayerNorm
    brings it to size; f is the head of the model around it.

    Args:
        dim: Features of a region and of the question.
        hidden: Width of g.
        layers: Layers of g after the first.
    """

    def __init__(self, dim: int, hidden: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.one = nn.Linear(dim, hidden)
        self.other, self.asked = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.g = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, hidden)."""
        pairs = self.one(regions)[:, :, None] + self.other(regions)[:, None]  # (pictures, regions, regions, hidden)
        asked = self.asked(question.pooled)[:, :, None]  # (pictures, questions, 1, hidden)
        seen = (pairs.flatten(1, 2)[:, None] + asked).relu()  # (pictures, questions, regions · regions, hidden)
        for layer in self.g:
            seen = layer(seen).relu()
        return self.norm(seen.mean(dim=2))


class AnchoredRelationNetwork(nn.Module):
    """A relation network that pairs every region with one thing only: what the question is about.

    The question attends to the regions and so finds its anchor a; then g(a, o_j, q) looks at each region from there.
    Pairs grow with the number of regions, no longer with its square. The mean over pairs counts; the maximum, which
    Santoro et al. do not have, finds what is closest or furthest.

    Args:
        dim: Features of a region and of the question.
        hidden: Width of g.
        layers: Layers of g after the first.
    """

    def __init__(self, dim: int, hidden: int = 64, layers: int = 2) -> None:
        super().__init__()
        # Normalised, so that attention is uneven from the start: from even weights it learns slowly where to look.
        self.query, self.key = (nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim)) for _ in range(2))
        self.anchor = nn.Linear(dim, hidden)
        self.other, self.asked = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.g = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.itself, self.gate = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.join = nn.Linear(2 * hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        nn.init.zeros_(self.join.weight)  # first find the anchor; while it is not found, pairs teach only shortcuts
        nn.init.zeros_(self.join.bias)

    def look(self, question: Encoded, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The anchor, (pictures, questions, dim), and where it was found, (pictures, questions, regions)."""
        return dot_product_attention(self.query(question.pooled), self.key(regions), regions)

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, 2 · hidden)."""
        anchor, _ = self.look(question, regions)
        start = self.anchor(anchor) + self.asked(question.pooled)  # (pictures, questions, hidden)
        seen = (start[:, :, None] + self.other(regions)[:, None]).relu()  # (pictures, questions, regions, hidden)
        for layer in self.g:
            seen = layer(seen).relu()
        pairs = torch.cat([seen.mean(dim=2), seen.amax(dim=2)], dim=-1)
        state = self.norm(self.itself(anchor) + self.join(pairs))
        return torch.cat([state, state * self.gate(question.pooled)], dim=-1)


class BusiestRegions(nn.Module):
    """Keep the regions that differ most from the usual one of their picture, which in a sparse picture is empty.

    The usual one is the median over regions, feature by feature. What it chooses is not learnt.

    Args:
        count: How many regions to keep.
    """

    def __init__(self, count: int = 12) -> None:
        super().__init__()
        self.count = count

    def chosen(self, regions: torch.Tensor) -> torch.Tensor:
        """Numbers of the regions kept, (pictures, count), those that differ most first.

        Raises:
            ValueError: There are fewer regions than are to be kept.
        """
        if regions.shape[1] < self.count:
            raise ValueError(f"{self.count} regions cannot be kept of {regions.shape[1]}: choose a smaller count.")
        usual = regions.median(dim=1, keepdim=True).values
        return (regions - usual).square().sum(dim=-1).topk(self.count, dim=1).indices

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, regions, dim) to (pictures, count, dim)."""
        return regions.gather(1, self.chosen(regions)[..., None].expand(-1, -1, regions.shape[-1]))


class FewerPairs(nn.Module):
    """A relation network over a few of the regions.

    Args:
        select: From regions (pictures, regions, dim) to fewer, as :class:`BusiestRegions` does.
        relate: A :class:`RelationNetwork`.
    """

    def __init__(self, select: nn.Module, relate: nn.Module) -> None:
        super().__init__()
        self.select, self.relate = select, relate

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, out of the relation network)."""
        return self.relate(question, self.select(regions))


class FiLM(nn.Module):
    """The question scales and shifts the feature maps of a small residual CNN (Perez et al., AAAI 2018).

    A block convolves, normalises, lets the question scale and shift each channel, applies ReLU and adds the result to
    its input. The first block's convolution does not depend on the question yet: one for all questions of a picture.
    Narrower and shallower than published (128 channels, four blocks, two convolutions in each).

    Args:
        dim: Features of a region and of the question.
        width: Channels inside.
        blocks: How many blocks.
        side: Regions to a side of the picture.
    """

    def __init__(self, dim: int, width: int = 32, blocks: int = 3, side: int = 8) -> None:
        super().__init__()
        self.side, self.width = side, width
        self.enter = nn.Linear(dim, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False) for _ in range(blocks)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for _ in range(blocks))
        self.film = nn.Linear(dim, blocks * 2 * width)
        self.leave = nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim))

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, dim); regions are (pictures, side · side, dim), row by row from the top left."""
        pictures, questions = question.pooled.shape[:2]
        maps = self.enter(regions).relu().transpose(1, 2).unflatten(2, (self.side, self.side))  # (pictures, width, …)
        film = self.film(question.pooled).unflatten(-1, (len(self.norms), 2, self.width, 1, 1))
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            scale, shift = film[:, :, block].unbind(dim=2)  # each (pictures, questions, width, 1, 1)
            seen = norm(convolution(maps)).unflatten(0, (pictures, -1))  # (pictures, 1 or questions, width, side, side)
            before = maps.unflatten(0, (pictures, -1))
            maps = (before + ((1 + scale) * seen + shift).relu()).flatten(0, 1)
        return self.leave(maps.amax(dim=(2, 3))).unflatten(0, (pictures, questions))


class RegionsMLP(nn.Module):
    """All regions side by side, and the question, into an MLP: what a relation network is held against.

    Args:
        regions: How many there are.
        dim: Features of a region and of the question.
        hidden: Width of the MLP.
        layers: Its layers after the first.
    """

    def __init__(self, regions: int, dim: int, hidden: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.seen = nn.Linear(regions * dim, hidden)  # once for a picture and all its questions
        self.asked = nn.Linear(dim, hidden, bias=False)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))

    def forward(self, question: Encoded, regions: torch.Tensor) -> torch.Tensor:
        """(pictures, questions, hidden)."""
        state = (self.seen(regions.flatten(1))[:, None] + self.asked(question.pooled)).relu()
        for layer in self.layers:
            state = layer(state).relu()
        return state


# --- the model around them -----------------------------------------------------------------------------------------


class FourConvolutions(nn.Module):
    """A 75×75 picture becomes 5×5 regions: four convolutions that move two pixels at a time, as Santoro et al. have.

    Args:
        dim: Features of a region.
    """

    side = 5

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.blocks = nn.Sequential(halving(3, 16), halving(16, 32), halving(32, 48), halving(48, dim))
        self.blocks.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, 75, 75), into 25 regions, row by row from the top left."""
        regions = self.blocks(pictures).flatten(2).transpose(1, 2)  # (batch, 25, dim)
        mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        return Encoded(regions.mean(dim=1), regions, mask)


class CodedVQA(nn.Module):
    """Questions that come as bits, about pictures: :class:`course_utils.reasoning.reasoners.GridVQA` with a CNN that learns too.

    Args:
        code: Bits of a question.
        answers: How many answers there are to choose from.
        align: The part that differs, called as in GridVQA.
        out: Features that it gives.
        dim: Features of a region and of a question.
    """

    def __init__(self, code: int, answers: int, align: nn.Module, out: int, dim: int = 64) -> None:
        super().__init__()
        self.picture_encoder = FourConvolutions(dim)
        self.question_encoder = nn.Sequential(nn.Linear(code, dim), nn.LayerNorm(dim))  # as large as a region
        self.regions = PlacedRegions(dim, dim, FourConvolutions.side)
        self.align = align
        self.head = nn.Sequential(nn.Linear(out, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, answers))

    def read(self, batch: dict) -> tuple[Encoded, torch.Tensor]:
        """The encoded questions and the placed regions that ``align`` is called with."""
        pooled = self.question_encoder(batch["codes"])  # (pictures, questions, dim)
        unpooled = pooled.unsqueeze(2)  # the code as a question of one word
        question = Encoded(pooled, unpooled, unpooled.new_ones(unpooled.shape[:3], dtype=torch.bool))
        return question, self.regions(self.picture_encoder(batch["pictures"]).unpooled)

    def forward(self, batch: dict) -> torch.Tensor:
        """Answer scores, (pictures · questions, answers).

        Args:
            batch: ``pictures`` (pictures, 3, 75, 75) and ``codes`` (pictures, questions, code).
        """
        return self.head(self.align(*self.read(batch))).flatten(0, 1)
