"""For one release, old import paths still work, with a warning that names the new path."""

import warnings
from importlib import abc, import_module, machinery

NEW = {f"course_utils.{name}": f"course_utils.{folder}.{name}" for folder, names in {
    "language": "generation llm lora", "reasoning": "grid ladder reasoners relations rungs",
    "vlm": "ask bridges classifier conversations finetune worlds",
}.items() for name in names.split()}  # fmt: skip
NEW["course_utils.cell_names"] = "course_utils.vlm.targets"
for name in ("scenes", "questions", "curriculum"):
    NEW[f"course_utils.datasets.shapes_{name}"] = f"course_utils.datasets.shapes.{name}"
for name in ("curriculum", "wide"):
    NEW[f"course_utils.datasets.emoji_{name}"] = f"course_utils.datasets.emoji_scenes.{name}"
PROGRAMS = {"course_utils.recipes": "experiments.NAME", "course_utils.benchmark": "experiments.benchmark"}
PROGRAMS |= {f"course_utils.{name}": f"tools.{name}" for name in ("authoring", "bootstrap", "browser", "homework")}


class Finder(abc.MetaPathFinder, abc.Loader):
    """Asked last, for modules that the regular finders do not find."""

    def find_spec(self, name, path=None, target=None):  # noqa: D102
        if name in PROGRAMS:
            remedy = (
                f"In a checkout of the course, run `python -m {PROGRAMS[name]}`; data/README.md lists the programs."
            )
            raise ModuleNotFoundError(f"{name} is no longer part of the package. {remedy}")
        if name in NEW:
            warnings.warn(f"{name} is now {NEW[name]}: import it from there.", FutureWarning, stacklevel=2)
        return machinery.ModuleSpec(name, self) if name in NEW else None

    def create_module(self, spec):  # noqa: D102
        module = import_module(NEW[spec.name])
        self.spec = module.__spec__  # the import system is about to replace it
        return module

    def exec_module(self, module):  # noqa: D102
        module.__spec__ = self.spec

    def get_code(self, name):  # noqa: D102 - what `python -m` asks for
        raise ImportError(f"run `python -m {NEW[name]}`")
