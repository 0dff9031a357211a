"""Names that users of TRL, axolotl, LLaMA-Factory and open-instruct bring along, and what stands in their place."""

from __future__ import annotations

from typing import NamedTuple


class Here(NamedTuple):
    """What takes the place of another framework's setting.

    Attributes:
        paths: dotted settings of a stage or of the recipe; the first that the component at hand has is meant. None
            where no setting does.
        note: what else is different, in a few words; empty when only the name is. Without paths: what is done instead.
    """

    paths: tuple[str, ...]
    note: str = ""


_WHOLE = Here(("batch.sequences", "batch.prompts"), "of a whole optimizer step, over all processes and micro-batches")
_LONGEST = Here(("batch.max_tokens", "batch.max_prompt_tokens"))
_EPOCHS = Here(("epochs", "steps"))
_WARMUP = Here(("optimizer.warmup",), "a share of all steps, from 0 to 1")
_SCHEDULE = Here(("optimizer.schedule",))
_CLIPPING = Here(("optimizer.max_grad_norm",))
_DTYPE = Here(("engine.dtype",), "float32 or bfloat16; weights are float32 in training")
_RECOMPUTE = Here(("engine.activation_checkpointing",))
_LORA = Here(("engine.lora",), "lora: {} takes the defaults")
_RANK = Here(("engine.lora.rank",))
_ADAPTED = Here(("engine.lora.targets",))
_ATTENTION = Here(("engine.attention",))
_DATA = Here(("data",), "such as {use: jsonl, path: …, format: messages}")
_REFERENCE = Here(("from",), "the reference is the model that the stage starts from")
_MODEL = Here(("model",))
_WORKERS = Here(("data_workers",))
_TARGETS = Here(("batch.learn",), "prompts are never targets")
_OBSERVERS = Here(("observers",), "such as [tensorboard]")
_HELD_OUT = Here(("validation",), "such as {data: {use: jsonl, path: …}, every: 100}")
_MEASURED = Here(("validation.every",), "in optimizer steps; benchmarks are a stage of their own: {use: evaluate, …}")
_CHECKPOINTS = Here((), "the two newest checkpoints are kept until a stage is done, then only its model")
_NO_EARLY_STOP = Here((), "not there: a stage takes all its steps; compare models by a stage evaluate after each")
_QUANTISED = Here((), "not there: weights are float32 in training; engine: {lora: {}} with dtype: bfloat16 takes least")
_HUB = Here((), "not there: a stage leaves a plain Hugging Face folder; hf upload REPO runs/NAME/stages/…/model")
_EVERY_STEP = Here((), "needs no setting: every step is recorded, in runs/NAME/events.jsonl")
_RESUMED = Here((), "needs no setting: the same command again goes on where the run was stopped")
_OUT = Here((), "not in the recipe: aftertrain run RECIPE --out DIR; the run's name is the recipe's `name`")
_PACKED = Here((), "needs no setting: batches are always packed, and no sample sees another; no padding is computed")
_UPDATES = Here(("batch.updates",))
_CLIP = Here(("loss.clip",))

RENAMED = {"deadline": "timeout", "seconds": "timeout", "case_seconds": "case_timeout", "samples": "shown"}
"""Settings of API 1 that have another name since, where a component has that."""
SAID_BEFORE = {"error": "stop"}
"""Likewise values."""

ELSEWHERE: dict[str, Here] = {
    "learning_rate": Here(("optimizer.lr",)),
    "lr": Here(("optimizer.lr",)),
    "per_device_train_batch_size": _WHOLE,
    "gradient_accumulation_steps": _WHOLE,
    "train_batch_size": _WHOLE,
    "total_batch_size": _WHOLE,
    "batch_size": _WHOLE,
    "micro_batch_size": Here(("batch.micro_tokens",), "in tokens; it moves no result"),
    "max_length": _LONGEST,
    "max_seq_length": _LONGEST,
    "max_seq_len": _LONGEST,
    "sequence_len": _LONGEST,
    "cutoff_len": _LONGEST,
    "cutoff": _LONGEST,
    "max_prompt_length": Here(("batch.max_prompt_tokens", "batch.max_tokens")),
    "max_completion_length": Here(("sampling.max_new_tokens", "batch.max_tokens")),
    "response_length": Here(("sampling.max_new_tokens", "batch.max_tokens")),
    "num_train_epochs": _EPOCHS,
    "num_epochs": _EPOCHS,
    "max_train_steps": Here(("max_steps", "steps")),
    "warmup_steps": _WARMUP,
    "warmup_ratio": _WARMUP,
    "num_warmup_steps": _WARMUP,
    "lr_scheduler_type": _SCHEDULE,
    "lr_scheduler": _SCHEDULE,
    "weight_decay": Here(("optimizer.weight_decay",)),
    "adam_beta1": Here(("optimizer.beta1",)),
    "adam_beta2": Here(("optimizer.beta2",)),
    "adam_epsilon": Here(("optimizer.eps",)),
    "max_grad_norm": _CLIPPING,
    "gradient_clipping": _CLIPPING,
    "optim": Here(("engine.adamw",)),
    "bf16": _DTYPE,
    "fp16": _DTYPE,
    "torch_dtype": _DTYPE,
    "dtype": _DTYPE,
    "mixed_precision": _DTYPE,
    "gradient_checkpointing": _RECOMPUTE,
    "attn_implementation": _ATTENTION,
    "flash_attention": _ATTENTION,
    "torch_compile": Here(("engine.compile",)),
    "use_peft": _LORA,
    "peft_config": _LORA,
    "lora_r": _RANK,
    "r": _RANK,
    "lora_alpha": Here(("engine.lora.alpha",)),
    "lora_target_modules": _ADAPTED,
    "target_modules": _ADAPTED,
    "lora_dropout": Here((), "not there: adapters have no dropout"),
    "deepspeed": Here(("engine",), "{use: deepspeed, zero: 2}"),
    "loss_type": Here(("loss",)),
    "beta": Here(("loss.beta",)),
    "label_smoothing": Here(("loss.label_smoothing",)),
    "simpo_gamma": Here(("loss.gamma",)),
    "ref_model": _REFERENCE,
    "ref_model_name_or_path": _REFERENCE,
    "reference_model": _REFERENCE,
    "completion_only_loss": _TARGETS,
    "assistant_only_loss": _TARGETS,
    "train_on_inputs": _TARGETS,
    "dataset_name": _DATA,
    "dataset": _DATA,
    "datasets": _DATA,
    "train_file": _DATA,
    "dataset_mixer": Here(("data",), "{use: mixture, parts: …}"),
    "dataset_mixer_list": Here(("data",), "{use: mixture, parts: …}"),
    "dataset_text_field": Here(("data.fields",), "{text: …}, with format: text"),
    "dataset_num_proc": _WORKERS,
    "preprocessing_num_workers": _WORKERS,
    "save_steps": Here(("checkpoint_every",)),
    "checkpointing_steps": Here(("checkpoint_every",)),
    "model_name_or_path": _MODEL,
    "base_model": _MODEL,
    "chat_template_path": Here(("chat_template",)),
    "report_to": _OBSERVERS,
    "with_tracking": _OBSERVERS,
    "num_generations": Here(("batch.samples_per_prompt",)),
    "num_iterations": _UPDATES,
    "num_ppo_epochs": _UPDATES,
    "num_mini_batches": Here(("batch.minibatches",)),
    "temperature": Here(("sampling.temperature",)),
    "reward_funcs": Here(("rewards",)),
    "kl_coef": Here(("kl.beta",)),
    "epsilon": _CLIP,
    "cliprange": _CLIP,
    "epsilon_high": Here(("loss.clip_high",)),
    "vf_coef": Here(("loss.value_coefficient",)),
    "lam": Here(("gae_lambda",)),
    "use_vllm": Here(("generator",)),
    "eval_dataset": _HELD_OUT,
    "test_size": _HELD_OUT,
    "eval_steps": _MEASURED,
    "eval_strategy": _MEASURED,
    "evaluation_strategy": _MEASURED,
    "packing": _PACKED,
    "sample_packing": _PACKED,
    "padding_free": _PACKED,
    "group_by_length": _PACKED,
    "logging_steps": _EVERY_STEP,
    "logging_strategy": _EVERY_STEP,
    "save_total_limit": _CHECKPOINTS,
    "save_strategy": _CHECKPOINTS,
    "load_best_model_at_end": _NO_EARLY_STOP,
    "early_stopping_patience": _NO_EARLY_STOP,
    "metric_for_best_model": _NO_EARLY_STOP,
    "load_in_4bit": _QUANTISED,
    "load_in_8bit": _QUANTISED,
    "quantization_bit": _QUANTISED,
    "push_to_hub": _HUB,
    "hub_model_id": _HUB,
    "resume_from_checkpoint": _RESUMED,
    "output_dir": _OUT,
    "run_name": _OUT,
    "overwrite_output_dir": Here((), "not in the recipe: aftertrain run RECIPE --restart begins every stage anew"),
    "precompute_ref_log_probs": Here((), "needs no setting: the reference's log-probs are always computed once"),
    "neftune_noise_alpha": Here((), "not there: no noise is added to embeddings"),
    "label_smoothing_factor": Here(("loss.label_smoothing",), "of preference losses; sft has none"),
    "fsdp": Here(("engine",), "{use: deepspeed, zero: 3} shares weights, gradients and moments"),
    "dataloader_num_workers": Here((), "needs no setting: rows are tokenised once, with data_workers processes"),
    "do_train": Here((), "needs no setting: each stage does what its `use` says"),
}
"""By the other framework's name."""
