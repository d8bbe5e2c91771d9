import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import DataInfo, Table
from lcss_tf.errors import UsageError


def written(path, text):
    path.write_text(text)
    return str(path)


def rows(data, split="train"):
    return data.examples(tf.range(data.size(split), dtype=tf.int64), split).numpy()


def numbers(count):
    random = np.random.default_rng(0)
    return np.stack([1e6 + random.normal(size=count), random.normal(size=count) * 1e-3], axis=1)


def test_columns_are_standardised_and_come_back(tmp_path):
    values = numbers(50)
    lines = [f"{a!r},{k % 3},{b!r}" for k, (a, b) in enumerate(values.tolist())]
    path = written(tmp_path / "t.csv", "\n".join(["big,class,small", *lines]))
    data = Table(path, ("small", "big"), label="class")
    assert (data.shape, data.size(), data.size("test")) == ((2,), 40, 10)
    train = rows(data)
    assert np.allclose(train.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(train.std(axis=0), 1, atol=1e-5)
    kept = np.arange(50) % 5 != 0
    assert np.array_equal(data.labels(), np.arange(50)[kept] % 3)
    info = DataInfo.from_json(data.info().to_json())  # what sampling has, without the table
    assert info.columns == ("small", "big")
    back = info.unscale(train)
    assert np.allclose(back[:, 0], values[kept, 1], atol=1e-9)
    assert np.allclose(back[:, 1], values[kept, 0], atol=0.07)  # of float32 at a million
    log_det = 2 * np.log(info.scaling.slope)
    assert log_det == pytest.approx(-np.log(values[kept].std(axis=0)).sum())


def test_a_bundled_table():
    data = Table("sklearn:wine", ("alcohol", "proline"), label="target")
    assert data.size() + data.size("test") == 178
    assert set(data.labels()) == {0, 1, 2}
    assert data.info().unscale(rows(data))[:, 1].max() > 1_000
    with pytest.raises(ValueError, match=r"ships the tables .*'sklearn:beer'"):
        Table("sklearn:beer", ("a",)).require()


def test_words_and_holes_are_an_error_or_are_left_out(tmp_path, caplog):
    lines = ["a,b", "1,2", "2,red", "3,", "4,nan", "5,inf", "6", "7,8", "8,9"]
    path = written(tmp_path / "t.csv", "\n".join(lines))
    with pytest.raises(ValueError, match="5 of 8 rows") as caught:
        Table(path, ("a", "b")).require()
    message = str(caught.value)
    assert "t.csv" in message
    assert "line 3, row 2, column 'b': 'red'" in message
    assert "line 7, row 6, column 'b': nothing" in message
    assert "on_bad_example" in message
    data = Table(path, ("a", "b"), on_bad_example="skip")
    with caplog.at_level("WARNING", logger="absl"):
        assert data.size() + data.size("test") == 3
    assert "5 of 8 rows" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1;2\n2;3\n", r"no column 'a', 'b'.*Table\.delimiter"),
        ("a,b\n", "holds 1 lines"),
        ("a,b\n1,2\n1,3\n1,4\n", r"columns \['a'\].*same number"),
        ("a,b\n1,2\n", "leave 0 examples for training"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        Table(written(tmp_path / "t.csv", text), ("a", "b")).require()


def test_no_file_and_wrong_arguments(tmp_path):
    data = Table(str(tmp_path / "none.csv"), ("a",))
    assert data.shape == (1,)
    with pytest.raises(FileNotFoundError, match=r"Set Table\.path"):
        data.require()
    (tmp_path / "b.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"b\.csv cannot be read"):
        Table(str(tmp_path / "b.csv"), ("a",)).require()
    with pytest.raises(ValueError, match="different column names"):
        Table("t.csv", ("a", "a"))
    with pytest.raises(ValueError, match="on_bad_example"):
        Table("t.csv", ("a",), on_bad_example="ignore")


@pytest.mark.parametrize(
    ("header", "label"), [("a ,b ,y ", "y"), ("a,b,y", " y "), ("a,b,y ", " y")]
)
def test_blanks_around_the_name_of_the_label_do_not_count_either(tmp_path, header, label):
    lines = [f"{k},{k * k},{('cat', 'dog')[k % 2]}" for k in range(10)]
    data = Table(written(tmp_path / "t.csv", "\n".join([header, *lines])), ("a", "b"), label)
    assert data.class_names() == ["cat", "dog"]
    assert data.labels("test").tolist() == [0, 1]


def test_a_column_that_is_asked_for_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"Table\.columns names 'y', and so does Table\.label\. N"):
        Table("t.csv", ("a", "y"), label="y")
    path = written(tmp_path / "t.csv", "a,b \n" + "\n".join(f"{k},{k * k}" for k in range(9)))
    for columns, label in ((("b", " b"), None), (("a", "b"), "b ")):
        with pytest.raises(UsageError, match="are both the column 2 of .*t.csv, which line 1 name"):
            Table(path, columns, label).require()
