"""Several seeds of the CNN of experiments.benchmarks.classifier in one program, for
experiments.benchmarks.convolution.

Every seed has its own weights and its own batches of 128. Ours runs the classifier's step in a loop
inside one program; Flax's calls a jitted step under `vmap` for each batch.
"""

from collections.abc import Callable

from experiments.benchmarks.classifier_peers import TASKS, our_network

Block = Callable[[int], None]
TASK = TASKS["cnn"]


def one(way: str) -> Block:
    """Trains one seed."""
    return _seeds(way, 1)


def four(way: str) -> Block:
    """Trains four seeds."""
    return _seeds(way, 4)


def _seeds(way: str, count: int) -> Block:
    """Trains `count` seeds; way: map_members or vmap of ours, or flax."""
    import jax

    from jaxmodels.ops import map_members

    if way == "flax":
        return _flax(count)
    return _ours(count, map_members if way == "map_members" else jax.vmap)


def _ours(count: int, mapped: Callable) -> Block:
    import jax

    from jaxmodels.data.images import normalization_of
    from jaxmodels.objectives.classifier import Classifier
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.ops import cpu_compiler_options

    images, labels = TASK.arrays()
    normalize = normalization_of(images)
    optimizer = OptimizerConfig(optimizer="momentum", learning_rate=TASK.rate, schedule="constant")
    objective = Classifier(our_network("cnn"), 10, optimizer, steps=1)
    keys = jax.random.split(jax.random.key(0), count)
    spec = {
        "image": jax.ShapeDtypeStruct((TASK.batch, *TASK.shape), "float32"),
        "label": jax.ShapeDtypeStruct((TASK.batch,), "int32"),
    }
    states = jax.vmap(lambda key: objective.init(key, spec, objective.hyperparameters))(keys)

    def step(state, key, images, labels):
        key = jax.random.fold_in(key, state["step"])
        rows = jax.random.randint(key, (TASK.batch,), 0, len(images))
        batch = {"image": normalize(images[rows]), "label": labels[rows]}
        return objective.step(state, batch, key)[0]

    def advance(states, keys, images, labels, steps):
        every = mapped(lambda state, key: step(state, key, images, labels))
        return jax.lax.fori_loop(0, steps, lambda _, states: every(states, keys), states)

    run = jax.jit(advance, compiler_options=cpu_compiler_options())
    images, labels = jax.device_put((images, labels.astype("int32")))

    def block(steps: int) -> None:
        nonlocal states
        states = jax.block_until_ready(run(states, keys, images, labels, steps))

    return block


def _flax(count: int) -> Block:
    """Trains Flax Linen's own layers under `vmap`."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from experiments.benchmarks.classifier_peers import flax_network

    network, rule = flax_network("cnn"), optax.sgd(TASK.rate, TASK.momentum)
    keys = jax.random.split(jax.random.key(0), count)
    params = jax.vmap(lambda key: network.init(key, jnp.ones([1, *TASK.shape]))["params"])(keys)
    state = params, jax.vmap(rule.init)(params)

    @jax.jit
    @jax.vmap
    def train_step(state, images, labels):
        params, moments = state

        def loss(params):
            logits = network.apply({"params": params}, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, moments = rule.update(jax.grad(loss)(params), moments)
        return optax.apply_updates(params, updates), moments

    images, labels = TASK.normalized()
    generator = np.random.default_rng(0)

    def block(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            rows = generator.integers(0, len(images), (count, TASK.batch))
            state = train_step(state, images[rows], labels[rows])
        jax.block_until_ready(state)

    return block
