"""VQA v2 in its official layout (Goyal et al., "Making the V in VQA Matter", CVPR 2017), from files on your disk.

The questions, annotations and pictures are at https://visualqa.org/download.html. A picture's file is called
``COCO_train2014_000000000009.jpg``: the questions' ``data_subtype``, then the image's number.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from course_utils.datasets.vqa import VisualQuestion


def load(
    questions: str | Path,
    annotations: str | Path | None = None,
    *,
    pictures_folder: str | Path,
    on_missing_picture: str = "raise",
) -> tuple[list[VisualQuestion], dict[int, Path]]:
    """Read questions, their answers, and where their pictures are.

    Args:
        questions: The official questions file.
        annotations: The official annotations file. Without it (the test splits have none), answers stay empty.
        pictures_folder: Where the pictures are.
        on_missing_picture: "raise", or "skip" to leave out such questions, with a warning that counts them.

    Returns:
        The questions, with the answer type ("yes/no", "number" or "other") as ``type``; and image id to picture file.

    Raises:
        FileNotFoundError: If a file or the folder is not there, or pictures are missing.
        ValueError: If a file is not JSON, not of the official layout, or a question has no annotation.
    """
    if on_missing_picture not in ("raise", "skip"):
        raise ValueError(f'on_missing_picture is "raise" or "skip", not {on_missing_picture!r}.')
    document = _read(questions)
    subtype = _get(document, "data_subtype", str, questions, "the file")
    entries = _by_id(document, "questions", questions)
    answers = _by_id(_read(annotations), "annotations", annotations) if annotations is not None else None
    asked = [_question(entry, questions, answers, annotations) for entry in entries.values()]
    return _with_pictures(asked, Path(pictures_folder), subtype, skip=on_missing_picture == "skip")


def top_answers(questions: Iterable[VisualQuestion], count: int) -> list[str]:
    """The ``count`` commonest answers, commonest first, then by alphabet: the usual answer vocabulary of VQA v2."""
    counts = Counter(question.answer for question in questions if question.answer)
    return sorted(counts, key=lambda answer: (-counts[answer], answer))[:count]


def save_results(path: str | Path, predictions: Mapping[int, str]) -> None:
    """Write question id to answer as the official results file: [{"question_id": 1, "answer": "yes"}, ...]."""
    rows = [{"question_id": int(question_id), "answer": answer} for question_id, answer in predictions.items()]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".partial")
    unfinished.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)  # so that an interruption leaves an earlier file whole


def _read(file: str | Path) -> dict:
    try:
        document = json.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {file}. Get it from https://visualqa.org/download.html.") from error
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}). Unpack the official zip file again.") from error
    if not isinstance(document, dict):
        raise ValueError(f"{file} holds a JSON {type(document).__name__}; the official files hold one object.")
    return document


def _get(entry: object, key: str, kind: type, file: str | Path, where: str):
    """The value of ``key``, which must be of the given type."""
    if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
        raise ValueError(f'{file}: {where} needs "{key}" ({kind.__name__}), as in the official VQA v2 layout.')
    return entry[key]


def _by_id(document: dict, key: str, file: str | Path) -> dict[int, dict]:
    entries: dict[int, dict] = {}
    for place, entry in enumerate(_get(document, key, list, file, "the file")):
        question_id = _get(entry, "question_id", int, file, f"{key}[{place}]")
        if question_id in entries:
            raise ValueError(f"{file}: question {question_id} is there twice in {key}. Remove one of them.")
        entries[question_id] = entry
    return entries


def _question(entry: dict, file: str | Path, answers: dict | None, answers_file: str | Path | None) -> VisualQuestion:
    question_id = entry["question_id"]
    where = f"question {question_id}"
    picture = _get(entry, "image_id", int, file, where)
    text = _get(entry, "question", str, file, where)
    if answers is None:
        return VisualQuestion(question_id, picture, text, "")
    if question_id not in answers:
        raise ValueError(f"{answers_file} has no annotation of question {question_id}. Is it of the same split?")
    annotation = answers[question_id]
    where = f"the annotation of question {question_id}"
    if _get(annotation, "image_id", int, answers_file, where) != picture:
        raise ValueError(f"{answers_file}: {where} is about another image than in {file}. Is it of the same split?")
    return VisualQuestion(
        question_id,
        picture,
        text,
        answer=_get(annotation, "multiple_choice_answer", str, answers_file, where),
        type=_get(annotation, "answer_type", str, answers_file, where),
        answers=tuple(
            _get(answer, "answer", str, answers_file, f"an answer in {where}")
            for answer in _get(annotation, "answers", list, answers_file, where)
        ),
    )


def _with_pictures(
    questions: list[VisualQuestion], folder: Path, subtype: str, skip: bool
) -> tuple[list[VisualQuestion], dict[int, Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Give pictures_folder the folder with the pictures.")
    names = {picture: f"COCO_{subtype}_{picture:012d}.jpg" for picture in {one.picture for one in questions}}
    there = {file.name for file in folder.iterdir()}
    pictures = {picture: folder / name for picture, name in names.items() if name in there}
    kept = [question for question in questions if question.picture in pictures]
    missing = sorted(name for name in names.values() if name not in there)
    if missing:
        message = f"{len(missing)} of {len(names)} pictures are not in {folder}: {', '.join(missing[:3])}"
        message += ", ..." if len(missing) > 3 else ""
        if not skip:
            raise FileNotFoundError(f'{message}. Add them, or leave their questions out: on_missing_picture="skip".')
        left_out = len(questions) - len(kept)
        warnings.warn(f"{message}. {left_out} of {len(questions)} questions are left out.", stacklevel=3)
    return kept, pictures
