'''Objectives: small classes whose methods are the functions of `protocol.Objective`.

An objective of your own needs no more than this. It runs under jit on a mesh and under pmap, it
resumes, and its learning rate is a traced hyperparameter:

    from dataclasses import dataclass

    import jax.numpy as jnp
    from flax import linen as nn

    from jaxmodels.objectives.descent import descend, initial_state, learned_of, of_trained
    from jaxmodels.objectives.gradients import gradients_of
    from jaxmodels.objectives.optimizers import OptimizerConfig
    from jaxmodels.protocol import Score, mean_over


    @dataclass(frozen=True)
    class Regression:
        """The mean squared error over batches {"x": [batch, inputs], "y": [batch]}."""

        model: nn.Module
        optimizer: OptimizerConfig
        steps: int

        scores = {"loss": Score("lower", "", "Mean squared error.")}

        @property
        def hyperparameters(self):
            return self.optimizer.hyperparameters()

        def init(self, key, spec, hyperparameters):
            params = self.model.init(key, jnp.zeros(spec["x"].shape))["params"]
            return initial_state(self.optimizer, {"params": params}, hyperparameters, key=key)

        def loss(self, params, carried, batch, key):
            outputs = self.model.apply({"params": params}, batch["x"])[:, 0]
            loss = mean_over(jnp.square(outputs - batch["y"]), batch.get("valid"))
            return loss, carried, {"loss": loss}

        def step(self, state, batch, key):
            loss = of_trained(self.loss, state)
            gradients, _, sums = gradients_of(loss, state["params"], {}, batch, key)
            return descend(self.optimizer, self.steps, state, gradients), sums

        def evaluate(self, state, batch, key):
            return self.loss(learned_of(state)["params"], {}, batch, key)[2]

        @staticmethod
        def summarize(sums):
            return {"loss": sums["loss"].value()}

A script gives `Objective.of(Regression(model, config.optimizer, config.run.steps))` to its
`Experiment`. The project's README has a short script, tests/experiments/tabular.py one with flags,
data from a notebook and predictions, experiments/table.py one with everything. The class may have
`sample`, for --mode sample, and `losses`, for python -m jaxmodels.replay. Two more lines in it let
runs start from its weights and from others (--init-from):

        learned = staticmethod(learned_of)
        with_learned = staticmethod(with_learned)

Where a model has batch statistics, `learned` names them too: `learned_of(state, "batch_stats")`.

Building blocks of an objective:

State and update, `descent`:
    initial_state        makes the state at step 0, with an average of what is learned (ema)
    descend              makes the state after one update by gradients
    descend_measured     does so, and gives the norms of gradient and update as metrics
    learned_of           returns what evaluation uses: the average, if there is one
    with_learned         makes a state at step 0 with other weights, which --init-from needs
    of_trained           makes a loss of what is trained, where --freeze or adapters keep the rest
    differentiated_in_trained    does so for gradients of your own
Networks with batch statistics or dropout, `network`:
    init_network         draws the "params" of a module, with its "batch_stats"
    pass_in_training     computes outputs, and the batch statistics after the batch
Two networks that play against each other, `players`:
    initial_players      makes the state at step 0, with an optimizer for each
    update_player        updates one of them by its gradients
    end_step             counts a step, and moves the generator's average
Gradients, `gradients`:
    gradients_of         computes the gradient of a mean loss over a batch, whole or in parts
    accumulate_gradients does so for gradients of your own (two losses, another estimator)
    losses_in_parts      computes each example's loss in these parts, for an objective's `losses`
    split_batch          divides a batch into parts, of which each device holds a share
Optimizers, `optimizers`, `schedules`, `parts` and `parameter_kinds`:
    OptimizerConfig      the flags of an optimizer and its schedule
    make_optimizer       makes the update rule, for states with several optimizers
    scheduled_rate       computes the learning rate at a step
    PartsConfig          the flags of what is trained, and at which rates
    kind_of              tells kernels, embeddings, heads, vectors and what is fixed: rates differ
    decayed              marks the parameters that weight decay acts on
Widths, `mup`:
    multipliers          computes how rates, initial values and outputs change with the width
    initial_values       scales a model's initial values to those of its base width
Looking at a spike, `spikes`:
    norms_of             computes the norms of a step's gradients and updates
    largest              computes the largest magnitude of a batch's logits
    activation_norms     names the norms of activations that a forward pass has sown
Averages, `averaging`:
    update_average       moves an average of parameters (a teacher, an ema) towards new ones
Batches, `preprocessing` and `augmentation`:
    with_preprocessing   makes an objective of stored batches from one of prepared batches
    prepared             does so for any function (state, batch, key) that an evaluation maps
    AugmentationConfig   the flags of augmentation
    make_augmentation    makes the function that augments a batch; two keys give two views
Sums and keys, `jaxmodels.protocol`:
    Mean, mean_over      a mean as total and count, over all or over the valid examples
    Score                declares which values of a score are better, its unit and its meaning
    example_keys         makes one key per example, from its position in the global batch
Devices, `jaxmodels.across`, the same under jit and pmap:
    average, total       the mean and the sum over devices
    gather               the examples of all devices, for losses that compare examples
    take                 chosen rows of the global batch
    rotate               for each example the one before it in the global batch
    positions            the positions of this device's examples in the global batch
    first_position, global_count    the first of them, and the size of the global batch
Losses: `jaxmodels.ops.softmax_cross_entropy` and `head_cross_entropy` (of large vocabularies).
Whole objectives take any module: `Classifier` (classifier), `Regression` (regression), `MultiLabel`
(multilabel) and `Tagging` (tagging), of which the last three extend `Supervised` (supervised) by
a loss; `GAN` (gan), `VariationalAutoencoder` (vae), `LanguageModel` (language_model),
`SequenceToSequence` (sequence_to_sequence), `Connectionist` (recognition) and others beside them.

This file imports nothing, so that a run depends on the files of its own objective alone.
'''
