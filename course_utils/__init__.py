"""The small package behind the lessons: one module for each thing that a lesson needs more than once."""

__all__ = ["Lesson", "start"]
__version__ = "0.1.0"


def __getattr__(name: str):
    # Imported when first asked for: fetching the assets, say, must not wait for torch.
    if name in __all__:
        from course_utils import lesson

        return getattr(lesson, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
