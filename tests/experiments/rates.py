"""What runs say of their speed."""

import json


def tokens_of_an_example(workdir):
    """How many tokens an example has, by the rates of a run."""
    line = json.loads((workdir / "speed.jsonl").read_text().splitlines()[-1])
    return round(line["tokens_per_second"] / line["examples_per_second"])
