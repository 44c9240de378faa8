"""Where the course's own small files are: checkpoints, results, fixtures."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent / "data"

# In a checkout, data/ lies beside the package; in a wheel, as on Colab, it travels inside.
DATA = _CHECKOUT if (_CHECKOUT / "README.md").exists() else _PACKAGE / "_data"
CHECKPOINTS = DATA / "checkpoints"
