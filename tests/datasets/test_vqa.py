from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from course_utils.datasets.vqa import (
    PAD,
    UNKNOWN,
    BadPicture,
    PictureBatchSampler,
    Resize,
    VisualQADataset,
    VisualQuestion,
    Vocabulary,
    loader,
    read_picture,
    to_tensor,
    tokenize,
)
from course_utils.training import IGNORE

TEXTS = ["Is it red?", "What colour is the shape?", "how many are there in all", "is there a red one"]
ANSWERS = ["yes", "no", "red", "2"]
VOCABULARY = Vocabulary.build(TEXTS)


def questions_about(picture_of: list) -> list[VisualQuestion]:
    return [
        VisualQuestion(100 + i, picture, TEXTS[i % len(TEXTS)], ANSWERS[i % len(ANSWERS)], type=f"type {i % 3}")
        for i, picture in enumerate(picture_of)
    ]


def some_pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)


def dataset_of(picture_of: list[int], **options) -> VisualQADataset:
    return VisualQADataset(
        questions_about(picture_of), some_pictures(max(picture_of) + 1), VOCABULARY, ANSWERS, **options
    )


def collated(items: list[dict]) -> dict:
    """The slow way to a batch: items one by one, pictures in the order of their rows."""
    pictures = {item["picture_row"]: item["picture"] for item in items}
    rows = sorted(pictures)
    words = torch.nn.utils.rnn.pad_sequence([item["words"] for item in items], batch_first=True, padding_value=PAD)
    return {
        "pictures": torch.stack([pictures[row] for row in rows]),
        "picture_of": torch.tensor([rows.index(item["picture_row"]) for item in items]),
        "words": words,
        "word_mask": words != PAD,
        "answers": torch.tensor([item["answer"] for item in items]),
        "types": [item["type"] for item in items],
        "question_ids": [item["question_id"] for item in items],
    }


def assert_same_batch(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other[key], rtol=0, atol=0)
        else:
            assert value == other[key]


# --- words ------------------------------------------------------------------------------------------------------


def test_tokenize_drops_case_and_punctuation():
    text = "What’s LEFT of the 2 X-rays, élan_vital?"
    assert tokenize(text) == ["what's", "left", "of", "the", "2", "x", "rays", "élan", "vital"]
    assert tokenize("  ?! ") == []


def test_vocabulary_orders_by_count_then_alphabet():
    vocabulary = Vocabulary.build(["b a", "B c", "b, a; d"])
    assert vocabulary.words == ("<pad>", "<unknown>", "b", "a", "c", "d")
    assert [vocabulary.index(word) for word in ("b", "d", "z", "<pad>")] == [2, 5, UNKNOWN, PAD]


def test_a_repeated_word_is_refused():
    with pytest.raises(ValueError, match="Give each word once"):
        Vocabulary(["a", "b", "a"])


def test_unknown_words_are_encoded_as_unknown_and_listed_once():
    vocabulary = Vocabulary.build(["is it red"])
    assert vocabulary.encode("Is it MAUVE, mauve or teal?").count(UNKNOWN) == 4
    assert vocabulary.unknown_words("Is it MAUVE, mauve or teal?") == ["mauve", "or", "teal"]


@pytest.mark.parametrize("empty", ["", "   ", "?!…"])
def test_a_question_without_words_is_an_error_that_says_what_to_do(empty):
    with pytest.raises(ValueError, match="at least one word"):
        VOCABULARY.encode(empty)
    with pytest.raises(ValueError, match="Question 7.*at least one word"):
        VisualQADataset([VisualQuestion(7, 0, empty, "yes")], some_pictures(1), VOCABULARY, ANSWERS)


@given(st.lists(st.text(max_size=30), max_size=8))
def test_decode_undoes_encode(texts):
    vocabulary = Vocabulary.build(texts)
    for text in texts:
        if words := tokenize(text):
            ids = vocabulary.encode(text)
            assert UNKNOWN not in ids and PAD not in ids
            assert vocabulary.decode([*ids, PAD, PAD]) == " ".join(words)


# --- pictures ---------------------------------------------------------------------------------------------------

RED, WHITE = (255, 0, 0), (255, 255, 255)


def saved(tmp_path, image: Image.Image, name: str, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def left_red_right_clear() -> Image.Image:
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 2, 2))
    return image


@pytest.mark.parametrize("mode", ["RGBA", "P", "PA"])
def test_what_is_transparent_becomes_white(tmp_path, mode):
    if mode == "P":  # a palette with one transparent entry
        image = Image.new("P", (4, 2), 1)
        image.putpalette([*RED, 0, 0, 0])
        image.paste(0, (0, 0, 2, 2))
        source = saved(tmp_path, image, "palette.png", transparency=1)
    else:
        source = (
            left_red_right_clear().convert(mode) if mode == "PA" else saved(tmp_path, left_red_right_clear(), "a.png")
        )
    pixels = read_picture(source)
    assert pixels.shape == (2, 4, 3) and pixels.dtype == np.uint8
    assert (pixels[:, :2] == RED).all() and (pixels[:, 2:] == WHITE).all()


def test_grey_with_alpha_is_laid_on_white(tmp_path):
    pixels = read_picture(saved(tmp_path, Image.new("LA", (3, 2), (0, 51)), "la.png"))
    assert (pixels == 204).all()  # a fifth of black, four fifths of white


@pytest.mark.parametrize(
    "mode, value, expected", [("L", 77, (77,) * 3), ("1", 1, WHITE), ("RGB", (1, 2, 3), (1, 2, 3))]
)
def test_plain_modes(tmp_path, mode, value, expected):
    assert (read_picture(saved(tmp_path, Image.new(mode, (3, 2), value), "plain.png")) == expected).all()


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_sixteen_bit_grey_keeps_its_upper_bits(tmp_path, name):
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    pixels = read_picture(saved(tmp_path, Image.fromarray(values), name))
    assert pixels.shape == (1, 5, 3)
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255] and (pixels[..., 0] == pixels[..., 2]).all()


def test_wide_greys_and_floats_are_refused_rather_than_guessed(tmp_path):
    for values in (np.array([[0, 70000]], dtype=np.int32), np.array([[0.5, 1.0]], dtype=np.float32)):
        with pytest.raises(BadPicture, match=r"wide\.tif.*(scale|convert)"):
            read_picture(saved(tmp_path, Image.fromarray(values), "wide.tif"))


@pytest.mark.parametrize("name", ["moving.gif", "moving.png", "moving.webp"])
def test_an_animation_gives_its_first_frame(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    source = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], duration=50)
    with Image.open(source) as image:
        assert image.n_frames == 3
    assert np.abs(read_picture(source).astype(int) - RED).max() <= 8  # WebP is lossy


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(tmp_path, orientation):
    # What the Exif 2.3 standard says of the stored rows and columns, undone with numpy.
    upright_of = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud}
    upright_of |= {5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1)}
    upright_of |= {7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, 1)}
    stored = some_pictures(1)[0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = saved(tmp_path, Image.fromarray(stored), "photo.png", exif=exif)
    np.testing.assert_array_equal(read_picture(source), upright_of[orientation](stored))


def test_cmyk_comes_out_in_its_colours(tmp_path):
    source = saved(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "print.jpg", quality=95)
    assert np.abs(read_picture(source).astype(int) - RED).max() <= 8


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.gif"])
def test_a_truncated_file_is_named(tmp_path, name):
    source = saved(tmp_path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), name)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(BadPicture, match=name.replace(".", r"\.")):
        read_picture(source)


@settings(max_examples=60, deadline=None)
@given(
    cut=st.integers(1, 400),
    place=st.integers(0, 10_000),
    byte=st.integers(0, 255),
    kind=st.sampled_from(["PNG", "JPEG", "GIF"]),
)
def test_a_damaged_file_gives_a_picture_or_a_bad_picture_and_nothing_else(tmp_path_factory, cut, place, byte, kind):
    file = tmp_path_factory.mktemp("damaged") / "picture"
    Image.new("RGB", (20, 20), RED).save(file, format=kind)
    content = bytearray(file.read_bytes())
    content[place % len(content)] = byte
    file.write_bytes(content[:-cut] if cut < len(content) // 2 else content)
    try:
        assert read_picture(file).dtype == np.uint8
    except BadPicture as error:
        assert str(file) in str(error)


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    for name in ("empty.png", "text.jpg", "absent.png"):
        with pytest.raises(BadPicture, match=name):
            read_picture(tmp_path / name)


def test_a_decompression_bomb_is_a_bad_picture(tmp_path, monkeypatch):
    source = saved(tmp_path, Image.new("L", (100, 100)), "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadPicture, match=r"bomb\.png.*decompression bomb"):
        read_picture(source)


@pytest.mark.parametrize(
    "shape, kind", [((4, 4), "uint8"), ((3, 4, 4), "uint8"), ((4, 4, 3), "f4"), ((0, 4, 3), "uint8")]
)
def test_an_array_of_the_wrong_kind_is_refused(shape, kind):
    with pytest.raises(BadPicture, match=r"uint8 \(height, width, 3\)"):
        read_picture(np.zeros(shape, kind))


def test_to_tensor_is_scaling_to_unit_range_then_normalising():
    picture = some_pictures(2)
    expected = (torch.tensor(picture).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    torch.testing.assert_close(to_tensor(picture), expected)
    assert to_tensor(picture).is_contiguous()
    torch.testing.assert_close(to_tensor(picture[1]), expected[1])


# --- data set and batches ----------------------------------------------------------------------------------------


def test_a_batch_holds_each_picture_once_and_the_right_words():
    dataset = dataset_of([2, 0, 2, 1, 0])
    batch = dataset.__getitems__([0, 1, 2, 4])  # pictures 2, 0, 2, 0
    assert set(batch) == {"pictures", "picture_of", "words", "word_mask", "answers", "types", "question_ids"}
    assert batch["pictures"].shape == (2, 3, 6, 5) and batch["pictures"].dtype == torch.float32
    for row, question in enumerate(dataset.questions[i] for i in (0, 1, 2, 4)):
        picture = torch.tensor(some_pictures(3)[question.picture]).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(batch["pictures"][batch["picture_of"][row]], picture)
        ids = VOCABULARY.encode(question.question)
        assert batch["words"][row].tolist() == ids + [PAD] * (batch["words"].shape[1] - len(ids))
        assert batch["word_mask"][row].tolist() == [True] * len(ids) + [False] * (batch["words"].shape[1] - len(ids))
        assert ANSWERS[batch["answers"][row]] == question.answer
        assert batch["types"][row] == question.type and batch["question_ids"][row] == question.question_id
    assert batch["word_mask"].any(dim=0).all()  # no wider than the longest question
    assert batch["word_mask"].dtype == torch.bool and batch["picture_of"].dtype == batch["answers"].dtype == torch.long


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_bulk_batch_is_what_collating_single_items_gives(data):
    picture_of = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    indices = data.draw(st.lists(st.integers(0, len(picture_of) - 1), min_size=1, max_size=9))
    dataset = dataset_of(picture_of)
    assert_same_batch(dataset.__getitems__(indices), collated([dataset[i] for i in indices]))


def test_mappings_arrays_and_tensors_give_the_same_batches(tmp_path):
    picture_of, pictures = [1, 0, 1, 2], some_pictures(3)
    files = {i: saved(tmp_path, Image.fromarray(picture), f"{i}.png") for i, picture in enumerate(pictures)}
    images = {i: Image.fromarray(picture) for i, picture in enumerate(pictures)}
    expected = dataset_of(picture_of).__getitems__([0, 1, 2, 3])
    for source in (files, images, dict(enumerate(pictures)), torch.tensor(pictures)):
        dataset = VisualQADataset(questions_about(picture_of), source, VOCABULARY, ANSWERS)
        got = dataset.__getitems__([0, 1, 2, 3])
        for row in range(4):  # rows are numbered by first use, which a mapping's order does not change
            torch.testing.assert_close(
                got["pictures"][got["picture_of"][row]], expected["pictures"][expected["picture_of"][row]]
            )


def test_a_transform_is_used_on_every_path():
    dataset = dataset_of([0, 1], transform=Resize(8))
    assert dataset[0]["picture"].shape == (3, 8, 8)
    batch = dataset.__getitems__([0, 1])
    torch.testing.assert_close(batch["pictures"][1], dataset[1]["picture"])


def test_pictures_of_different_sizes_need_a_transform():
    pictures = {"a": np.zeros((4, 4, 3), np.uint8), "b": np.zeros((4, 6, 3), np.uint8)}
    dataset = VisualQADataset(questions_about(["a", "b"]), pictures, VOCABULARY, ANSWERS)
    with pytest.raises(ValueError, match=r"\(3, 4, 4\) and \(3, 4, 6\).*transform=Resize"):
        dataset.__getitems__([0, 1])
    resized = VisualQADataset(questions_about(["a", "b"]), pictures, VOCABULARY, ANSWERS, transform=Resize(8))
    wide = resized.__getitems__([0, 1])["pictures"][1]
    assert (wide[:, 0] == 1).all() and (wide[:, 4] == -1).all()  # white borders above, the picture in the middle


def test_answers_outside_the_list_are_marked_and_counted():
    questions = [VisualQuestion(i, 0, "is it", answer) for i, answer in enumerate(["yes", "maybe", "", "no"])]
    dataset = VisualQADataset(questions, some_pictures(1), VOCABULARY, ["yes", "no"])
    assert dataset.targets.tolist() == [0, IGNORE, IGNORE, 1] and dataset.outside == 1
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(logits, dataset.targets, ignore_index=IGNORE)
    torch.testing.assert_close(loss, -(logits.log_softmax(1)[0, 0] + logits.log_softmax(1)[3, 1]) / 2)
    with pytest.raises(ValueError, match="No question has an answer.*'maybe'"):
        VisualQADataset(questions[1:3], some_pictures(1), VOCABULARY, ["yes", "no"])
    unanswered = VisualQADataset(questions[2:3], some_pictures(1), VOCABULARY, ["yes", "no"])  # as in a test split
    assert unanswered.targets.tolist() == [IGNORE]


@pytest.fixture
def with_a_bad_picture(tmp_path):
    good = saved(tmp_path, Image.new("RGB", (4, 4), RED), "good.png")
    (tmp_path / "bad.png").write_text("oops")
    return {"good": good, "bad": tmp_path / "bad.png"}


def test_a_bad_picture_is_raised_with_its_path_and_question(with_a_bad_picture):
    dataset = VisualQADataset(questions_about(["good", "bad"]), with_a_bad_picture, VOCABULARY, ANSWERS)
    for read in (lambda: dataset[1], lambda: dataset.__getitems__([0, 1])):
        with pytest.raises(BadPicture, match=r'Question 101: .*bad\.png.*on_bad_picture="skip"'):
            read()
    with pytest.raises(BadPicture, match="Question 101: there is no picture 'absent' among the 2"):
        VisualQADataset(questions_about(["good", "absent"]), with_a_bad_picture, VOCABULARY, ANSWERS)


def test_bad_pictures_are_skipped_and_counted_when_asked(with_a_bad_picture):
    questions = questions_about(["bad", "good", "absent", "bad", "good"])
    dataset = VisualQADataset(questions, with_a_bad_picture, VOCABULARY, ANSWERS, on_bad_picture="skip")
    assert [question.question_id for question in dataset.questions] == [101, 104] and len(dataset) == 2
    assert [question_id for question_id, _ in dataset.skipped] == [100, 102, 103]
    assert "bad.png" in dataset.skipped[0][1] and "absent" in dataset.skipped[1][1]
    assert dataset.__getitems__([0, 1])["question_ids"] == [101, 104]
    with pytest.raises(ValueError, match="no questions.*1 skipped"):
        VisualQADataset(questions[:1], with_a_bad_picture, VOCABULARY, ANSWERS, on_bad_picture="skip")


def test_a_picture_row_that_is_not_there_is_refused():
    for key in (3, -1, "0"):
        with pytest.raises(BadPicture, match="Question 100: there is no picture"):
            VisualQADataset(questions_about([key]), some_pictures(3), VOCABULARY, ANSWERS)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match='"raise" or "skip"'):
        dataset_of([0], on_bad_picture="ignore")
    with pytest.raises(ValueError, match="no questions"):
        VisualQADataset([], some_pictures(1), VOCABULARY, ANSWERS)
    for pictures in (np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 4, 3)), [1]):
        with pytest.raises(ValueError, match=r"\(pictures, height, width, 3\)"):
            VisualQADataset(questions_about([0]), pictures, VOCABULARY, ANSWERS)
    with pytest.raises(ValueError, match="at least 1"):
        PictureBatchSampler(dataset_of([0]), 0)


# --- sampler ----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    picture_of=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    per_batch=st.integers(1, 12),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_every_question_comes_once_with_all_the_others_of_its_picture(picture_of, per_batch, shuffle, epoch):
    dataset = dataset_of(picture_of)
    sampler = PictureBatchSampler(dataset, per_batch, shuffle=shuffle, seed=3)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(len(picture_of)))
    pictures = [{picture_of[index] for index in batch} for batch in batches]
    assert all(len(one) == per_batch for one in pictures[:-1]) and 1 <= len(pictures[-1]) <= per_batch
    assert sum(map(len, pictures)) == len(set().union(*pictures))  # no picture in two batches


def test_the_order_depends_on_seed_and_epoch_alone():
    dataset = dataset_of([i // 3 for i in range(60)])

    def order(seed: int, epoch: int) -> list:
        sampler = PictureBatchSampler(dataset, 4, shuffle=True, seed=seed)
        sampler.set_epoch(epoch)
        assert list(sampler) == list(sampler)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) and order(1, 2) != order(2, 2)
    assert [index for batch in PictureBatchSampler(dataset, 4) for index in batch] == list(range(60))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_gives_the_batches_of_its_sampler(workers):
    dataset = dataset_of([i % 7 for i in range(30)])
    batches = loader(dataset, 3, shuffle=True, seed=5, workers=workers)
    batches.batch_sampler.set_epoch(2)
    expected = PictureBatchSampler(dataset, 3, shuffle=True, seed=5)
    expected.set_epoch(2)
    got = list(batches)
    assert len(got) == len(batches) == 3
    for batch, indices in zip(got, expected, strict=True):
        assert_same_batch(batch, collated([dataset[index] for index in indices]))
