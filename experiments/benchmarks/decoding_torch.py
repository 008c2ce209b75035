"""GPT-2 and Llama with a cache as a PyTorch user writes them, on given weights."""

import sys
from typing import Any

import numpy as np
import torch
from torch.nn import functional


def _named(params: Any) -> dict[str, torch.Tensor]:
    """Makes tensors of our tree; kernels are [outputs, inputs], as torch's linear layers have
    them."""
    from flax.traverse_util import flatten_dict

    return {
        name: torch.tensor(np.ascontiguousarray(value.T if name.endswith("kernel") else value))
        for name, value in flatten_dict(params, sep="/").items()
    }


class Decoder:
    """A decoder with a cache for one text."""

    def __init__(self, task: Any, model: Any, params: Any):
        self.task, self.model = task, model
        self.weights = _named(params)
        names = "query", "key", "value"
        for index in range(model.layers):
            # One product in place of three, as users write it.
            parts = [self.weights.pop(f"block_{index}/{name}/kernel") for name in names]
            self.weights[f"block_{index}/qkv"] = torch.cat(parts)
            if task.model == "llama":
                both = [
                    self.weights.pop(f"block_{index}/{name}/kernel") for name in ("gate", "linear1")
                ]
                self.weights[f"block_{index}/up"] = torch.cat(both)
        self.head = self.weights["token_embedding/embedding"]

    @torch.inference_mode()
    def text(self, prompt: np.ndarray, count: int) -> np.ndarray:
        """Writes `count` tokens, the likeliest each."""
        model = self.model
        shape = 1, model.groups, len(prompt) + count, model.head_size
        self.cache = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(model.layers)]
        new, written = torch.tensor(prompt).long(), []
        place = 0
        for _ in range(count):
            token = self.step(new, place).argmax()
            place += len(new)
            written.append(token)
            new = token[None]
        return torch.stack(written).numpy()

    def step(self, tokens: torch.Tensor, place: int) -> torch.Tensor:
        """Computes the logits after the last of new tokens, the first of which is at `place`."""
        is_llama = self.task.model == "llama"
        places = torch.arange(place, place + len(tokens))
        x = functional.embedding(tokens, self.head)
        if is_llama:
            size = self.model.head_size
            frequencies = self.model.rotary_base ** (-torch.arange(0, size, 2) / size)
            angles = places[:, None] * frequencies
            turned = angles.cos(), angles.sin()
        else:
            turned = None
            x = x + self.weights["position_embedding/embedding"][places]
        for index in range(self.model.layers):
            x = x + self._attention(x, index, place, turned)
            y = self._norm(x, f"block_{index}/norm2")
            if is_llama:
                gate, up = functional.linear(y, self.weights[f"block_{index}/up"]).chunk(2, -1)
                y = functional.silu(gate) * up
            else:
                y = functional.linear(y, self.weights[f"block_{index}/linear1/kernel"])
                y = functional.gelu(y, approximate="tanh")
            x = x + functional.linear(y, self.weights[f"block_{index}/linear2/kernel"])
        return functional.linear(self._norm(x[-1:], "norm"), self.head)[0]

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        scale = self.weights[f"{name}/scale"]
        if self.task.model == "llama":
            return functional.rms_norm(x, scale.shape, scale, self.model.norm_epsilon)
        return functional.layer_norm(x, scale.shape, scale, eps=1e-5)

    def _attention(self, x: torch.Tensor, index: int, place: int, turned: Any) -> torch.Tensor:
        model = self.model
        heads, groups, size = model.heads, model.groups, model.head_size
        y = functional.linear(
            self._norm(x, f"block_{index}/norm1"), self.weights[f"block_{index}/qkv"]
        )
        parts = y.view(len(x), heads + 2 * groups, size).transpose(0, 1)[None]
        query, key, value = parts.split([heads, groups, groups], dim=1)
        if turned is not None:
            query, key = _rotated(query, *turned), _rotated(key, *turned)
        keys, values = self.cache[index]
        stop = place + len(x)
        keys[:, :, place:stop], values[:, :, place:stop] = key, value
        out = functional.scaled_dot_product_attention(
            query,
            keys[:, :, :stop],
            values[:, :, :stop],
            is_causal=len(x) > 1,
            enable_gqa=heads != groups,
        )
        out = out.transpose(1, 2).reshape(len(x), -1)
        return functional.linear(out, self.weights[f"block_{index}/out/kernel"])


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def transformers_model(task: Any, model: Any, params: Any) -> Any:
    """Makes transformers' model with our weights."""
    # The registry's torchvision does not match a torch for CPUs alone.
    sys.modules.setdefault("torchvision", None)  # pyright: ignore
    import transformers

    ends: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id"))
    ends["pad_token_id"] = 0
    if task.model == "llama":
        config = transformers.LlamaConfig(
            vocab_size=task.vocabulary,
            hidden_size=model.width,
            intermediate_size=model.hidden,
            num_hidden_layers=model.layers,
            num_attention_heads=model.heads,
            num_key_value_heads=model.groups,
            max_position_embeddings=task.context,
            rms_norm_eps=model.norm_epsilon,
            rope_theta=model.rotary_base,
            tie_word_embeddings=True,
            **ends,
        )
        network = transformers.LlamaForCausalLM(config)
        names, prefix = _LLAMA, "model.layers"
    else:
        config = transformers.GPT2Config(
            vocab_size=task.vocabulary,
            n_positions=task.context,
            n_embd=model.width,
            n_layer=model.layers,
            n_head=model.heads,
            **ends,
        )
        network = transformers.GPT2LMHeadModel(config)
        names, prefix = _GPT2, "transformer.h"
    theirs = dict(network.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.items():
            if name.endswith("bias"):
                parameter.zero_()
        for name, value in _named(params).items():
            _fill(theirs, names, prefix, name, value)
    return network.eval()


_LLAMA = {
    "token_embedding/embedding": "model.embed_tokens.weight",
    "norm/scale": "model.norm.weight",
    "norm1/scale": "input_layernorm.weight",
    "norm2/scale": "post_attention_layernorm.weight",
    "query/kernel": "self_attn.q_proj.weight",
    "key/kernel": "self_attn.k_proj.weight",
    "value/kernel": "self_attn.v_proj.weight",
    "out/kernel": "self_attn.o_proj.weight",
    "gate/kernel": "mlp.gate_proj.weight",
    "linear1/kernel": "mlp.up_proj.weight",
    "linear2/kernel": "mlp.down_proj.weight",
}
_GPT2 = {
    "token_embedding/embedding": "transformer.wte.weight",
    "position_embedding/embedding": "transformer.wpe.weight",
    "norm/scale": "transformer.ln_f.weight",
    "norm1/scale": "ln_1.weight",
    "norm2/scale": "ln_2.weight",
    "query/kernel": "attn.c_attn.weight",
    "key/kernel": "attn.c_attn.weight",
    "value/kernel": "attn.c_attn.weight",
    "out/kernel": "attn.c_proj.weight",
    "linear1/kernel": "mlp.c_fc.weight",
    "linear2/kernel": "mlp.c_proj.weight",
}


def _fill(theirs: Any, names: dict[str, str], prefix: str, name: str, value: torch.Tensor) -> None:
    """Copies a tensor to its place."""
    block, _, part = name.partition("/")
    if not block.startswith("block_"):
        theirs[names[name]].copy_(value)
        return
    parameter = theirs[f"{prefix}.{block.removeprefix('block_')}.{names[part]}"]
    if names is _LLAMA:
        parameter.copy_(value)
    elif (at := ("query/kernel", "key/kernel", "value/kernel")).count(part):
        width = len(value)
        parameter[:, at.index(part) * width : (at.index(part) + 1) * width].copy_(value.T)
    else:
        # GPT-2's layers are [inputs, outputs].
        parameter.copy_(value.mT if value.ndim > 1 else value)
