"""VQA v2 in its official layout (Goyal et al., "Making the V in VQA Matter", CVPR 2017), from files on your disk.

Download questions, annotations and pictures from https://visualqa.org/download.html. A picture's file name combines
the questions' ``data_subtype`` and the image id: ``COCO_train2014_000000000009.jpg``. In files of your own, a name that
ends in the image id will do, ``9.png`` or ``dog-0009.jpeg``, and so do entries with these keys alone:

    {"questions": [{"question_id": 1, "image_id": 9, "question": "What time is it?"}]}
    {"annotations": [{"question_id": 1, "image_id": 9, "multiple_choice_answer": "10:30"}]}

    questions, pictures = load("questions.json", "annotations.json", pictures_folder="train2014")
    answers = [answer for answer, _ in Counter(one.answer for one in questions).most_common(3000)]
    vocabulary = Vocabulary.build(one.question for one in questions)
    dataset = VisualQADataset(questions, pictures, vocabulary, answers, transform=Resize(224))
"""

from __future__ import annotations

import json
import re
import warnings
from collections import defaultdict
from pathlib import Path

from PIL import Image

from course_utils.datasets.vqa import VisualQuestion


def load(
    questions: str | Path, annotations: str | Path | None = None, *,
    pictures_folder: str | Path, on_bad_picture: str = "raise",
) -> tuple[list[VisualQuestion], dict[int, Path]]:  # fmt: skip
    """Read questions, answers and picture paths.

    Args:
        questions: The official questions file.
        annotations: The official annotations file; None (the test splits have none) leaves the answers empty.
        pictures_folder: The folder with the pictures.
        on_bad_picture: "raise" if a picture is missing, or "skip" to leave out its questions, with a warning.

    Returns:
        The questions, whose ``type`` is the answer type ("yes/no", "number" or "other"; "" without one); and image id
        to picture file.

    Raises:
        FileNotFoundError: If a file, the folder or a picture is missing.
        ValueError: If a file is not JSON or not in the official layout, a question is empty or has no annotation, or
            two files in the folder could be the same picture.
    """
    if on_bad_picture not in ("raise", "skip"):
        raise ValueError(f'on_bad_picture is "raise" or "skip", not {on_bad_picture!r}.')
    document = _read(questions)
    subtype = _get({"data_subtype": ""} | document, "data_subtype", str, questions, "the file")
    entries = _by_id(document, "questions", questions)
    answers = _by_id(_read(annotations), "annotations", annotations) if annotations is not None else None
    asked = [_question(entry, questions, answers, annotations) for entry in entries.values()]
    return _with_pictures(asked, Path(pictures_folder), subtype, skip=on_bad_picture == "skip")


def _read(file: str | Path) -> dict:
    try:
        document = json.loads(Path(file).read_text(encoding="utf-8-sig"))  # Windows' editors put a mark in front
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {file}. Get it from https://visualqa.org/download.html.") from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}). Give the JSON file itself.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON in UTF-8 ({error}). Correct it, or unpack it again.") from error
    if not isinstance(document, dict):
        raise ValueError(f"{file} holds a JSON {type(document).__name__}; the official files hold one object.")
    return document


def _get(entry: object, key: str, kind: type, file: str | Path, where: str):
    """Value of ``key``, checked for its type."""
    if not isinstance(entry, dict) or not isinstance(entry.get(key), kind) or isinstance(entry[key], bool):
        raise ValueError(f'{file}: {where} needs "{key}" ({kind.__name__}), as in the official VQA v2 layout.')
    return entry[key]


def _by_id(document: dict, key: str, file: str | Path) -> dict[int, dict]:
    """Entries of the list under ``key``, by question id."""
    entries: dict[int, dict] = {}
    for i, entry in enumerate(_get(document, key, list, file, "the file")):
        question_id = _get(entry, "question_id", int, file, f"{key}[{i}]")
        if question_id in entries:
            raise ValueError(f"{file}: question {question_id} occurs twice in {key}. Remove one of them.")
        entries[question_id] = entry
    if not entries:
        raise ValueError(f"{file} has no {key}. Give at least one.")
    return entries


def _question(entry: dict, file: str | Path, answers: dict | None, answers_file: str | Path | None) -> VisualQuestion:
    question_id = entry["question_id"]
    where = f"question {question_id}"
    picture = _get(entry, "image_id", int, file, where)
    text = _get(entry, "question", str, file, where)
    if not text.strip():
        raise ValueError(f"{file}: {where} is empty. Write it, or remove the entry and its annotation.")
    if answers is None:
        return VisualQuestion(question_id, picture, text, "")
    if question_id not in answers:
        raise ValueError(f"{answers_file} has no annotation of question {question_id}. Is it of the same split?")
    annotation, where = answers[question_id], f"the annotation of question {question_id}"
    if _get(annotation, "image_id", int, answers_file, where) != picture:
        raise ValueError(f"{answers_file}: {where} is about another image than in {file}. Is it of the same split?")
    answer = _get(annotation, "multiple_choice_answer", str, answers_file, where)
    if not answer.strip():
        raise ValueError(f"{answers_file}: {where} has an empty answer. Write it, or remove it and its question.")
    optional = {"answer_type": "", "answers": []} | annotation
    kind = _get(optional, "answer_type", str, answers_file, where)
    given = _get(optional, "answers", list, answers_file, where)
    annotators = tuple(_get(one, "answer", str, answers_file, f"an answer in {where}") for one in given)
    return VisualQuestion(question_id, picture, text, answer, kind, annotators)


def _with_pictures(
    questions: list[VisualQuestion], folder: Path, subtype: str, skip: bool
) -> tuple[list[VisualQuestion], dict[int, Path]]:
    """Questions whose picture is in the folder, and the picture files."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Give pictures_folder the folder with the pictures.")
    present: dict[int, list[Path]] = defaultdict(list)
    for file in sorted(folder.iterdir()):
        if (number := re.search(r"[0-9]+$", file.stem)) and not file.name.startswith("."):  # as macOS leaves behind
            present[int(number[0])].append(file)
    name = f"COCO_{subtype}_{{:012d}}.jpg" if subtype else "{}.jpg"
    names = {one.picture: name.format(one.picture) for one in questions}
    pictures = {key: _only(present[key], name, key) for key, name in names.items() if key in present}
    missing = sorted(name for key, name in names.items() if key not in pictures)
    kept = [question for question in questions if question.picture in pictures]
    if missing:
        listed = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        message = f"{len(missing)} of {len(names)} pictures are not in {folder}: {listed}"
        if not skip:
            raise FileNotFoundError(f'{message}. Add them, or leave their questions out: on_bad_picture="skip".')
        left_out = len(questions) - len(kept)
        warnings.warn(f"{message}. {left_out} of {len(questions)} questions are left out.", stacklevel=3)
    return kept, pictures


def _only(files: list[Path], official: str, key: int) -> Path:
    """The file with the official name, else the only one, or the only picture."""
    named = [file for file in files if file.name == official]
    known = [file for file in files if file.suffix.lower() in Image.registered_extensions()]
    choice = named or known or files
    if len(choice) > 1:
        raise ValueError(f"{choice[0]} and {choice[1].name} could both be image_id {key}. Rename one of them.")
    return choice[0]
