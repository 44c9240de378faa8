"""The package behind the lessons: what more than one of them needs."""

import os
import sys

from course_utils import _moved

__all__ = ["Lesson", "start"]
__version__ = "0.1.0"

# OpenMP's threads keep a core busy while they wait for work, by default for milliseconds: beside other programs, that
# slows training down (experiments/spinning_threads.py measures it). Let them sleep sooner; torch reads the setting when
# it is loaded.
if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    if sys.platform == "linux":
        os.environ["GOMP_SPINCOUNT"] = "10000"  # GNU's OpenMP: turns of a loop; 1000 is slower where nothing else runs
    else:
        os.environ["KMP_BLOCKTIME"] = "1"  # LLVM's and Intel's, on macOS and Windows: milliseconds

sys.meta_path.append(_moved.Finder())


def __getattr__(name: str):
    # Imported on first use, so that fetching the assets, for example, does not wait for torch.
    if name in __all__:
        from course_utils import lesson

        return getattr(lesson, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
