"""Tiny models of many families of transformers, with random weights."""

from typing import Any

WORDS = 96
_SIZES: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_OWN_HEADS = {key: value for key, value in _SIZES.items() if key != "num_key_value_heads"}
_GPT: dict[str, Any] = {
    "vocab_size": WORDS,
    "n_positions": 64,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_SMALL_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_LATENT = {
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
_MAMBA = {"mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2}
_MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_OPT: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "ffn_dim": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
}


def _rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **more}}


_PLAIN = [
    "Llama",
    "Mistral",
    "Qwen2",
    "Granite",
    "Olmo",
    "Olmo2",
    "Cohere",
    "StableLm",
    "Starcoder2",
    "Phi",
    "Phi3",
    "Exaone4",
    "Nemotron",
    "Arcee",
    "Ernie4_5",
    "DiffLlama",
    "Apertus",
]
_HEAD_OF_8 = ["Gemma", "Gemma2", "Qwen3", "Olmo3", "Glm", "Glm4", "Cohere2", "SmolLM3", "Helium"]

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (f"{name}Config", _SIZES) for name in _PLAIN},
    **{name: (f"{name}Config", _SIZES | {"head_dim": 8}) for name in _HEAD_OF_8},
    "Gemma3": ("Gemma3TextConfig", _SIZES | {"head_dim": 8, "sliding_window": 8}),
    "Gemma3 with vision": (
        "Gemma3Config",
        {
            "text_config": _SIZES | {"head_dim": 8, "sliding_window": 8},
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
            },
            "mm_tokens_per_image": 4,
            "image_token_index": 93,
            "boi_token_index": 94,
            "eoi_token_index": 95,
        },
    ),
    "GPTNeoX": ("GPTNeoXConfig", _OWN_HEADS),
    "GPT2": ("GPT2Config", _GPT),
    "GPTJ": ("GPTJConfig", _GPT | {"rotary_dim": 4}),
    "CodeGen": ("CodeGenConfig", _GPT | {"rotary_dim": 4, "n_ctx": 64}),
    "GPTBigCode": ("GPTBigCodeConfig", _GPT),
    "OpenAIGPT": ("OpenAIGPTConfig", _GPT),
    "CTRL": ("CTRLConfig", _GPT | {"dff": 48}),
    "GPTNeo": (
        "GPTNeoConfig",
        {
            "vocab_size": WORDS,
            "max_position_embeddings": 64,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
    ),
    "OPT": ("OPTConfig", _OPT | {"word_embed_proj_dim": 32}),
    "OPT of 350m": (
        "OPTConfig",
        _OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
    "Bloom": (
        "BloomConfig",
        {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4, "seq_length": 64},
    ),
    "Falcon": ("FalconConfig", _OWN_HEADS | {"alibi": True, "multi_query": False}),
    "MPT": (
        "MptConfig",
        {
            "vocab_size": WORDS,
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 64,
            "expansion_ratio": 2,
        },
    ),
    "BioGpt": ("BioGptConfig", _OWN_HEADS),
    "XGLM": (
        "XGLMConfig",
        {
            "vocab_size": WORDS,
            "d_model": 32,
            "ffn_dim": 48,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 64,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 2,
        },
    ),
    "BERT as decoder": ("BertConfig", _OWN_HEADS | {"is_decoder": True}),
    "Mixtral": ("MixtralConfig", _SIZES | _EXPERTS),
    "Qwen2Moe": (
        "Qwen2MoeConfig",
        _SIZES | _SMALL_EXPERTS | {"shared_expert_intermediate_size": 24},
    ),
    "Qwen3Moe": ("Qwen3MoeConfig", _SIZES | _SMALL_EXPERTS | {"head_dim": 8}),
    "Olmoe": ("OlmoeConfig", _SIZES | {"num_experts": 4, "num_experts_per_tok": 2}),
    "PhiMoe": ("PhimoeConfig", _SIZES | _EXPERTS),
    "GraniteMoe": ("GraniteMoeConfig", _SIZES | _EXPERTS),
    "Ernie4_5Moe": (
        "Ernie4_5_MoeConfig",
        _SIZES
        | {
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 24,
            "moe_layer_start_index": 0,
            "moe_num_shared_experts": 1,
        },
    ),
    "DeepseekV2": (
        "DeepseekV2Config",
        _OWN_HEADS | _ROUTED | _LATENT | {"q_lora_rank": None, "topk_method": "greedy"},
    ),
    "DeepseekV3": ("DeepseekV3Config", _OWN_HEADS | _ROUTED | _LATENT | {"q_lora_rank": 16}),
    "GptOss": ("GptOssConfig", _SIZES | _EXPERTS | {"head_dim": 8, "sliding_window": 8}),
    "MiniMax": ("MiniMaxConfig", _SIZES | _EXPERTS | {"head_dim": 8, "block_size": 8}),
    "Llama4": (
        "Llama4TextConfig",
        _SIZES
        | _EXPERTS
        | {
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 48,
            "head_dim": 8,
            "attention_chunk_size": 8,
        },
    ),
    "Mamba": (
        "MambaConfig",
        {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    ),
    "Mamba2": (
        "Mamba2Config",
        {
            "vocab_size": WORDS,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 2,
            "chunk_size": 8,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 2,
        },
    ),
    "RWKV": (
        "RwkvConfig",
        {
            "vocab_size": WORDS,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "context_length": 64,
            "attention_hidden_size": 32,
            "intermediate_size": 48,
        },
    ),
    "RecurrentGemma": (
        "RecurrentGemmaConfig",
        _SIZES | {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 16},
    ),
    "Jamba": (
        "JambaConfig",
        _SIZES
        | _MAMBA
        | {
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "use_mamba_kernels": False,
            "mamba_dt_rank": 4,
        },
    ),
    "LFM2": ("Lfm2Config", _SIZES | {"layer_types": ["conv", "full_attention"]}),
    "Qwen3Next": (
        "Qwen3NextConfig",
        _SIZES | _SMALL_EXPERTS | _LINEAR | {"head_dim": 8, "shared_expert_intermediate_size": 24},
    ),
    "Bamba": ("BambaConfig", _SIZES | _MAMBA | _MAMBA2 | {"attn_layer_indices": [1]}),
    "NemotronH": (
        "NemotronHConfig",
        _SIZES
        | {
            "num_hidden_layers": 4,
            "hybrid_override_pattern": "M*-M",
            "head_dim": 8,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 1,
            "chunk_size": 8,
        },
    ),
    "Phi3 with longrope": (
        "Phi3Config",
        _SIZES
        | {"original_max_position_embeddings": 16}
        | _rope(
            "longrope",
            short_factor=[1.0] * 4,
            long_factor=[4.0] * 4,
            original_max_position_embeddings=16,
        ),
    ),
    "Llama with dynamic NTK": (
        "LlamaConfig",
        _SIZES | {"max_position_embeddings": 16} | _rope("dynamic", factor=4.0),
    ),
    "Llama with yarn": (
        "LlamaConfig",
        _SIZES | _rope("yarn", factor=4.0, original_max_position_embeddings=16),
    ),
}


def build(name: str, *, dtype: str = "float64") -> Any:
    """A random model of a family, in evaluation mode; the same one at every call."""
    import torch
    import transformers

    kind, sizes = FAMILIES[name]
    before = torch.random.get_rng_state()
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**sizes)
    # Grouped products of experts know no float64.
    model = transformers.AutoModelForCausalLM.from_config(config, experts_implementation="eager")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    torch.random.set_rng_state(before)
    return model.to(getattr(torch, dtype)).eval()
