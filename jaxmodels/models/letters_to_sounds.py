"""The sounds of English words from their letters: two GRUs, with the weights of g2p_en."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxmodels.models.layers import Dense
from jaxmodels.pretrained import Entry, Published, load, open_weights
from jaxmodels.pretrained.names import TRANSPOSED

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# ARPAbet with its marks of stress (0: none), in the order of the published table of embeddings.
_ARPABET = (
    "AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2"
    " ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2"
    " P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH"
)
PHONES = tuple(_ARPABET.split())
_UNKNOWN, _END_OF_WORD = 1, 2  # numbers of letters; the first letter has 3
_START, _END = 2, 3  # numbers of phones; the first phone has 4
_MOST = 20  # phones of a word
_ROOM = 16  # words at least, and letters by which rows grow, so that few programs are compiled


class LettersToSounds(nn.Module):
    """A GRU reads the letters of a word, and another one, which begins with the state of the first,
    says one phone after another, each time the likeliest (g2p_en 2.1, class G2p)."""

    width: int = 256

    @nn.compact
    def __call__(
        self, letters: Int[Array, "word letters"], count: Int[Array, " word"]
    ) -> Int[Array, "word phones"]:
        """Gives the numbers of at most 20 phones; from the end of a word on, that of the end.

        count: the letters of each word that are no filling, with that of the end of a word.
        """
        seen = nn.Embed(len(LETTERS) + 3, self.width, name="letter_embedding")(letters)
        is_letter = jnp.arange(letters.shape[1]) < count[:, None]
        options = {"variable_broadcast": "params", "split_rngs": {"params": False}}
        read = nn.scan(Reading, **options, in_axes=1)(self.width, name="reader")
        state, _ = read(jnp.zeros((len(letters), self.width)), (seen, is_letter))
        start = jnp.full(len(letters), _START, jnp.int32)
        speak = nn.scan(Speaking, **options, out_axes=1, length=_MOST)(self.width, name="speaker")
        _, said = speak((state, start, start == _END), None)
        return said


class Reading(nn.Module):
    """Reads a letter of each word that has one more."""

    width: int

    @nn.compact
    def __call__(self, state, letter):
        """Gives the next state, and nothing else."""
        seen, is_letter = letter
        return jnp.where(is_letter[:, None], GRU(self.width, name="gru")(seen, state), state), None


class Speaking(nn.Module):
    """Says the next phone of each word."""

    width: int

    @nn.compact
    def __call__(self, carried, _):
        """Gives what is carried on, and the phone."""
        state, phone, is_over = carried
        heard = nn.Embed(len(PHONES) + 4, self.width, name="embedding")(phone)
        state = GRU(self.width, name="gru")(heard, state)
        phone = jnp.argmax(Dense(len(PHONES) + 4, name="head")(state), axis=-1).astype(jnp.int32)
        is_over |= phone == _END
        return (state, phone, is_over), jnp.where(is_over, _END, phone)


class GRU(nn.Module):
    """A gated recurrent unit whose reset gate acts on the product with the state (PyTorch's form of
    Cho et al. 2014)."""

    width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "word inputs"], state: Float[Array, "word width"]
    ) -> Float[Array, "word width"]:
        """Gives the next state."""
        of_input = jnp.split(Dense(3 * self.width, name="input")(x), 3, axis=-1)
        of_state = jnp.split(Dense(3 * self.width, name="state")(state), 3, axis=-1)
        reset, update = (nn.sigmoid(a + b) for a, b in zip(of_input[:2], of_state[:2]))
        new = jnp.tanh(of_input[2] + reset * of_state[2])
        return (1 - update) * new + update * state


def published() -> Published:
    """Makes the table of names of g2p_en's checkpoint20.npz."""
    entries = [
        Entry("enc_emb", ("params/letter_embedding/embedding",)),
        Entry("dec_emb", ("params/speaker/embedding/embedding",)),
    ]
    for theirs, ours in (("enc", "reader"), ("dec", "speaker")):
        for short, part in (("ih", "input"), ("hh", "state")):
            entries += _dense(f"{theirs}_w_{short}", f"{theirs}_b_{short}", f"{ours}/gru/{part}")
    return Published((*entries, *_dense("fc_w", "fc_b", "speaker/head")))


def load_pronunciation(path: str | Path) -> Callable[[Sequence[str]], list[list[str]]]:
    """Makes the function that gives the phones of words, which are split into letters as they are;
    all but a to z, in small letters, is unknown to it.

    path: g2p_en's checkpoint20.npz. Its dictionary of known words is not part of it.

    Raises:
      InputError: other weights.
    """
    network = LettersToSounds()
    one = jnp.zeros((1, 1), jnp.int32), jnp.ones(1, jnp.int32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *one)
    variables = load(open_weights(path), published(), shapes)
    say = jax.jit(partial(network.apply, variables))

    def pronounce(words: Sequence[str]) -> list[list[str]]:
        if not words:
            return []
        letters, count = _numbers(words)
        said = np.asarray(say(letters, count))[: len(words)]
        return [[_phone(n) for n in row[: _length(row)]] for row in said.tolist()]

    return pronounce


def _dense(kernel: str, bias: str, path: str) -> tuple[Entry, Entry]:
    of_kernel = Entry(kernel, (f"params/{path}/kernel",), TRANSPOSED)
    return of_kernel, Entry(bias, (f"params/{path}/bias",))


def _numbers(words: Sequence[str]) -> tuple[Int[Array, "word letters"], Int[Array, " word"]]:
    """Returns the numbers of letters, in rows of a few sizes, and of how many of them are any."""
    room = -(-(max(map(len, words)) + 1) // _ROOM) * _ROOM
    rows = max(_ROOM, 1 << (len(words) - 1).bit_length())
    letters, count = np.zeros((rows, room), np.int32), np.ones(rows, np.int32)
    for row, word in enumerate(words):
        numbers = [LETTERS.find(letter) + 3 if letter in LETTERS else _UNKNOWN for letter in word]
        letters[row, : len(word) + 1] = [*numbers, _END_OF_WORD]
        count[row] = len(word) + 1
    return jnp.asarray(letters), jnp.asarray(count)


def _length(row: list[int]) -> int:
    return row.index(_END) if _END in row else len(row)


def _phone(number: int) -> str:
    return PHONES[number - 4] if number >= 4 else ("<pad>", "<unk>", "<s>", "</s>")[number]
