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


RENAMED = {"deadline": "timeout", "seconds": "timeout", "case_seconds": "case_timeout", "samples": "shown"}
"""Settings of API 1 that have another name since, where a component has that."""
SAID_BEFORE = {"error": "stop"}
"""Likewise values."""

_ANSWERS = {
    "learning_rate lr": Here(("optimizer.lr",)),
    "per_device_train_batch_size gradient_accumulation_steps train_batch_size total_batch_size batch_size": Here(
        ("batch.sequences", "batch.prompts"), "of a whole optimizer step, over all processes and micro-batches"
    ),
    "micro_batch_size": Here(("batch.micro_tokens",), "in tokens; it moves no result"),
    "max_length max_seq_length max_seq_len sequence_len cutoff_len cutoff": Here(
        ("batch.max_tokens", "batch.max_prompt_tokens")
    ),
    "max_prompt_length": Here(("batch.max_prompt_tokens", "batch.max_tokens")),
    "max_completion_length response_length": Here(("sampling.max_new_tokens", "batch.max_tokens")),
    "num_train_epochs num_epochs": Here(("epochs", "steps")),
    "max_train_steps": Here(("max_steps", "steps")),
    "warmup_steps warmup_ratio num_warmup_steps": Here(("optimizer.warmup",), "a share of all steps, from 0 to 1"),
    "lr_scheduler_type lr_scheduler": Here(("optimizer.schedule",)),
    "weight_decay": Here(("optimizer.weight_decay",)),
    "adam_beta1": Here(("optimizer.beta1",)),
    "adam_beta2": Here(("optimizer.beta2",)),
    "adam_epsilon": Here(("optimizer.eps",)),
    "max_grad_norm gradient_clipping": Here(("optimizer.max_grad_norm",)),
    "optim": Here(("engine.adamw",)),
    "bf16 fp16 torch_dtype dtype mixed_precision": Here(
        ("engine.dtype",), "float32 or bfloat16; weights are float32 in training"
    ),
    "gradient_checkpointing": Here(("engine.activation_checkpointing",)),
    "attn_implementation flash_attention": Here(("engine.attention",)),
    "torch_compile": Here(("engine.compile",)),
    "use_peft peft_config": Here(("engine.lora",), "lora: {} takes the defaults"),
    "lora_r r": Here(("engine.lora.rank",)),
    "lora_alpha": Here(("engine.lora.alpha",)),
    "lora_target_modules target_modules": Here(("engine.lora.targets",)),
    "lora_dropout": Here((), "not there: adapters have no dropout"),
    "deepspeed": Here(("engine",), "{use: deepspeed, zero: 2}"),
    "loss_type": Here(("loss",)),
    "beta": Here(("loss.beta",)),
    "label_smoothing": Here(("loss.label_smoothing",)),
    "simpo_gamma": Here(("loss.gamma",)),
    "ref_model ref_model_name_or_path reference_model": Here(
        ("from",), "the reference is the model that the stage starts from"
    ),
    "completion_only_loss assistant_only_loss train_on_inputs": Here(("batch.learn",), "prompts are never targets"),
    "dataset_name dataset datasets train_file": Here(("data",), "such as {use: jsonl, path: …, format: messages}"),
    "dataset_mixer dataset_mixer_list": Here(("data",), "{use: mixture, parts: …}"),
    "dataset_text_field": Here(("data.fields",), "{text: …}, with format: text"),
    "dataset_num_proc preprocessing_num_workers": Here(("data_workers",)),
    "save_steps checkpointing_steps": Here(("checkpoint_every",)),
    "model_name_or_path base_model": Here(("model",)),
    "chat_template_path": Here(("chat_template",)),
    "report_to with_tracking": Here(("observers",), "such as [tensorboard]"),
    "num_generations": Here(("batch.samples_per_prompt",)),
    "num_iterations num_ppo_epochs": Here(("batch.updates",)),
    "num_mini_batches": Here(("batch.minibatches",)),
    "temperature": Here(("sampling.temperature",)),
    "reward_funcs": Here(("rewards",)),
    "kl_coef": Here(("kl.beta",)),
    "epsilon cliprange": Here(("loss.clip",)),
    "epsilon_high": Here(("loss.clip_high",)),
    "vf_coef": Here(("loss.value_coefficient",)),
    "lam gae_lambda": Here(("advantages.lambda",)),
    "gamma": Here(("advantages.gamma", "loss.gamma")),
    "whiten whiten_advantages": Here(("advantages.whiten",)),
    "use_vllm": Here(("generator",)),
    "eval_dataset test_size": Here(("validation",), "such as {data: {use: jsonl, path: …}, every: 100}"),
    "eval_steps eval_strategy evaluation_strategy": Here(
        ("validation.every",), "in optimizer steps; benchmarks are a stage of their own: {use: evaluate, …}"
    ),
    "packing sample_packing padding_free group_by_length": Here(
        (), "needs no setting: batches are always packed, and no sample sees another; no padding is computed"
    ),
    "logging_steps logging_strategy": Here((), "needs no setting: every step is recorded, in runs/NAME/events.jsonl"),
    "save_total_limit save_strategy": Here(
        (), "the two newest checkpoints are kept until a stage is done, then only its model"
    ),
    "load_best_model_at_end early_stopping_patience metric_for_best_model": Here(
        (), "not there: a stage takes all its steps; compare models by a stage evaluate after each"
    ),
    "load_in_4bit load_in_8bit quantization_bit": Here(
        (), "not there: weights are float32 in training; engine: {lora: {}} with dtype: bfloat16 takes least"
    ),
    "push_to_hub hub_model_id": Here(
        (), "not there: a stage leaves a plain Hugging Face folder; hf upload REPO runs/NAME/stages/…/model"
    ),
    "resume_from_checkpoint": Here((), "needs no setting: the same command again goes on where the run was stopped"),
    "output_dir run_name": Here(
        (), "not in the recipe: aftertrain run RECIPE --out DIR; the run's name is the recipe's `name`"
    ),
    "overwrite_output_dir": Here((), "not in the recipe: aftertrain run RECIPE --restart begins every stage anew"),
    "precompute_ref_log_probs": Here((), "needs no setting: the reference's log-probs are always computed once"),
    "neftune_noise_alpha": Here((), "not there: no noise is added to embeddings"),
    "label_smoothing_factor": Here(("loss.label_smoothing",), "of preference losses; sft has none"),
    "fsdp": Here(("engine",), "{use: deepspeed, zero: 3} shares weights, gradients and moments"),
    "dataloader_num_workers": Here((), "needs no setting: rows are tokenised once, with data_workers processes"),
    "do_train": Here((), "needs no setting: each stage does what its `use` says"),
}
"""By the names, set apart by spaces, in whose place each stands."""
ELSEWHERE = {name: here for names, here in _ANSWERS.items() for name in names.split()}
"""By the other framework's name."""
