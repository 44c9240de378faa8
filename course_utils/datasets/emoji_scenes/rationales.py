"""Rationales: the steps to the answer of a question about an emoji scene."""

from __future__ import annotations

from course_utils.datasets.emoji_scenes.scenes import KINDS, EmojiScene, kind_of, name

NOTHING = "none"


def rationale(question: str, scene: EmojiScene) -> str:
    """The objects that a question of the type "count" counts, row by row; "" for any other question."""
    asked = question.removeprefix("how many ").removesuffix(" are there?")
    counted = [kind for kind, plural in KINDS.items() if plural == asked]
    if not counted:
        return ""
    return ", ".join(name(one.emoji) for one in scene.things if kind_of(one.emoji) in counted) or NOTHING
