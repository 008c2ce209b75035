"""Small objectives for tests of the engine, which must not care what they minimise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmodels import across
from jaxmodels.data import Resident
from jaxmodels.protocol import Mean, Objective, Score, example_keys, mean_over
from jaxmodels.train import Config, Experiment, RunConfig, loop
from jaxmodels.train.run_folder import RunFolder


def regression(noise: float = 0.0) -> Objective:
    """Linear regression by Adam on batches {"x": [batch, 5], "y": [batch]}; noise on the inputs."""
    rule = optax.adam(0.01)

    def init(key, spec, hyperparameters):
        params = {"w": jax.random.normal(key, spec["x"].shape[1:]), "b": jnp.zeros(())}
        hyperparameters = {name: jnp.float32(value) for name, value in hyperparameters.items()}
        return {
            "step": jnp.int32(0),
            "hyperparameters": hyperparameters,
            "params": params,
            "optimizer": rule.init(params),
            "nothing": {},
        }

    def errors(params, batch):
        return jnp.square(batch["x"] @ params["w"] + params["b"] - batch["y"])

    def step(state, batch, key):
        keys = example_keys(key, across.positions(len(batch["y"])))
        shift = jax.vmap(lambda k: jax.random.normal(k, batch["x"].shape[1:]))(keys)
        batch = {**batch, "x": batch["x"] + noise * shift}
        gradients = jax.grad(lambda p: jnp.mean(errors(p, batch)))(state["params"])
        gradients = across.average(gradients)
        updates, moments = rule.update(gradients, state["optimizer"])
        scale = state["hyperparameters"]["scale"]
        params = jax.tree.map(lambda p, u: p + scale * u, state["params"], updates)
        loss = mean_over(errors(state["params"], batch))
        return {**state, "step": state["step"] + 1, "params": params, "optimizer": moments}, {
            "loss": loss
        }

    def evaluate(state, batch, key):
        # Only what is valid may count: padding is made to poison whatever it touches.
        x = jnp.where(batch["valid"][:, None], batch["x"], jnp.nan)
        return {"loss": mean_over(errors(state["params"], {**batch, "x": x}), batch["valid"])}

    def summarize(sums):
        return {name: mean.value() for name, mean in sums.items()}

    return Objective(init, step, evaluate, summarize, hyperparameters={"scale": 1.0})


def predict(state, batch, key):
    """What a regression's state says of each example."""
    return batch["x"] @ state["params"]["w"] + state["params"]["b"]


def two_players() -> Objective:
    """Two networks and two optimizers in one step, and samples: what a GAN asks of the engine."""
    rules = {"critic": optax.adam(0.02), "generator": optax.sgd(0.05, momentum=0.5)}

    def init(key, spec, hyperparameters):
        params = {"critic": jnp.zeros(2), "generator": jnp.array([0.1, 0.2])}
        moments = {name: rule.init(params[name]) for name, rule in rules.items()}
        return {"step": jnp.int32(0), "hyperparameters": {}, "params": params, "optimizer": moments}

    def generate(params, keys):
        return params[0] + params[1] * jax.vmap(jax.random.normal)(keys)

    def step(state, batch, key):
        keys = example_keys(key, across.positions(len(batch["y"])))

        def critic_loss(critic, generator):
            fake = generate(generator, keys)
            score = lambda x: critic[0] * x + critic[1] * x**2  # noqa: E731
            return jnp.mean(score(fake) - score(batch["y"])) + 0.1 * jnp.sum(critic**2)

        critic, generator = state["params"]["critic"], state["params"]["generator"]
        loss, (down, up) = jax.value_and_grad(critic_loss, (0, 1))(critic, generator)
        gradients = across.average({"critic": down, "generator": -up})
        params, moments = {}, {}
        for name, rule in rules.items():
            updates, moments[name] = rule.update(gradients[name], state["optimizer"][name])
            params[name] = state["params"][name] + updates
        sums = {"loss": Mean(loss, jnp.int32(1))}
        return {**state, "step": state["step"] + 1, "params": params, "optimizer": moments}, sums

    def evaluate(state, batch, key):
        return {
            "loss": mean_over(
                jnp.square(batch["y"] - state["params"]["generator"][0]), batch["valid"]
            )
        }

    def sample(state, key, count):
        return {
            "images": generate(state["params"]["generator"], example_keys(key, jnp.arange(count)))
        }

    def summarize(sums):
        return {name: mean.value() for name, mean in sums.items()}

    return Objective(init, step, evaluate, summarize, sample=sample)


def experiment(objective: Objective, splits=("validation", "test"), **changes) -> Experiment:
    """An experiment on 203 examples, with evaluation splits of sizes that divide nothing."""
    generator = np.random.default_rng(0)

    def columns(count):
        x = generator.normal(size=(count, 5)).astype(np.float32)
        return {"x": x, "y": (x @ np.arange(5.0) + 1).astype(np.float32)}

    whole = Experiment(
        objective=objective,
        train=Resident(columns(203)),
        evaluation={split: Resident(columns(n)) for split, n in zip(splits, (37, 51))},
        monitor="loss",
        scores={
            "loss": Score("lower", "", "mean squared error"),
            "score": Score("higher", "", "a number that tests make up"),
        },
        facts={"data": {"name": "toy"}},
    )
    return whole._replace(**changes)


CONFIG = Config(
    run=RunConfig(
        steps=60, batch_size=16, log_every=8, eval_every=20, checkpoint_every=15, eval_batch_size=16
    )
)


def train_toy(path, toy, config=CONFIG, source="code"):
    """Trains or resumes a toy in a folder."""
    return loop.train(toy, config, RunFolder(path), source)
