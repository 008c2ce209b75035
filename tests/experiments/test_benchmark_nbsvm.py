"""NBSVM of the benchmark of sentiment knows phrases, and tells of all folds."""

from experiments.benchmarks.sentiment_nbsvm import accuracy, main
from jaxmodels.data.sentences import SentenceConfig, load_sentences


def rows(count):
    """Opinions that the word alone does not tell: "not bad" is good."""
    found = []
    for number in range(count):
        word, denied = ("good", "bad")[number % 2], number % 4 > 1
        label = (word == "good") != denied
        found.append((f"film {number} was {'not ' * denied}{word}", ["no", "yes"][label]))
    return found


def test_pairs_of_words_tell_what_words_do_not():
    given = {"train": rows(80), "test": rows(120)[80:]}
    data = load_sentences(SentenceConfig(validation_fraction=0.0), given)
    assert accuracy(data) == 1
    assert accuracy(data, phrases=1) < 0.8


def test_all_folds_are_told_with_their_mean(tmp_path, capsys):
    path = tmp_path / "opinions.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows(80)))
    main(SentenceConfig(data=str(path), folds=2))
    out = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in out] == ["fold=0", "fold=1", "folds=2"]
    assert out[2].startswith("folds=2 test/accuracy=1.00000±")
