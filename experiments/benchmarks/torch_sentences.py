"""The networks of `experiments.benchmarks.sentences` in PyTorch, as its users write them.

Names of parameters are those of ours, but in the LSTM and in BERT, which is that of transformers.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks.torchvision_shim import allow_torchvision

_CLASSES = 2
_IMPOSSIBLE = -1e30
_LONGEST_WAVE = 10_000.0


def torch_loss(task: Any, options: Any) -> nn.Module:
    """Makes the module of a task's network and its loss: loss(**columns of a batch).

    options: of our model.
    """
    if task.summary:
        return PointerGenerator(task, options)
    networks = {"bag": Bag, "cnn": WordCNN, "lstm": BiLSTM}
    network = networks.get(task.model, MeanBert)(task, options)
    return ClassifierLoss(network)


class ClassifierLoss(nn.Module):
    """The cross-entropy of a network that is called with tokens, below 0 where a row has ended, and
    with their segments."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, tokens, segments, label):
        return functional.cross_entropy(self.network(tokens, segments), label)


class Bag(nn.Module):
    """A linear model of the ratio of each feature; here all are 1."""

    def __init__(self, task: Any, options: Any):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(task.vocabulary, _CLASSES))
        self.bias = nn.Parameter(torch.zeros(_CLASSES))
        self.register_buffer("ratio", torch.ones(task.vocabulary, _CLASSES))
        self.scale = options.piece_scale

    def forward(self, tokens, segments):
        scale = torch.where(segments == 1, self.scale, 1.0) * (tokens >= 0)
        weighted = self.ratio * self.weight
        found = functional.embedding_bag(
            tokens.clamp(min=0), weighted, mode="sum", per_sample_weights=scale
        )
        return found + self.bias


class WordCNN(nn.Module):
    """Kim 2014. A window has a word of the text."""

    def __init__(self, task: Any, options: Any):
        super().__init__()
        self.words = nn.Embedding(task.vocabulary, options.width)
        self.windows = options.windows
        for window in self.windows:
            layer = nn.Conv1d(options.width, options.maps, window, padding=window - 1)
            setattr(self, f"window{window}", layer)
        self.head = nn.Linear(options.maps * len(self.windows), _CLASSES)
        self.dropout = nn.Dropout(task.dropout)

    def forward(self, tokens, segments):
        valid = tokens >= 0
        words = (self.words(tokens.clamp(min=0)) * valid[..., None]).transpose(1, 2)
        found = []
        for window in self.windows:
            x = functional.relu(getattr(self, f"window{window}")(words))
            padded = functional.pad(valid.float(), (window - 1, window - 1))
            has_word = functional.max_pool1d(padded[:, None], window, 1)
            found.append((x * has_word).amax(-1))
        return self.head(self.dropout(torch.cat(found, -1)))


class BiLSTM(nn.Module):
    """An LSTM in both directions with the maximum over its states."""

    def __init__(self, task: Any, options: Any):
        super().__init__()
        self.words = nn.Embedding(task.vocabulary, options.width)
        self.lstm = nn.LSTM(
            options.width, options.hidden, options.layers, batch_first=True, bidirectional=True
        )
        self.head = nn.Linear(2 * options.hidden, _CLASSES)
        self.dropout = nn.Dropout(task.dropout)
        # Ours have one bias where torch's have two.
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_hh"):
                nn.init.zeros_(parameter)
                parameter.requires_grad_(False)

    def forward(self, tokens, segments):
        valid = tokens >= 0
        words = self.dropout(self.words(tokens.clamp(min=0)))
        packed = nn.utils.rnn.pack_padded_sequence(
            words, valid.sum(1), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, padding_value=-torch.inf
        )
        return self.head(self.dropout(states.amax(1)))


class MeanBert(nn.Module):
    """transformers' BERT with a head on the mean over tokens."""

    def __init__(self, task: Any, options: Any):
        super().__init__()
        allow_torchvision()
        from transformers import BertConfig, BertModel

        sizes = options.sizes()
        config = BertConfig(
            vocab_size=task.vocabulary,
            hidden_size=sizes["width"],
            num_hidden_layers=sizes["layers"],
            num_attention_heads=sizes["heads"],
            intermediate_size=sizes["hidden"],
            max_position_embeddings=options.positions,
            type_vocab_size=options.segments,
            layer_norm_eps=options.norm_epsilon,
            hidden_dropout_prob=task.dropout,
            attention_probs_dropout_prob=task.dropout if options.attention_dropout else 0.0,
        )
        self.bert = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(sizes["width"], _CLASSES)
        self.dropout = nn.Dropout(task.dropout)

    def forward(self, tokens, segments):
        valid = tokens >= 0
        x = self.bert(
            tokens.clamp(min=0), attention_mask=valid.long(), token_type_ids=segments
        ).last_hidden_state
        there = valid[..., None].to(x.dtype)
        return self.head(self.dropout((x * there).sum(1) / there.sum(1)))


class PointerGenerator(nn.Module):
    """A transformer of an encoder and a decoder, normalised first, that can copy words of its
    source (See et al. 2017), with the loss of a batch."""

    def __init__(self, task: Any, options: Any):
        super().__init__()
        width = options.width
        self.embedding = nn.Embedding(task.vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.sides = {"encoder": options.encoder_layers, "decoder": options.decoder_layers}
        for side, layers in self.sides.items():
            for number in range(layers):
                block = Block(width, options.heads, task.dropout, side == "decoder")
                setattr(self, f"{side}_block_{number}", block)
            setattr(self, f"{side}_norm", nn.LayerNorm(width))
        self.pointer_query = nn.Linear(width, width, bias=False)
        self.pointer_key = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(2 * width, 1)
        self.dropout = nn.Dropout(task.dropout)
        self.vocabulary, self.width = task.vocabulary, width
        places = torch.arange(max(task.length, task.summary[0]))
        half = torch.arange(width // 2) / (width // 2)
        angles = places[:, None] * _LONGEST_WAVE ** (-half)
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], -1))

    def forward(self, source, copied, target):
        valid, inputs, targets = source != 0, target[:, :-1], target[:, 1:]
        encoded = self._run("encoder", source, valid[:, None, None])
        known = torch.where(inputs >= self.vocabulary, 1, inputs)
        states = self._run("decoder", known, valid[:, None, None], encoded)
        logits = states @ self.embedding.weight.T
        scores = self.pointer_query(states) @ self.pointer_key(encoded).transpose(1, 2)
        scores = (scores * self.width**-0.5).masked_fill(~valid[:, None], _IMPOSSIBLE)
        attention = scores.log_softmax(-1)
        gate = self.gate(torch.cat([states, attention.exp() @ encoded], -1))[..., 0]
        there = targets.clamp(max=self.vocabulary - 1)[..., None]
        written = logits.log_softmax(-1).gather(-1, there)[..., 0]
        written = written.masked_fill(targets >= self.vocabulary, _IMPOSSIBLE)
        same = copied[:, None] == targets[..., None]
        found = attention.masked_fill(~same, _IMPOSSIBLE).logsumexp(-1)
        losses = -torch.logaddexp(
            functional.logsigmoid(gate) + written, functional.logsigmoid(-gate) + found
        )
        scored = targets != 0
        return (losses * scored).sum() / scored.sum()

    def _run(self, side, tokens, mask, memory=None):
        x = self.embedding(tokens) * self.width**0.5 + self.positions[: tokens.shape[1]]
        x = self.dropout(x)
        for number in range(self.sides[side]):
            x = getattr(self, f"{side}_block_{number}")(x, mask, memory)
        return getattr(self, f"{side}_norm")(x)


class Block(nn.Module):
    """A block of the encoder or of the decoder."""

    def __init__(self, width: int, heads: int, dropout: float, is_decoder: bool):
        super().__init__()
        names = ["query", "key", "value", "out"]
        names += [f"cross_{name}" for name in names] if is_decoder else []
        for name in names:
            setattr(self, name, nn.Linear(width, width))
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        if is_decoder:
            self.norm3 = nn.LayerNorm(width)
        self.heads, self.dropout = heads, nn.Dropout(dropout)

    def forward(self, x, mask, memory=None):
        y = self.norm1(x)
        own = {"is_causal": True} if memory is not None else {"attn_mask": mask}
        x = x + self.dropout(self._attend("", y, y, **own))
        if memory is not None:
            y = self._attend("cross_", self.norm3(x), memory, attn_mask=mask)
            x = x + self.dropout(y)
        y = functional.relu(self.linear1(self.norm2(x)))
        return x + self.dropout(self.linear2(y))

    def _attend(self, prefix, x, memory, **options):
        parts = [("query", x), ("key", memory), ("value", memory)]
        query, key, value = (
            getattr(self, prefix + name)(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name, y in parts
        )
        y = functional.scaled_dot_product_attention(query, key, value, **options)
        return getattr(self, f"{prefix}out")(y.transpose(1, 2).flatten(2))
