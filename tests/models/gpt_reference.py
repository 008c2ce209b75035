"""The GPT with all its options in numpy, in float64, one sequence at a time."""

import numpy as np


def rms_norm(x):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def rotate(x, places, fraction, base):
    pairs = int(fraction * x.shape[-1] / 2)
    out = x.copy()
    for i in range(pairs):
        angle = places * base ** (-i / pairs)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = x[..., i], x[..., i + pairs]
        out[..., i], out[..., i + pairs] = a * cos - b * sin, b * cos + a * sin
    return out


def attend(query, key, value, scale, window, documents):
    length, heads, _ = query.shape
    group = heads // key.shape[1]
    out = np.zeros_like(query)
    for q in range(length):
        first = max(0, q - window + 1) if window else 0
        keys = [k for k in range(first, q + 1) if documents[k] == documents[q]]
        for h in range(heads):
            scores = scale * key[keys, h // group] @ query[q, h]
            weights = np.exp(scores - scores.max())
            out[q, h] = weights / weights.sum() @ value[keys, h // group]
    return out


def activate(model, y, params):
    hidden = y @ params["linear1"]["kernel"]
    if model.mlp == "relu2":
        return np.maximum(hidden, 0) ** 2
    if model.mlp == "gelu":
        return 0.5 * hidden * (1 + np.tanh((2 / np.pi) ** 0.5 * (hidden + 0.044715 * hidden**3)))
    gate = y @ params["gate"]["kernel"]
    return gate / (1 + np.exp(-gate)) * hidden


def logits(model, params, tokens, documents=None):
    """Computes [length, vocabulary]; params: float64 arrays, in the model's tree."""
    places = np.arange(len(tokens))
    documents = np.zeros_like(tokens) if documents is None else documents
    size = model.width // model.heads

    def norm(x, name):
        return rms_norm(x) * (name["scale"] if model.norm_scale else 1)

    table = params["token_embedding"]["embedding"]
    x = first = norm(table[tokens], params.get("embedding_norm"))
    for index in range(model.layers):
        block = params[f"block_{index}"]
        if model.residual_scales:
            x = block["stream_scale"] * x + block["embedding_scale"] * first
        y = norm(x, block.get("norm1"))
        query, key, value = (
            (y @ block[name]["kernel"]).reshape(len(tokens), -1, size)
            for name in ("query", "key", "value")
        )
        if model.value_embeddings and (model.layers - 1 - index) % 2 == 0:
            gate = 3 / (1 + np.exp(-y[:, :12] @ block["value_gate"]["kernel"]))
            own = params[f"value_embedding_{index}"]["embedding"][tokens].reshape(value.shape)
            value = value + gate[..., None] * own
        query, key = (
            rotate(z, places, model.rotary_fraction, model.rotary_base) for z in (query, key)
        )
        if model.qk_norm:
            query, key = rms_norm(query), rms_norm(key)
        letter = model.window_pattern[index % len(model.window_pattern)]
        short = letter == "S" and index < model.layers - 1
        window = -(-model.context // 4) if short else 0
        scale = model.attention_scale / size**0.5
        y = attend(query, key, value, scale, window, documents)
        x = x + y.reshape(x.shape) @ block["out"]["kernel"]
        y = norm(x, block.get("norm2"))
        x = x + activate(model, y, block) @ block["linear2"]["kernel"]
    out = norm(x, params.get("norm")) @ (table.T if model.tied else params["head"]["kernel"])
    cap = model.logit_cap
    return cap * out / np.sqrt(out**2 + cap**2) if cap else out
