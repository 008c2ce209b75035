"""Presets of experiments.summarization. Those of SciTLDR need --data-dir, with scitldr in it."""

from jaxmodels.train import Preset

# Four documents of its training split are in another split too.
_SCITLDR = {"data": "scitldr", "skip_bad_records": 4}

PRESETS = {
    "scitldr-copy": Preset(
        flags={
            **_SCITLDR,
            "lower": True,
            "document_length": 256,
            "summary_length": 40,
            "buckets": 3,
            "width": 192,
            "dropout": 0.3,
            "steps": 1500,
            "eval_every": 250,
            "checkpoint_every": 250,
            "steps_per_dispatch": 25,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "warmup_steps": 200,
            "beams": 4,
            "no_repeat": 3,
        },
        source="a pointer-generator (See et al. 2017) as a transformer, from scratch on the 1,988"
        " abstracts of SciTLDR (Cachola et al. 2020)",
        expected="not yet measured",
        cost="not yet measured",
        command="--data-dir DIR",
    ),
    "scitldr-smollm2": Preset(
        flags={
            **_SCITLDR,
            "document_length": 320,
            "summary_length": 48,
            "adapter_rank": 16,
            "adapter_on": "block_(1[5-9]|2[0-9])/(query|key|value|out|gate|linear1|linear2)/kernel",
            "adapter_scale": 2.0,
            "steps": 300,
            "batch_size": 8,
            "eval_every": 300,
            "eval_batch_size": 16,
            "written": 16,
            "learning_rate": 5e-4,
            "weight_decay": 0.0,
            "warmup_steps": 10,
            "log_every": 5,
            "steps_per_dispatch": 1,
            "checkpoint_every": 25,
        },
        source="SmolLM2-135M-Instruct (Ben Allal et al. 2025) with low-rank adapters (Hu et al."
        " 2021) in its upper half",
        expected="not yet measured",
        cost="not yet measured",
        command="--init-from FILE.gguf --data-dir DIR",
    ),
}
