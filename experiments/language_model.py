"""Train a language model: predict each token of a text from those before it.

    python -m experiments.language_model                                  # Python's own help
    python -m experiments.language_model --data tiny_shakespeare --tokenizer chars
    python -m experiments.language_model --data ./books --tokenizer bpe --depth 8 --steps 20000
    python -m experiments.language_model --preset gpt2-small --data DATA  # 124M parameters
    python -m experiments.language_model --workdir RUN --mode sample --prompt "The list"
    python -m experiments.language_model --workdir RUN --mode predict --input new.txt \\
        --output new.jsonl                                                # nats of each line

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores and their protocol), checkpoints/ and samples/ (texts that the model writes over training).
"""
