from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from course_utils.datasets import vqa_json
from course_utils.datasets.vqa import VisualQADataset, VisualQuestion, Vocabulary

COLOURS = {9: "red", 25: "blue", 581929: "lime"}


class Fixture:
    """A tiny VQA v2: three pictures, two questions each, ten answers to each."""

    def __init__(self, folder: Path) -> None:
        self.pictures = folder / "val2014"
        self.pictures.mkdir()
        self.questions_file, self.annotations_file = folder / "questions.json", folder / "annotations.json"
        self.questions = {"data_type": "mscoco", "data_subtype": "val2014", "questions": []}
        self.annotations = {"data_type": "mscoco", "data_subtype": "val2014", "annotations": []}
        for image_id, colour in COLOURS.items():
            Image.new("RGB", (16, 12), colour).save(self.file_of(image_id))
            self.add(image_id, 0, "What color is it?", "other", colour, ["maybe", colour, colour] + ["teal"] * 7)
            self.add(image_id, 1, "Is it red?", "yes/no", "yes" if colour == "red" else "no", ["no"] * 10)
        self.write()

    def file_of(self, image_id: int) -> Path:
        return self.pictures / f"COCO_val2014_{str(image_id).zfill(12)}.jpg"

    def add(self, image_id: int, place: int, question: str, kind: str, answer: str, answers: list[str]) -> None:
        ids = {"question_id": 1000 * image_id + place, "image_id": image_id}
        self.questions["questions"].append({**ids, "question": question})
        ten = [{"answer": one, "answer_confidence": "yes", "answer_id": i + 1} for i, one in enumerate(answers)]
        official = {"question_type": question[:6].lower(), "answer_type": kind, "multiple_choice_answer": answer}
        self.annotations["annotations"].append({**ids, **official, "answers": ten})

    def write(self) -> None:
        self.questions_file.write_text(json.dumps(self.questions))
        self.annotations_file.write_text(json.dumps(self.annotations))

    def load(self, **options):
        return vqa_json.load(self.questions_file, self.annotations_file, pictures_folder=self.pictures, **options)


@pytest.fixture
def small(tmp_path) -> Fixture:
    return Fixture(tmp_path)


def test_questions_answers_and_pictures_are_read(small):
    questions, pictures = small.load()
    assert questions[0] == VisualQuestion(
        9000, 9, "What color is it?", "red", "other", ("maybe", "red", "red") + ("teal",) * 7
    )
    assert [question.question_id for question in questions] == [9000, 9001, 25000, 25001, 581929000, 581929001]
    assert pictures == {image_id: small.file_of(image_id) for image_id in COLOURS}
    assert [question.type for question in questions] == ["other", "yes/no"] * 3


def test_the_order_of_the_annotations_does_not_matter(small):
    expected = small.load()
    small.annotations["annotations"].reverse()
    small.write()
    assert small.load() == expected


def test_without_annotations_the_answers_stay_empty(small):
    questions, pictures = vqa_json.load(small.questions_file, pictures_folder=small.pictures)
    assert len(questions) == 6 and len(pictures) == 3
    assert all(question.answer == question.type == "" and question.answers == () for question in questions)


def test_they_make_a_data_set(small):
    questions, pictures = small.load()
    vocabulary = Vocabulary.build(question.question for question in questions)
    dataset = VisualQADataset(questions, pictures, vocabulary, ["yes", "lime"])
    batch = dataset.__getitems__([0, 1, 4])
    assert batch["pictures"].shape == (2, 3, 12, 16) and batch["picture_of"].tolist() == [0, 0, 1]
    lime = (batch["pictures"][1].mean(dim=(1, 2)).numpy() + 1) * 127.5
    assert np.abs(lime - (0, 255, 0)).max() < 4


def test_missing_pictures_are_counted_and_the_first_named(small):
    small.file_of(9).unlink()
    small.file_of(25).unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 3 pictures.*COCO_val2014_000000000009\.jpg.*skip"):
        small.load()
    with pytest.warns(UserWarning, match="4 of 6 questions are left out"):
        questions, pictures = small.load(on_bad_picture="skip")
    assert [question.picture for question in questions] == [581929, 581929] and list(pictures) == [581929]


def test_a_question_without_annotation_is_named(small):
    del small.annotations["annotations"][3]
    small.write()
    with pytest.raises(ValueError, match=r"annotations\.json has no annotation of question 25001"):
        small.load()


def test_annotations_of_another_split_are_noticed(small):
    small.annotations["annotations"][0]["image_id"] = 25
    small.write()
    with pytest.raises(ValueError, match=r"annotation of question 9000 is about another image"):
        small.load()


@pytest.mark.parametrize("key", ["image_id", "question", "question_id"])
def test_a_missing_key_of_a_question_is_named_with_its_file(small, key):
    del small.questions["questions"][2][key]
    small.write()
    with pytest.raises(ValueError, match=rf'questions\.json: (question 25000|questions\[2\]) needs "{key}"'):
        small.load()


@pytest.mark.parametrize("key", ["multiple_choice_answer", "image_id", "question_id"])
def test_a_missing_key_of_an_annotation_is_named_with_its_file(small, key):
    del small.annotations["annotations"][1][key]
    small.write()
    with pytest.raises(ValueError, match=rf'annotations\.json: .*(question 9001|annotations\[1\]) needs "{key}"'):
        small.load()


def test_files_of_ones_own_need_no_answer_type_no_annotators_and_no_subtype(small):
    official, pictures = small.load()
    del small.questions["data_subtype"]
    for entry in small.annotations["annotations"]:
        del entry["answers"], entry["answer_type"]
    small.write()
    questions, found = small.load()
    assert found == pictures
    assert [(q.question_id, q.question, q.answer) for q in questions] == [
        (q.question_id, q.question, q.answer) for q in official
    ]
    assert {q.type for q in questions} == {""} and {q.answers for q in questions} == {()}


@pytest.mark.parametrize("name", ["9.png", "0009.JPG", "dog 9.jpeg", "IMG_000009.webp"])
def test_a_file_name_may_end_in_the_image_id(small, name):
    renamed = small.file_of(9).rename(small.pictures / name)
    (small.pictures / f"._{name}").write_bytes(b"left behind by macOS")
    (small.pictures / "9.txt").write_text("a note")
    assert small.load()[1][9] == renamed


def test_the_official_name_wins_and_two_others_are_refused(small):
    official = small.file_of(9)
    (small.pictures / "9.png").write_bytes(official.read_bytes())
    assert small.load()[1][9] == official
    official.rename(small.pictures / "dog9.jpg")
    with pytest.raises(ValueError, match=r"9\.png and dog9\.jpg could both be image_id 9\. Rename one"):
        small.load()


@pytest.mark.parametrize(("where", "key"), [("questions", "question"), ("annotations", "multiple_choice_answer")])
def test_an_empty_question_or_answer_is_refused_with_its_id(small, where, key):
    getattr(small, where)[where][3][key] = " \n"
    small.write()
    with pytest.raises(ValueError, match=rf"{where}\.json: .*question 25001 (is|has an) empty"):
        small.load()


def test_a_byte_order_mark_does_no_harm(small):
    expected = small.load()
    for file in (small.questions_file, small.annotations_file):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert small.load() == expected


def test_a_folder_in_place_of_a_file_is_named(small):
    with pytest.raises(ValueError, match=r"val2014 cannot be read .*Give the JSON file itself"):
        vqa_json.load(small.pictures, small.annotations_file, pictures_folder=small.pictures)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**6) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_altered_in_a_file_one_line_names_it(small, data):
    documents = {"questions": copy.deepcopy(small.questions), "annotations": copy.deepcopy(small.annotations)}
    which = data.draw(st.sampled_from(sorted(documents)))
    entry = data.draw(st.sampled_from([documents[which], *documents[which][which]]))
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(JSON)
    files = {name: small.pictures.parent / f"altered_{name}.json" for name in documents}
    for name, document in documents.items():
        files[name].write_text(json.dumps(document))
    try:
        questions, pictures = vqa_json.load(files["questions"], files["annotations"], pictures_folder=small.pictures)
    except (ValueError, FileNotFoundError) as error:
        assert "altered_" in str(error) or "pictures are not in" in str(error)
        assert "\n" not in str(error)
    else:
        assert all(one.question.strip() and one.answer.strip() and one.picture in pictures for one in questions)


@pytest.mark.parametrize("broken", ["{", "[]", "{}", '{"questions": []}', '{"data_subtype": "x", "questions": {}}'])
def test_a_malformed_file_is_named(small, broken):
    small.questions_file.write_text(broken)
    with pytest.raises(ValueError, match=r"questions\.json"):
        small.load()


def test_entries_of_the_wrong_kind_are_refused(small):
    for entry in (3, {"question_id": "9000", "image_id": 9, "question": "a"}):
        small.questions["questions"][0] = entry
        small.write()
        with pytest.raises(ValueError, match=r'questions\[0\] needs "question_id" \(int\)'):
            small.load()


def test_a_question_id_may_occur_only_once(small):
    small.questions["questions"].append(small.questions["questions"][0])
    small.write()
    with pytest.raises(ValueError, match="question 9000 occurs twice"):
        small.load()


def test_files_and_folders_that_are_not_there(small):
    with pytest.raises(FileNotFoundError, match=r"absent\.json.*visualqa"):
        vqa_json.load("absent.json", pictures_folder=small.pictures)
    with pytest.raises(FileNotFoundError, match="no folder absent"):
        vqa_json.load(small.questions_file, pictures_folder="absent")
    with pytest.raises(ValueError, match='"raise" or "skip"'):
        small.load(on_bad_picture="ignore")
