"""The folders of the course's own files: checkpoints and tables of results."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent / "data"

# In a checkout, data/ is beside the package; in a wheel, as on Colab, inside it.
DATA = _CHECKOUT if (_CHECKOUT / "README.md").exists() else _PACKAGE / "_data"
CHECKPOINTS = DATA / "checkpoints"
